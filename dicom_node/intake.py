"""Custody: a durable file first, then a committed row; only after both may the sender hear Success."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from dicom_node import header as headers
from dicom_node.archive import Archive
from dicom_node.elements import FrontExceededError
from dicom_node.incoming import IncomingFile
from triage.crash_points import CrashPoint
from triage.errors import DicomError, FirstreadError, IdentifierError
from triage.identifiers import dicom_uid
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, QuarantinedObject, StoredFile
from triage.logging import get_logger

DATA_SET_DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

Record = Callable[[InstanceHeader, StoredFile, Arrival], IntakeOutcome]
"""Writes the instance's row and commits it before it returns.

Raises :class:`~triage.errors.DatabaseUnavailableError` when it cannot: the file then stays as an orphan that a
resend or ``firstread fsck`` adopts.
"""

OnQuarantined = Callable[[QuarantinedObject], None]
"""Told of bytes that lie in quarantine, before the sender is; raises like :data:`Record`."""

log = get_logger(__name__)


class AffectedInstanceError(DicomError):
    """The request names no instance, or not by a UID."""

    next_step = "Check the sender: every C-STORE names its instance by a UID."


class IdentityMismatchError(DicomError):
    """The data set is another instance, or of another class, than the request said."""

    next_step = "Check the sender: command set and data set must name the same instance."


class Intake:
    """The way of one instance from the network into the archive and the database.

    Parameters
    ----------
    record : callable
        See :data:`Record`.
    on_quarantined : callable, optional
        See :data:`OnQuarantined`.
    clock : callable
        Returns the time in UTC (default: the system's); stamps :attr:`Arrival.received_at`.
    """

    def __init__(
        self,
        archive: Archive,
        record: Record,
        clock: Callable[[], datetime] | None = None,
        *,
        on_quarantined: OnQuarantined | None = None,
    ) -> None:
        self.archive = archive
        self._record = record
        self._on_quarantined = on_quarantined
        self._clock = clock or _utc_now
        self.log = log.bind()  # bound once: what is below the level of the process then costs a call and no more

    def now(self) -> datetime:
        return self._clock()

    def receive(
        self,
        *,
        transfer_syntax_uid: str,
        affected_sop_class_uid: str,
        affected_sop_instance_uid: str,
        calling_ae_title: str = "",
    ) -> Reception:
        """Begin to receive an instance whose data set comes in pieces.

        Raises
        ------
        StorageFullError
            No room.
        AffectedInstanceError
            The affected SOP instance is not named by a UID.
        DicomError
            The affected SOP class is not.
        """
        try:
            sop_instance_uid = dicom_uid(affected_sop_instance_uid, attribute="AffectedSOPInstanceUID (0000,1000)")
        except IdentifierError as error:
            raise AffectedInstanceError(str(error)) from None
        try:
            sop_class_uid = dicom_uid(affected_sop_class_uid, attribute="AffectedSOPClassUID (0000,0002)")
        except IdentifierError as error:
            raise DicomError(str(error)) from None
        file = self.archive.receive(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source_ae_title=calling_ae_title,
        )
        return Reception(self, file, sop_class_uid, sop_instance_uid)

    def store(
        self,
        encoded_dataset: bytes | memoryview,
        *,
        transfer_syntax_uid: str,
        affected_sop_class_uid: str,
        affected_sop_instance_uid: str,
        arrival: Arrival,
    ) -> IntakeOutcome:
        """:meth:`receive`, write and :meth:`Reception.commit` for a data set that is all there.

        Raises
        ------
        FirstreadError
            As these; nothing was acknowledged.
        """
        with self.receive(
            transfer_syntax_uid=transfer_syntax_uid,
            affected_sop_class_uid=affected_sop_class_uid,
            affected_sop_instance_uid=affected_sop_instance_uid,
            calling_ae_title=arrival.calling_ae_title,
        ) as reception:
            reception.write(encoded_dataset)
            return reception.commit(arrival)

    def record(self, header: InstanceHeader, stored: StoredFile, arrival: Arrival) -> IntakeOutcome:
        """Have the row written and committed."""
        return self._record(header, stored, arrival)

    def tell_quarantined(self, kept: QuarantinedObject) -> None:
        """Have a row written of what lies in quarantine."""
        if self._on_quarantined is not None:
            self._on_quarantined(kept)


class Reception:
    """An instance being received. A context manager: left without a commit, nothing remains of it."""

    def __init__(self, intake: Intake, file: IncomingFile, sop_class_uid: str, sop_instance_uid: str) -> None:
        self._intake = intake
        self._file = file
        self.write: Callable[[bytes | memoryview], None] = file.write
        """Appends bytes of the data set; raises StorageFullError when there is no room."""
        self._sop_class_uid = sop_class_uid
        self._sop_instance_uid = sop_instance_uid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def size(self) -> int:
        """Bytes of the data set so far."""
        return self._file.data_set_size

    def discard(self) -> None:
        """Forget what was received; harmless after a commit."""
        self._file.discard()

    def commit(self, arrival: Arrival) -> IntakeOutcome:
        """Read the header, make the file durable, have the row committed.

        Returns
        -------
        IntakeOutcome
            CONFLICT is an outcome too: the bytes are kept, the sender is told 0xA900.

        Raises
        ------
        DicomError
            Not a data set we can index; its bytes are in quarantine with this reason.
        IdentityMismatchError
            Another instance than announced; in quarantine too.
        StorageFullError, DatabaseUnavailableError
            Nothing is acknowledged; the sender should retry.
        """
        try:
            header = self._read_header()
        except DicomError as error:
            self._set_aside(error, arrival)
            raise
        stored = self._file.commit(header.sop_instance_uid)
        try:
            outcome = self._intake.record(header, stored, arrival)
        except FirstreadError as error:
            log.error("instance_not_recorded", association=arrival.association_uid, error=type(error).__name__)
            raise
        self._intake.archive.reached(CrashPoint.COMMITTED)
        if outcome is IntakeOutcome.MISPLACED:
            self._withdraw(stored, arrival)
        self._intake.log.debug(
            "instance_received",
            association=arrival.association_uid,
            sop_instance_uid=header.sop_instance_uid,
            outcome=outcome,
            size=stored.size,
        )
        return outcome

    def _withdraw(self, stored: StoredFile, arrival: Arrival) -> None:
        """A data set whose series belongs to another study: from the store into quarantine."""
        error = IdentityMismatchError("SeriesInstanceUID (0020,000E) belongs to another study.")
        kept = self._intake.archive.withdraw(stored, str(error), peer=_peer(arrival))
        self._tell(error, kept, arrival)
        raise error

    def _set_aside(self, error: DicomError, arrival: Arrival) -> None:
        """Keep the bytes in quarantine and have that recorded."""
        self._tell(error, self._file.quarantine(str(error), peer=_peer(arrival)), arrival)

    def _tell(self, error: DicomError, kept: Path, arrival: Arrival) -> None:
        log.warning("instance_quarantined", association=arrival.association_uid, file=kept.name, reason=str(error))
        self._intake.tell_quarantined(
            QuarantinedObject(
                reason=str(error),
                dicom_status=(
                    DATA_SET_DOES_NOT_MATCH if isinstance(error, IdentityMismatchError) else CANNOT_UNDERSTAND
                ),
                relative_path=kept,
                digest=self._file.digest,
                size=self._file.size,
                transfer_syntax_uid=self._file.transfer_syntax_uid,
                arrival=arrival,
            )
        )

    def _read_header(self) -> InstanceHeader:
        """The header, checked against what was announced."""
        if not self.size:
            raise DicomError("The data set is empty.")
        file = self._file
        try:
            header = headers.parse(file.front, file.transfer_syntax_uid, size=file.data_set_size)
        except FrontExceededError:
            file.settle()
            with file.path.open("rb") as whole, mmap.mmap(whole.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = headers.parse(data, file.transfer_syntax_uid, start=file.head_size)
        if header.sop_instance_uid != self._sop_instance_uid:
            raise IdentityMismatchError("SOPInstanceUID (0008,0018) is not the one in the command set.")
        if header.sop_class_uid != self._sop_class_uid:
            raise IdentityMismatchError("SOPClassUID (0008,0016) is not the one in the command set.")
        return header


def _peer(arrival: Arrival) -> str:
    return f"{arrival.calling_ae_title}@{arrival.peer_address}"


def _utc_now() -> datetime:
    return datetime.now(UTC)
