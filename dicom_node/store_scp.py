"""The Storage service as provider (PS3.4 annex B): from a C-STORE request to its status.

| status | when | what is left of the instance |
|---|---|---|
| 0x0000 Success | file fsynced and row committed; also a known instance sent again | file and row |
| 0xA700 out of resources | disk, memory or database; over the size limit | nothing, or a file that a resend adopts |
| 0xA900 data set does not match | other SOP class or instance than announced | bytes in quarantine |
| 0xA900 | known SOP Instance UID with other content | both files, row of the first, case flagged |
| 0xC000 cannot understand | not a data set, or without its UIDs | bytes in quarantine |
| 0x0117 invalid SOP instance | Affected SOP Instance UID missing or not a UID | nothing |
| 0x0124 not authorized | the peer was removed, or its service, while the association was open | nothing |
| 0x0122 SOP class not supported | class is not that of the presentation context | nothing |
| 0x0110 processing failure | a defect of this software | nothing, or a file without a row |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from dicom_node.association import AssociationSummary
from dicom_node.dimse import CommandSet
from dicom_node.intake import (
    CANNOT_UNDERSTAND,
    DATA_SET_DOES_NOT_MATCH,
    AffectedInstanceError,
    IdentityMismatchError,
    Intake,
    Reception,
)
from triage.errors import DatabaseUnavailableError, DicomError, StorageFullError
from triage.instances import Arrival, IntakeOutcome
from triage.logging import get_logger

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
INVALID_SOP_INSTANCE: Final = 0x0117
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NOT_AUTHORIZED: Final = 0x0124
OUT_OF_RESOURCES: Final = 0xA700

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status with its Error Comment (0000,0902) and Offending Element (0000,0901)."""

    status: int
    comment: str = ""
    offending: tuple[int, int] | None = None

    @property
    def successful(self) -> bool:
        return self.status == SUCCESS


class Operation(Protocol):
    """A request whose data set is arriving."""

    @property
    def size(self) -> int:
        """Bytes of data set so far, kept or not."""
        ...

    def write(self, data: memoryview) -> None:
        """Take a piece of the data set. Never raises: a failure is kept for :meth:`finish`."""

    def finish(self) -> Answer:
        """The data set is complete. Never raises."""
        ...

    def abandon(self) -> None:
        """The association ended before the data set did."""


class RefusedOperation:
    """A request that has its answer already; its data set is read and forgotten."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.size = 0

    def write(self, data: memoryview) -> None:
        self.size += len(data)

    def finish(self) -> Answer:
        return self._answer

    def abandon(self) -> None:
        """Nothing to forget."""


class StoreOperation:
    """One C-STORE on its way through :class:`~dicom_node.intake.Intake`."""

    def __init__(
        self, intake: Intake, reception: Reception, association: AssociationSummary, maximum_size: int
    ) -> None:
        self._intake = intake
        self._reception = reception
        self._association = association
        self._maximum_size = maximum_size
        self._failure: Answer | None = None
        self.size = 0

    def write(self, data: memoryview) -> None:
        self.size += len(data)
        if self._failure is not None:
            return
        if self.size > self._maximum_size:
            self._fail(Answer(OUT_OF_RESOURCES, "Data set is larger than this node accepts"))
            return
        try:
            self._reception.write(data)
        except Exception as error:  # noqa: BLE001 - the boundary: every failure becomes a status
            self._fail(answer_to(error))

    def finish(self) -> Answer:
        if self._failure is not None:
            return self._failure
        try:
            with self._reception:
                outcome = self._reception.commit(
                    Arrival(
                        received_at=self._intake.now(),
                        association_uid=self._association.association_uid,
                        calling_ae_title=self._association.calling_ae_title,
                        called_ae_title=self._association.called_ae_title,
                        peer_address=self._association.peer_address,
                    )
                )
        except Exception as error:  # noqa: BLE001
            return answer_to(error)
        if outcome is IntakeOutcome.CONFLICT:
            return Answer(DATA_SET_DOES_NOT_MATCH, "SOP Instance UID already stored with different content")
        return Answer(SUCCESS)

    def abandon(self) -> None:
        self._reception.discard()

    def _fail(self, answer: Answer) -> None:
        self._failure = answer
        self._reception.discard()


def begin(
    intake: Intake,
    request: CommandSet,
    *,
    abstract_syntax: str,
    transfer_syntax: str,
    association: AssociationSummary,
    maximum_size: int,
) -> Operation:
    """Start a C-STORE (PS3.7 9.1.1). Never raises: what cannot start becomes a :class:`RefusedOperation`.

    Parameters
    ----------
    abstract_syntax, transfer_syntax : str
        Of the accepted presentation context that the request came in.
    maximum_size : int
        Bytes of data set; more are answered with 0xA700.
    """
    if not request.has_data_set:
        return RefusedOperation(Answer(CANNOT_UNDERSTAND, "C-STORE without a data set"))
    sop_class_uid, sop_instance_uid = request.affected_sop_class_uid, request.affected_sop_instance_uid
    if sop_class_uid != abstract_syntax:
        comment = "Affected SOP Class is not that of the presentation context"
        return RefusedOperation(Answer(SOP_CLASS_NOT_SUPPORTED, comment, (0x0000, 0x0002)))
    try:
        reception = intake.receive(
            transfer_syntax_uid=transfer_syntax,
            affected_sop_class_uid=sop_class_uid,
            affected_sop_instance_uid=sop_instance_uid,
            calling_ae_title=association.calling_ae_title,
        )
    except AffectedInstanceError:
        comment = "Affected SOP Instance UID is missing or not a UID"
        return RefusedOperation(Answer(INVALID_SOP_INSTANCE, comment, (0x0000, 0x1000)))
    except Exception as error:  # noqa: BLE001
        return RefusedOperation(answer_to(error))
    return StoreOperation(intake, reception, association, maximum_size)


def answer_to(error: Exception) -> Answer:
    """The status that tells a sender what to do about a failure: retry (0xA7xx) or not."""
    match error:
        case IdentityMismatchError():
            return Answer(DATA_SET_DOES_NOT_MATCH, _comment(error))
        case DicomError():
            return Answer(CANNOT_UNDERSTAND, _comment(error))
        case StorageFullError():
            return Answer(OUT_OF_RESOURCES, "Storage is full or not writable")
        case DatabaseUnavailableError():
            return Answer(OUT_OF_RESOURCES, "Database is not available")
        case MemoryError():
            return Answer(OUT_OF_RESOURCES, "Out of memory")
        case _:
            log.error("store_failed", error=type(error).__name__, exc_info=error)
            return Answer(PROCESSING_FAILURE, "Internal error, see the log of this node")


def _comment(error: DicomError) -> str:
    """Our own errors name attributes and rules, never values: their text may go to the sender."""
    return str(error)[:64]
