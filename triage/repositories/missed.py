"""What people see and the AI's report does not say: recorded, withdrawn, never overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.errors import IdentifierError, NotFoundError, StateError
from triage.findings import Laterality
from triage.repositories import events, verdicts
from triage.repositories.worklist import refuse_other_reader
from triage.states import AnalysisStatus
from triage.tables import Analysis, AnalysisImage, Finding, MissedFinding, Study


def record(
    session: Session, study: Study, key: str, *, laterality: Laterality | None, text: str, who: str, at: datetime
) -> MissedFinding:
    """A person marks a finding that the AI's report does not say.

    Parameters
    ----------
    key : str
        Of a finding that the AI looks for, or "" for anything else, which ``text`` then names.

    Raises
    ------
    IdentifierError
        The AI has no such finding, or neither key nor text says what it is.
    StateError
        Somebody else has claimed the case, or no report has been issued.
    """
    refuse_other_reader(study, who)
    analysis = _reported(session, study)
    row = MissedFinding(study_id=study.id, analysis_id=analysis.id, at=at, who=who, key=key, laterality=laterality,
                        text=text)  # fmt: skip
    if key:
        known = _finding(session, study, key)
        row.code_value, row.code_scheme = known.code_value, known.code_scheme
        row.code_meaning = known.code_meaning
    elif not text:
        raise IdentifierError("key and text: neither says what was missed.", next_step="Name it in `text`.")
    session.add(row)
    session.flush()
    verdicts.make_due(session, analysis.id, who, at=at)
    events.record(session, "finding_missed", at=at, study=study, who=who, finding=row.code_meaning or "another finding")
    return row


def withdraw(session: Session, study: Study, missed_id: int, *, who: str, at: datetime) -> MissedFinding:
    """Take it back; the row stays. Once more changes nothing.

    Raises
    ------
    NotFoundError
        The study has none with this id.
    StateError
        Somebody else has claimed the case.
    """
    refuse_other_reader(study, who)
    row = session.get(MissedFinding, missed_id)
    if row is None or row.study_id != study.id:
        raise NotFoundError("The study has no missed finding with this id.", next_step="Reload the case.")
    if row.withdrawn_at is None:
        row.withdrawn_at, row.withdrawn_by = at, who
        verdicts.make_due(session, row.analysis_id, row.who, at=at)
        events.record(
            session, "missed_withdrawn", at=at, study=study, who=who, finding=row.code_meaning or "another finding"
        )
    return row


def of_study(session: Session, study: Study) -> Sequence[MissedFinding]:
    """All that were marked, withdrawn ones too, oldest first."""
    query = sa.select(MissedFinding).where(MissedFinding.study_id == study.id).order_by(MissedFinding.id)
    return session.scalars(query).all()


def _reported(session: Session, study: Study) -> Analysis:
    """The latest analysis that a report was issued for."""
    query = (
        sa.select(Analysis)
        .where(Analysis.study_id == study.id, Analysis.status == AnalysisStatus.SUCCEEDED)
        .order_by(Analysis.revision.desc(), Analysis.id)
        .limit(1)
    )
    analysis = session.scalars(query).first()
    if analysis is None:
        raise StateError(
            "No report has been issued that could have missed it.", next_step="Wait until the analysis is done."
        )
    return analysis


def _finding(session: Session, study: Study, key: str) -> Finding:
    query = (
        sa.select(Finding)
        .join(Finding.image)
        .join(AnalysisImage.analysis)
        .where(Analysis.study_id == study.id, Finding.key == key)
        .order_by(Finding.id.desc())
        .limit(1)
    )
    finding = session.scalars(query).first()
    if finding is None:
        raise IdentifierError("key: the AI looks for no such finding.", next_step="Leave it out and use `text`.")
    return finding
