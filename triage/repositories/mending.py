"""What repairs of custody write beside what intake and workers write anyway."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.completion import CompletionPolicy
from triage.repositories import analyses
from triage.repositories.completing import reconsider
from triage.states import AnalysisStatus, StudyStatus
from triage.tables import Analysis, Association, Study


def study_by_uid(session: Session, study_instance_uid: str) -> Study:
    """A study that is known to be here."""
    return session.scalars(sa.select(Study).where(Study.study_instance_uid == study_instance_uid)).one()


def end_associations(session: Session, association_uids: Collection[str], *, at: datetime) -> None:
    """End associations without judging the studies they held open; :func:`judge_receiving` does that in parts."""
    session.execute(
        sa.update(Association)
        .where(Association.association_uid.in_(association_uids), Association.closed_at.is_(None))
        .values(closed_at=at)
    )


def judge_receiving(session: Session, after: int, until: int, now: datetime, policy: CompletionPolicy) -> None:
    """Apply the completion rule to the studies of a window that are open."""
    query = (
        sa.select(Study)
        .where(Study.id > after, Study.id <= until, Study.status == StudyStatus.RECEIVING)
        .order_by(Study.id)
        .with_for_update(key_share=True)
    )
    for study in session.scalars(query):
        analyses.wake(session, study)
        reconsider(session, study, now, policy)


def release(analysis: Analysis, *, at: datetime) -> None:
    """Let a worker take over an analysis that nobody holds; the claim then counts its attempts."""
    if analysis.status is AnalysisStatus.RUNNING:
        analysis.lease_until = at - timedelta(microseconds=1)
    elif analysis.status is AnalysisStatus.QUEUED:
        analysis.due = True
    else:
        analysis.token, analysis.lease_until, analysis.holder = "", None, ""
        analysis.finished_at = analysis.finished_at or at
