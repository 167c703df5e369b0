"""From files back to rows: orphans after a crash, everything after the loss of a database.

Each file goes through the same rules as on the day it came: its time is that of its file, its sender the one in the
file meta information, so versions and conflicts come out as they did.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from dicom_node import stored
from dicom_node.intake import CANNOT_UNDERSTAND, DATA_SET_DOES_NOT_MATCH
from dicom_node.results import rereading
from dicom_node.stored import StoredInstance
from triage.errors import DicomError, NotFoundError, StateError
from triage.instances import Arrival, IntakeOutcome, Received
from triage.repositories import custody, events, intake, mending, quarantine
from triage.repositories.intake import IntakeRules
from triage.tables import Study
from workers.adoption import adopt, adopt_assessment
from workers.custody import Inspection
from workers.pulse import process_name
from workers.result_files import result_paths
from workers.wanted import owed

TOGETHER: Final = 50
"""Instances recorded in one transaction."""
WHO: Final = "fsck"
_DAMAGED: Final = "Found damaged in the store, without a row."
_MISPLACED: Final = "SeriesInstanceUID (0020,000E) belongs to another study."


@dataclass(kw_only=True)
class Recovered:
    """What came back.

    Attributes
    ----------
    outcomes : Counter of IntakeOutcome
        Instances by what recording them meant.
    set_aside : list of str
        Damaged files, now in quarantine.
    reports : int
        Reports taken over from the results directory.
    assessments : int
        Assessments of these reports.
    """

    outcomes: Counter[IntakeOutcome] = field(default_factory=Counter)
    set_aside: list[str] = field(default_factory=list)
    reports: int = 0
    assessments: int = 0


class Reindexing:
    """One run that records files. Its associations end with :meth:`finish`, or with the process."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._run = uuid.uuid4().hex
        self._associations: set[str] = set()
        self._others: list[str] = []
        self._rules = IntakeRules(
            listener=process_name(WHO),
            pixel_digest=inspection.archive.pixel_digest,
            damage=partial(stored.damage, inspection.archive),
            completion=inspection.settings.completion,
            targets=inspection.settings.targets,
            site_rules=inspection.settings.site_rules,
        )
        self.recovered = Recovered()

    def index(self, paths: Iterable[str]) -> None:
        """Record files, :data:`TOGETHER` in a transaction; damaged ones go into quarantine."""
        waiting = iter(paths)
        while some := list(islice(waiting, TOGETHER)):
            found = [whole for path in some if (whole := self._read_back(path)) is not None]
            received = [
                Received(header=whole.header, stored=whole.file, arrival=self._arrival(whole)) for whole in found
            ]
            self._associations |= {item.arrival.association_uid for item in received}
            with self._inspection.database.write() as session:
                outcomes = intake.record_instances(session, received, self._rules) if received else []
                for item, outcome in zip(received, outcomes, strict=True):
                    if outcome is not IntakeOutcome.MISPLACED:
                        self._tell(session, item)
            self.recovered.outcomes.update(outcomes)
            for item, outcome in zip(received, outcomes, strict=True):
                if outcome is IntakeOutcome.MISPLACED:
                    self.set_aside(item.stored.relative_path, _MISPLACED, DATA_SET_DOES_NOT_MATCH)

    def set_aside(self, path: str, reason: str = _DAMAGED, status: int = CANNOT_UNDERSTAND) -> None:
        """Move a file into quarantine, and say so in its list. One that is gone meanwhile is no matter."""
        archive = self._inspection.archive
        try:
            arrival = self._arrived(stored.written_at(archive, path), "")
            kept = stored.set_aside(archive, path, reason, arrival, status)
        except (NotFoundError, FileNotFoundError):
            return
        with self._inspection.database.write() as session:
            quarantine.record(session, kept)
        self.recovered.set_aside.append(kept.relative_path.as_posix())

    def finish(self) -> None:
        """End the associations and judge the studies they held open, a window at a time."""
        now, policy = self._inspection.clock(), self._inspection.settings.completion
        database = self._inspection.database
        with database.write() as session:
            mending.end_associations(session, self._associations, at=now)
        with database.read() as session:
            windows = custody.windows(session, Study)
        for after in windows:
            with database.write() as session:
                mending.judge_receiving(session, after, after + custody.WINDOW, now, policy)

    def adopt_reports(self, paths: Iterable[str], *, owe: bool) -> None:
        """Take over reports of the results directory.

        Parameters
        ----------
        owe : bool
            Owe them to the destinations: the same bytes again, which a PACS that has them keeps as they are.
        """
        settings = self._inspection.settings
        for path in paths:
            try:
                _, is_report = rereading.identity(settings.results / path)
                if not is_report:
                    continue
                issued = rereading.read_report(settings.results / path)
            except (DicomError, OSError):
                self._others.append(path)  # half a file is no report, and what a person says is an assessment
                continue
            with self._inspection.database.write() as session:
                taken = adopt(
                    session, issued, settings.results,
                    targets=settings.targets, profiles=[d.profile for d in settings.destinations],
                    destinations=owed(settings) if owe else {},
                    at=self._inspection.clock(),
                )  # fmt: skip
            self.recovered.reports += taken

    def adopt_assessments(self, *, owe: bool) -> None:
        """Take over what people said, in that order, from the files that :meth:`adopt_reports` found to be no reports.

        ``owe`` as there.
        """
        settings = self._inspection.settings
        found = [issued for path in self._others if (issued := _assessment(settings.results / path)) is not None]
        for issued in sorted(found, key=lambda each: (each.created_at, each.sop_instance_uid)):
            with self._inspection.database.write() as session:
                taken = adopt_assessment(
                    session, issued, settings.results,
                    destinations=owed(settings) if owe else {}, at=self._inspection.clock(),
                )  # fmt: skip
            self.recovered.assessments += taken

    def _read_back(self, path: str) -> StoredInstance | None:
        try:
            return stored.read_back(self._inspection.archive, path)
        except NotFoundError:
            return None
        except DicomError:
            self.set_aside(path)
            return None

    def _tell(self, session: Session, item: Received) -> None:
        events.record(
            session, "instance_reindexed", at=self._inspection.clock(), who=WHO,
            study=mending.study_by_uid(session, item.header.study_instance_uid),
            sop_instance_uid=item.header.sop_instance_uid,
        )  # fmt: skip

    def _arrival(self, found: StoredInstance) -> Arrival:
        return self._arrived(found.written_at, found.calling_ae_title)

    def _arrived(self, at: datetime, calling_ae_title: str) -> Arrival:
        return Arrival(
            received_at=at,
            association_uid=f"reindex {self._run} {calling_ae_title}".strip(),
            calling_ae_title=calling_ae_title,
            called_ae_title=self._inspection.settings.ae_title,
            peer_address="",
        )


def rebuild(
    inspection: Inspection, *, owe: bool = False, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Recovered:
    """Fill an empty database from the archive and the reports of the results directory.

    Reports are not made again and, unless ``owe``, not sent again. Studies without one are analysed when the workers
    start. The new database has a new identity, from which the UIDs of new results are derived: so they never meet a
    result of the old one whose file is gone too.

    Parameters
    ----------
    progress : callable
        Told after each transaction how many files of how many are recorded.

    Raises
    ------
    StateError
        The database knows studies already, or the system runs.
    """
    if inspection.live:
        raise StateError("The system runs.", next_step="Stop it before the archive is indexed anew.")
    with inspection.database.read() as session:
        if custody.windows(session, Study):
            raise StateError(
                "The database is not empty.",
                next_step="Use `firstread fsck --repair`, or move the database away and run `firstread db upgrade`.",
            )
    run = Reindexing(inspection)
    paths = in_order_of_arrival(inspection)
    for done in range(0, len(paths), TOGETHER):
        run.index(paths[done : done + TOGETHER])
        progress(min(done + TOGETHER, len(paths)), len(paths))
    run.finish()
    run.adopt_reports(result_paths(inspection.settings.results), owe=owe)
    run.adopt_assessments(owe=owe)
    return run.recovered


def _assessment(path: Path) -> rereading.IssuedAssessment | None:
    """The assessment in a file of the results directory; None for everything else."""
    try:
        return rereading.read_assessment(path)
    except (DicomError, OSError):
        return None


def in_order_of_arrival(inspection: Inspection) -> list[str]:
    """All files of the store by the time of their last write, then by name; 250 bytes of memory each."""
    archive = inspection.archive
    times = ((stored.written_at(archive, path), path) for path in stored.walk(archive) if stored.is_our_name(path))
    return [path for _, path in sorted(times)]
