"""What a repair does about each kind of violation. Nothing is ever deleted, and every repair is in the audit trail."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from triage.repositories import analyses, custody, events, mending, scrubbing
from triage.repositories.placing import place_study
from triage.tables import Analysis, Instance, ResultObject, Study
from workers.custody import Inspection, Invariant, Remedy, Violation
from workers.reindexing import WHO, Reindexing

_OF_DAMAGE: Final = frozenset({Remedy.FLAG, Remedy.SOUND})


class Repairs:
    """One run of repairs; call :meth:`finish` when all violations are through."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._files = Reindexing(inspection)

    def repair(self, violation: Violation) -> bool:
        """Do what the violation's remedy says; True when the invariant holds again by it.

        Flagging a damaged file is done here and mends nothing: its sender has to send it again.
        """
        remedy, subject = violation.remedy, violation.subject
        if remedy is None:
            return False
        if remedy is Remedy.INDEX:
            self._files.index([str(subject)])
        elif remedy is Remedy.QUARANTINE:
            self._files.set_aside(str(subject))
        elif remedy is Remedy.ADOPT:
            self._files.adopt_reports([str(subject)], owe=True)
        else:
            with self._inspection.database.write() as session:
                self._mend_row(session, violation, int(subject))
        return remedy is not Remedy.FLAG

    def finish(self) -> None:
        """Judge the studies that indexed files belong to."""
        if self._files.recovered.outcomes:
            self._files.finish()

    def _mend_row(self, session: Session, violation: Violation, row_id: int) -> None:
        now, remedy = self._inspection.clock(), violation.remedy
        if remedy in _OF_DAMAGE:
            table = ResultObject if violation.invariant is Invariant.I4 else Instance
            damage = violation.kind.partition("_")[2] if remedy is Remedy.FLAG else ""
            scrubbing.record_damage(session, table, row_id, damage, at=now, who=WHO)
            return
        study = self._mend_study(session, violation, row_id)
        events.record(session, "custody_repaired", at=now, study=study, who=WHO, reason=violation.what)

    def _mend_study(self, session: Session, violation: Violation, row_id: int) -> Study:
        now, remedy = self._inspection.clock(), violation.remedy
        study = mending.study_by_uid(session, violation.study_instance_uid)
        if remedy is Remedy.PLACE:
            place_study(session, study, self._inspection.settings.targets, at=now, who=WHO)
        elif remedy is Remedy.RECOUNT:
            ((study, count, _),) = custody.studies(session, row_id - 1, row_id)
            study.instance_count = count
        elif remedy is Remedy.LOOK_AGAIN:
            analyses.queue(session, study, at=now, due=True)
        else:
            analysis = session.get_one(Analysis, row_id, with_for_update=True)
            if remedy is Remedy.RELEASE:
                mending.release(analysis, at=now)
            elif remedy is Remedy.SUPERSEDE:
                analyses.fail(session, analysis, "a newer revision of the study took its place", at=now)
            else:
                analyses.fail(session, analysis, f"given up after {analysis.attempts} attempts", at=now)
        return study
