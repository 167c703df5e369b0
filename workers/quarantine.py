"""Second chances for what lies in quarantine: through intake again, as if it came now."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial

from dicom_node.intake import Intake
from dicom_node.part10 import read_head
from dicom_node.stored import damage
from triage.errors import DicomError, FirstreadError, NotFoundError, StateError
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, QuarantinedObject, StoredFile
from triage.repositories import associations, quarantine
from triage.repositories.intake import IntakeRules, record_instance
from workers.pulse import process_name
from workers.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """How a second try ended. ``problem`` is empty when the instance is now in the archive."""

    id: int
    sop_instance_uid: str = ""
    problem: str = ""


def retry(bench: Workbench, quarantined_id: int, *, who: str) -> Retried:
    """Feed the kept bytes through intake once more, after an upgrade or a corrected sender's promise to be the same.

    What succeeds is dismissed; its bytes then lie in the archive too. What fails stays on the list.

    Raises
    ------
    NotFoundError
        No such entry, or its bytes are gone.
    StateError
        It was dealt with already.
    """
    with bench.database.read() as session:
        row = quarantine.by_id(session, quarantined_id)
    if row.dismissed_at is not None:
        raise StateError(f"Entry {row.id} was dealt with already.", next_step="See `firstread quarantine list --all`.")
    data = bench.archive.path(row.relative_path).read_bytes()
    arrival = Arrival(
        received_at=bench.clock(),
        association_uid=f"2.25.{uuid.uuid4().int}",
        calling_ae_title=row.calling_ae_title,
        called_ae_title=bench.settings.ae_title,
        peer_address=row.peer_address,
    )
    try:
        head = read_head(data)
        outcome = _intake(bench).store(
            memoryview(data)[head.offset :],
            transfer_syntax_uid=row.transfer_syntax_uid or head.transfer_syntax_uid,
            affected_sop_class_uid=head.sop_class_uid,
            affected_sop_instance_uid=head.sop_instance_uid,
            arrival=arrival,
        )
    except DicomError as error:
        return Retried(id=row.id, problem=str(error))
    with bench.database.write() as session:
        quarantine.dismiss(session, quarantine.by_id(session, row.id), at=bench.clock(), who=who, reason=outcome.value)
        associations.close_association(
            session, arrival.association_uid, at=bench.clock(), policy=bench.settings.completion
        )
    return Retried(id=row.id, sop_instance_uid=head.sop_instance_uid)


def dismiss(bench: Workbench, quarantined_id: int, *, who: str, remove: bool = False) -> None:
    """Take an entry off the list; with ``remove`` its bytes go too.

    Raises
    ------
    NotFoundError, StateError
        No such entry; somebody did so before.
    """
    with bench.database.write() as session:
        row = quarantine.by_id(session, quarantined_id)
        quarantine.dismiss(session, row, at=bench.clock(), who=who, reason="bytes removed" if remove else "")
    if not remove:
        return
    try:
        path = bench.archive.path(row.relative_path)
    except NotFoundError:
        return  # gone before
    try:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    except OSError as error:
        raise FirstreadError(f"The bytes could not be removed: {error.strerror}.") from error


def _intake(bench: Workbench) -> Intake:
    settings = bench.settings
    rules = IntakeRules(
        listener=process_name("retry"),
        completion=settings.completion,
        targets=settings.targets,
        pixel_digest=bench.archive.pixel_digest,
        is_here=lambda path: (settings.archive / path).is_file(),
        damage=partial(damage, bench.archive),
        site_rules=settings.site_rules,
    )

    def record(header: InstanceHeader, stored: StoredFile, arrival: Arrival) -> IntakeOutcome:
        with bench.database.write() as session:
            return record_instance(session, header, stored, arrival, rules)

    def quarantined(kept: QuarantinedObject) -> None:
        with bench.database.write() as session:
            quarantine.record(session, kept)

    return Intake(bench.archive, record, bench.clock, on_quarantined=quarantined)
