"""Storage commitment as provider (PS3.4 J.3): takes requests, looks what is there, reports on another association."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

from dicom_node.association import AssociationSummary
from dicom_node.commitment import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    INVALID_ARGUMENT_VALUE,
    REQUEST_STORAGE_COMMITMENT,
    UNRECOGNIZED_OPERATION,
    BoundedOperation,
    Reference,
    encode_references,
    event_report,
    read_references,
)
from dicom_node.contexts import STORAGE_COMMITMENT
from dicom_node.conversation import Conversation
from dicom_node.dimse import CommandField, CommandSet, Tag
from dicom_node.negotiation import Roles
from dicom_node.requestor import Timeouts
from dicom_node.scu import UNCOMPRESSED
from dicom_node.store_scp import PROCESSING_FAILURE, SUCCESS, Answer, Operation, RefusedOperation
from triage.errors import DeliveryError, DicomError
from triage.identifiers import PeerAddress
from triage.logging import get_logger

NO_SUCH_ACTION: Final = 0x0123
NO_SUCH_OBJECT: Final = 0x0112
"""Failure Reason (PS3.3 C.14.1.1)."""

log = get_logger(__name__)


class ReportingAssociation(Conversation):
    """An association that a provider opens to report."""

    provider_of = (STORAGE_COMMITMENT,)


class CommitmentProvider:
    """A service of a listener that answers what it can look up at once.

    Parameters
    ----------
    holds : callable
        Whether an object, by its SOP Instance UID, is there now.
    addresses : mapping
        Where to report, by the AE title that asked. Nobody else is answered with Success.
    """

    requestor = Roles(user=True, provider=False)

    def __init__(self, ae_title: str, holds: Callable[[str], bool], addresses: Mapping[str, PeerAddress]) -> None:
        self._ae_title = ae_title
        self._holds = holds
        self._addresses = addresses
        self._reporting: list[threading.Thread] = []

    def begin(self, request: CommandSet, transfer_syntax: str, association: AssociationSummary) -> Operation:
        """Start to take a request."""
        if request.command_field != CommandField.N_ACTION_RQ:
            return RefusedOperation(Answer(UNRECOGNIZED_OPERATION))
        if request.number(Tag.ACTION_TYPE_ID) != REQUEST_STORAGE_COMMITMENT:
            return RefusedOperation(Answer(NO_SUCH_ACTION))
        address = self._addresses.get(association.calling_ae_title)
        if address is None:
            return RefusedOperation(Answer(PROCESSING_FAILURE, "No address is known to report to"))

        def finish(data: bytes) -> Answer:
            try:
                transaction_uid, references = read_references(data, transfer_syntax)
            except DicomError:
                return Answer(INVALID_ARGUMENT_VALUE)
            thread = threading.Thread(
                target=self._report, args=(address, transaction_uid, list(references)), name="commitment-report"
            )
            self._reporting.append(thread)
            thread.start()
            return Answer(SUCCESS)

        return BoundedOperation(finish)

    def wait(self, timeout: float) -> None:
        """Let reports that are under way come to their end."""
        for thread in self._reporting:
            thread.join(timeout)

    def _report(self, address: PeerAddress, transaction_uid: str, references: list[Reference]) -> None:
        held = {reference for reference in references if self._holds(reference.sop_instance_uid)}
        failed = {reference: NO_SUCH_OBJECT for reference in references if reference not in held}
        timeouts = Timeouts(connect=5.0, association=5.0, send=5.0, response=10.0)
        try:
            association = ReportingAssociation.open(
                address,
                calling_ae_title=self._ae_title,
                contexts=[(STORAGE_COMMITMENT, UNCOMPRESSED)],
                timeouts=timeouts,
            )
            context_id, syntax = association.context_of(STORAGE_COMMITMENT) or (0, "")
            association.request(
                context_id,
                lambda message_id: event_report(message_id, FAILURES_EXIST if failed else ALL_COMMITTED),
                encode_references(transaction_uid, held, syntax, failed=failed),
            )
            status = association.receive().command.status
            association.release()
        except DeliveryError as error:
            log.warning("commitment_not_reported", advice=error.advice())
            return
        log.info("commitment_reported", status=status, held=len(held), failed=len(failed))
