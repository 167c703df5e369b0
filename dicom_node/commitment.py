"""Storage commitment, push model (PS3.4 annex J): asking for it, and hearing the reports, on any association.

The user asks by N-ACTION for a transaction; the provider reports by N-EVENT-REPORT, on the same association while it
stands, or on one that it opens itself and on which it has selected the provider's role.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence as ItemSequence
from pynetdicom.dsutils import encode as encode_data_set

from dicom_node import dimse
from dicom_node.association import AssociationSummary
from dicom_node.contexts import IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT
from dicom_node.conversation import MAXIMUM_ANSWER, Conversation, Message
from dicom_node.dimse import CommandField, CommandSet, Tag
from dicom_node.elements import walk
from dicom_node.negotiation import Roles
from dicom_node.store_scp import PROCESSING_FAILURE, SUCCESS, Answer, Operation, RefusedOperation
from triage.errors import DeliveryError, DicomError, FirstreadError, IdentifierError
from triage.identifiers import dicom_uid
from triage.logging import get_logger

WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
REQUEST_STORAGE_COMMITMENT: Final = 1
"""Action Type ID."""
ALL_COMMITTED: Final = 1
FAILURES_EXIST: Final = 2
"""Event Type IDs."""

NO_SUCH_EVENT_TYPE: Final = 0x0113
INVALID_ARGUMENT_VALUE: Final = 0x0115
UNRECOGNIZED_OPERATION: Final = 0x0211
RESOURCE_LIMITATION: Final = 0x0213

FAILURE_REASONS: Final[Mapping[int, str]] = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class and instance do not match",
    0x0122: "SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}
"""PS3.3 C.14.1.1."""

MAXIMUM_ITEMS: Final = 10_000
"""Objects that a report may name; ours never ask for as many."""
_ITEM: Final = b"\xfe\xff\x00\xe0"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reference:
    """An object by class and instance."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a provider says about a transaction.

    Attributes
    ----------
    committed : tuple of str
        SOP Instance UIDs that it takes responsibility for.
    failed : mapping of str to str
        SOP Instance UIDs that it does not, with the reason in words.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)


TakeReport = Callable[[Report, str], bool]
"""Records a report of an AE title; False when no such transaction was asked for."""


def encode_references(
    transaction_uid: str,
    references: Collection[Reference],
    transfer_syntax_uid: str,
    *,
    failed: Mapping[Reference, int] | None = None,
) -> bytes:
    """The data set of a request, or of a report (PS3.4 Tables J.3-1 and J.3-2).

    Parameters
    ----------
    failed : mapping, optional
        What a report denies, with its Failure Reason (PS3.3 C.14.1.1).
    """
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    if references:
        dataset.ReferencedSOPSequence = ItemSequence([_item(reference) for reference in references])
    if failed:
        dataset.FailedSOPSequence = ItemSequence([_item(reference, reason) for reference, reason in failed.items()])
    return encoded(dataset, transfer_syntax_uid)


def read_references(data: bytes, transfer_syntax_uid: str) -> tuple[str, dict[Reference, int | None]]:
    """Transaction UID and objects of a request or a report; the Failure Reason of those that failed.

    Raises
    ------
    DicomError
        Not a data set, without Transaction UID, or with more than :data:`MAXIMUM_ITEMS` items. Names no value.
    """
    if data.count(_ITEM) > MAXIMUM_ITEMS:
        raise DicomError(f"The data set has more than {MAXIMUM_ITEMS} items.")
    walk(data, transfer_syntax_uid, ())  # pydicom reads damaged lengths in silence, and nests as deep as it can
    try:
        dataset = read_dataset(BytesIO(data), transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN, True)
        transaction_uid = dicom_uid(str(dataset.TransactionUID), attribute="TransactionUID (0008,1195)")
        found: dict[Reference, int | None] = {}
        for item in dataset.get("ReferencedSOPSequence", ()):
            found[_reference(item)] = None
        for item in dataset.get("FailedSOPSequence", ()):
            found[_reference(item)] = int(item.get("FailureReason") or PROCESSING_FAILURE)
    except IdentifierError as error:
        raise DicomError(str(error)) from None
    except Exception as error:  # the parser raises what it likes on damaged bytes, and its texts may hold values
        raise DicomError(f"The data set cannot be read ({type(error).__name__}).") from error
    return transaction_uid, found


def read_report(data: bytes, transfer_syntax_uid: str) -> Report:
    """The data set of an N-EVENT-REPORT.

    Raises
    ------
    DicomError
        As for :func:`read_references`.
    """
    transaction_uid, found = read_references(data, transfer_syntax_uid)
    return Report(
        transaction_uid=transaction_uid,
        committed=tuple(r.sop_instance_uid for r, reason in found.items() if reason is None),
        failed={
            r.sop_instance_uid: FAILURE_REASONS.get(reason, f"reason {reason:#06x}")
            for r, reason in found.items()
            if reason is not None
        },
    )


class CommitmentUser:
    """The user's side on an association that this node opened.

    Parameters
    ----------
    on_report : callable
        Hears reports that come on this association.

    Raises
    ------
    DeliveryError
        The peer did not accept the SOP class.
    """

    def __init__(self, association: Conversation, on_report: Callable[[Report], bool]) -> None:
        context = association.context_of(STORAGE_COMMITMENT)
        if context is None:
            raise DeliveryError("The peer offers no storage commitment.", retryable=False)
        self._association = association
        self._context_id, self._transfer_syntax = context
        self._on_report = on_report

    def ask(self, transaction_uid: str, references: Sequence[Reference]) -> None:
        """Request commitment (N-ACTION); returns when the provider has taken the request.

        Raises
        ------
        DeliveryError
            It refuses, or the association is over.
        """
        data = encode_references(transaction_uid, references, self._transfer_syntax)
        message_id = self._association.request(self._context_id, _action_request, data)
        while True:
            message = self._association.receive()
            if message.command.command_field == CommandField.N_EVENT_REPORT_RQ:
                self._hear(message)
                continue
            status = message.command.status
            if status is None or message.command.number(Tag.MESSAGE_ID_BEING_RESPONDED_TO) != message_id:
                raise DeliveryError("The peer answers a request that was not made.")
            if status != SUCCESS:
                raise DeliveryError(
                    f"The peer refused the request for storage commitment with status {status:#06x}.", status=status
                )
            return

    def listen(self, seconds: float) -> None:
        """Hear reports that come at once, on this association, until it is silent for ``seconds``.

        Raises
        ------
        DeliveryError
            The association is over.
        """
        while (message := self._association.receive_if_any(seconds)) is not None:
            self._hear(message)

    def _hear(self, message: Message) -> None:
        reply = answer_report(message.command, message.data_set, self._transfer_syntax, self._on_report)
        self._association.answer(message, reply.status)


class ReportService:
    """The user's side on associations that providers open: a service of our listener.

    Parameters
    ----------
    take : callable
        Records a report; called in the association's thread, before the provider hears Success.
    """

    requestor = Roles(user=False, provider=True)

    def __init__(self, take: TakeReport) -> None:
        self._take = take

    def begin(self, request: CommandSet, transfer_syntax: str, association: AssociationSummary) -> Operation:
        """Start to hear a report."""
        if request.command_field != CommandField.N_EVENT_REPORT_RQ:
            return RefusedOperation(Answer(UNRECOGNIZED_OPERATION))

        def finish(data: bytes) -> Answer:
            return answer_report(
                request, data, transfer_syntax, lambda report: self._take(report, association.calling_ae_title)
            )

        return BoundedOperation(finish)


class BoundedOperation:
    """A request whose whole data set is needed, and is small."""

    def __init__(self, finish: Callable[[bytes], Answer]) -> None:
        self._finish = finish
        self._data = bytearray()
        self.size = 0

    def write(self, data: memoryview) -> None:
        self.size += len(data)
        if self.size <= MAXIMUM_ANSWER:
            self._data += data

    def finish(self) -> Answer:
        if self.size > MAXIMUM_ANSWER:
            return Answer(RESOURCE_LIMITATION, "Data set is larger than this node accepts")
        return self._finish(bytes(self._data))

    def abandon(self) -> None:
        """Nothing was begun."""


def answer_report(request: CommandSet, data: bytes, transfer_syntax_uid: str, take: Callable[[Report], bool]) -> Answer:
    """Take a report and say what the provider hears. Never raises.

    A report about an unknown transaction is answered with 0x0115 (invalid argument value, PS3.7 10.1.1.1.8), one that
    could not be recorded with 0x0110: the provider may report again.
    """
    if request.number(Tag.EVENT_TYPE_ID) not in (ALL_COMMITTED, FAILURES_EXIST):
        return Answer(NO_SUCH_EVENT_TYPE)
    try:
        report = read_report(data, transfer_syntax_uid)
        known = take(report)
    except DicomError as error:
        log.warning("commitment_report_unreadable", problem=str(error))
        return Answer(INVALID_ARGUMENT_VALUE, "The event information cannot be read")
    except FirstreadError as error:
        log.warning("commitment_report_not_recorded", advice=error.advice())
        return Answer(PROCESSING_FAILURE, "The report cannot be recorded now")
    except Exception as error:
        log.error("commitment_report_failed", error=type(error).__name__, exc_info=error)
        return Answer(PROCESSING_FAILURE, "Internal error, see the log of this node")
    return Answer(SUCCESS) if known else Answer(INVALID_ARGUMENT_VALUE, "Unknown Transaction UID")


def event_report(message_id: int, event_type: int) -> bytes:
    """An encoded N-EVENT-REPORT-RQ (PS3.7 10.1.1)."""
    return dimse.encode(
        {
            Tag.AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT,
            Tag.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
            Tag.MESSAGE_ID: message_id,
            Tag.COMMAND_DATA_SET_TYPE: 0x0001,
            Tag.AFFECTED_SOP_INSTANCE_UID: WELL_KNOWN_INSTANCE,
            Tag.EVENT_TYPE_ID: event_type,
        }
    )


def encoded(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """A small data set of ours, encoded.

    Raises
    ------
    DicomError
        It cannot be.
    """
    data: bytes | None = encode_data_set(dataset, transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN, True)
    if data is None:
        raise DicomError("The data set cannot be encoded.")
    return data


def _action_request(message_id: int) -> bytes:
    """An encoded N-ACTION-RQ (PS3.7 10.1.4)."""
    return dimse.encode(
        {
            Tag.REQUESTED_SOP_CLASS_UID: STORAGE_COMMITMENT,
            Tag.COMMAND_FIELD: CommandField.N_ACTION_RQ,
            Tag.MESSAGE_ID: message_id,
            Tag.COMMAND_DATA_SET_TYPE: 0x0001,
            Tag.REQUESTED_SOP_INSTANCE_UID: WELL_KNOWN_INSTANCE,
            Tag.ACTION_TYPE_ID: REQUEST_STORAGE_COMMITMENT,
        }
    )


def _item(reference: Reference, failure_reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if failure_reason is not None:
        item.FailureReason = failure_reason
    return item


def _reference(item: Dataset) -> Reference:
    return Reference(
        dicom_uid(str(item.ReferencedSOPClassUID), attribute="ReferencedSOPClassUID (0008,1150)"),
        dicom_uid(str(item.ReferencedSOPInstanceUID), attribute="ReferencedSOPInstanceUID (0008,1155)"),
    )
