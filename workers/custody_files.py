"""Rows and files against each other: the invariants I1, I2, I4, I8 and the names of I10."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from dicom_node import stored
from dicom_node.results import files as result_files
from dicom_node.results import rereading
from triage.errors import DicomError, NotFoundError
from triage.repositories import custody
from triage.repositories.custody import FileRow
from triage.tables import Instance, ResultObject
from workers.adoption import adoptable, is_variant
from workers.custody import Inspection, Invariant, Remedy, Subject, Violation, asked
from workers.result_files import result_paths

YOUNG: Final = timedelta(hours=1)
"""An orphan of a running system may still get its row: its sender has no answer yet and sends again."""
_BATCH: Final = 500

DamageOf = Callable[[FileRow], str]
SizeOf = Callable[[FileRow], int | None]


def instance_files(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I1: every instance row that is not removed has its file, with the digest of the row.

    Quick: it is there and has its size. A size that differs is no proof, because the file meta information may have
    been written anew by a resend: the digest decides.
    """
    yield from _instances(inspection, subject, current=True)


def kept_versions(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I8, the files: versions that do not count (conflicts, replaced headers) are kept as they came."""
    for violation in _instances(inspection, subject, current=False):
        yield replace(
            violation, invariant=Invariant.I8, what=f"of a version kept beside the one that counts: {violation.what}"
        )


def _instances(inspection: Inspection, subject: Subject | None, *, current: bool) -> Iterator[Violation]:
    archive = inspection.archive

    def size_of(row: FileRow) -> int | None:
        return stored.size(archive, row.relative_path)

    def damage_of(row: FileRow) -> str:
        return stored.damage(archive, row.relative_path, row.digest)

    for row in asked(inspection, Instance, subject, partial(custody.instance_files, current=current)):
        if violation := _compared(inspection, row, Invariant.I1, size_of, damage_of):
            yield violation


def result_objects(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I4: every result object has its file, with the digest that was sent under its UID."""
    root = inspection.settings.results
    for row in asked(inspection, ResultObject, subject, custody.result_files):
        violation = _compared(
            inspection,
            row,
            Invariant.I4,
            lambda row: _size(root / row.relative_path),
            lambda row: result_damage(root / row.relative_path, row.digest),
        )
        if violation:
            yield violation


def result_damage(path: Path, sha256: str) -> str:
    """Compare a result file with its digest, from the disk: "" when sound, else missing or altered.

    Raises
    ------
    OSError
        The disk does not say.
    """
    try:
        stored.forget_pages(path)
        found = result_files.digest(path)
        stored.forget_pages(path)
    except FileNotFoundError:
        return stored.MISSING
    return "" if found == sha256 else stored.ALTERED


def _compared(
    inspection: Inspection, row: FileRow, invariant: Invariant, size_of: SizeOf, damage_of: DamageOf
) -> Violation | None:
    is_result = invariant is Invariant.I4
    noun = "result" if is_result else "file"

    def violation(kind: str, what: str, remedy: Remedy | None) -> Violation:
        return Violation(
            invariant=invariant, kind=f"{noun}_{kind}", what=what, subject=row.id, remedy=remedy,
            study_instance_uid=row.study_instance_uid, sop_instance_uid=row.sop_instance_uid,
            calling_ae_title=row.calling_ae_title, received_at=row.received_at,
        )  # fmt: skip

    try:
        if not inspection.deep and not row.damage and size_of(row) == row.size:
            return None
        damage = damage_of(row)
    except OSError as error:
        return violation("unreadable", f"the disk does not give {row.relative_path}: {error.strerror}", None)
    if damage:
        flagged = row.damage == damage
        known = ", flagged already" if flagged else ""
        return violation(damage, f"{row.relative_path} is {damage}{known}", None if flagged else Remedy.FLAG)
    if row.damage:
        return violation("sound_again", f"{row.relative_path} is flagged as {row.damage} and is sound", Remedy.SOUND)
    return None


def orphans(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I2: every file of the store has a row. Walks names and rows side by side, in the same order.

    What was killed between file and row leaves an orphan. A whole one older than an hour, or of a stopped system, is
    indexed; a damaged one goes into quarantine; a young one of a running system is left to its sender.
    """
    if subject is not None:
        violation = _orphan(inspection, str(subject))
        if violation:
            yield violation
        return
    with inspection.database.read() as session:
        known = custody.known_paths(session)
        row = next(known, None)
        for path in stored.walk(inspection.archive):
            while row is not None and row < path:
                row = next(known, None)
            if row != path and (violation := _orphan(inspection, path)):
                yield violation


def _orphan(inspection: Inspection, path: str) -> Violation | None:
    if not stored.is_our_name(path):
        return None  # I10 speaks of it
    sop_instance_uid, study_instance_uid, whole = "", "", ""
    try:
        came_at = stored.written_at(inspection.archive, path)
        found = stored.read_back(inspection.archive, path)
        sop_instance_uid, study_instance_uid = found.header.sop_instance_uid, found.header.study_instance_uid
    except (NotFoundError, FileNotFoundError):
        return None
    except DicomError as error:
        whole = str(error)
    with inspection.database.read() as session:
        if custody.path_is_known(session, path, sop_instance_uid):
            return None
    young = inspection.live and inspection.clock() - came_at < YOUNG
    remedy = None if young else Remedy.QUARANTINE if whole else Remedy.INDEX
    what = f"{path} has no row" + (f" and is damaged: {whole}" if whole else "")
    return Violation(
        invariant=Invariant.I2,
        kind="damaged_orphan" if whole else "orphan",
        what=what + (" (its sender has no answer yet; repaired when it is an hour old)" if young else ""),
        subject=path,
        remedy=remedy,
        study_instance_uid=study_instance_uid,
        sop_instance_uid=sop_instance_uid,
        received_at=came_at,
    )


def reports_without_row(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I4: every report that was issued has a row, so that no other content is ever made under its UID.

    A run that broke off leaves reports that nobody sent, and makes the same bytes again; those are no violation. What
    no run of this database can have made comes from a life after the backup that was restored.
    """
    root = inspection.settings.results
    paths = [str(subject)] if subject is not None else result_paths(root)
    batch: dict[str, str] = {}
    for path in paths:
        try:
            uid, is_report = rereading.identity(root / path)
        except (DicomError, OSError):
            continue
        if is_report:
            batch[uid] = path
        if len(batch) >= _BATCH:
            yield from _unknown_reports(inspection, batch)
            batch = {}
    yield from _unknown_reports(inspection, batch)


def _unknown_reports(inspection: Inspection, batch: dict[str, str]) -> Iterator[Violation]:
    root = inspection.settings.results
    with inspection.database.read() as session:
        known = custody.results_are_known(session, batch.keys())
    for uid, path in batch.items():
        if uid in known:
            continue
        try:
            issued = rereading.read_report(root / path)
            written_at = datetime.fromtimestamp((root / path).stat().st_mtime, UTC)
        except (DicomError, OSError):
            continue
        with inspection.database.read() as session:
            found = adoptable(session, issued, written_at) and not is_variant(issued, root)
        if found:
            yield Violation(
                invariant=Invariant.I4,
                kind="report_without_row",
                what=f"revision {issued.revision} of {issued.algorithm} was reported and no row says so",
                subject=path,
                remedy=Remedy.ADOPT,
                study_instance_uid=issued.study_instance_uid,
                sop_instance_uid=uid,
            )


def foreign_names(inspection: Inspection, subject: Subject | None) -> Iterator[Violation]:
    """I10, the files: names below store and results are made of digests, so no name can tell whose image it is."""
    names = [str(subject)] if subject is not None else _all_names(inspection)
    for name in names:
        place, _, rest = name.partition("/")
        ours = stored.is_our_name(name) if place == "store" else stored.is_our_result_name(name.rpartition("/")[2])
        base = inspection.archive.root if place == "store" else inspection.settings.results
        if not ours and (base / (name if place == "store" else rest)).exists():
            yield Violation(
                invariant=Invariant.I10,
                kind="foreign_file",
                what=f"a file in {name.rpartition('/')[0]} has a name that is not ours: move it out, nothing reads it",
                subject=name,
            )


def _all_names(inspection: Inspection) -> Iterator[str]:
    yield from stored.walk(inspection.archive)
    yield from (f"results/{path}" for path in result_paths(inspection.settings.results, "*"))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
