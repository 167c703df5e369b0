"""The queue of analyses: rows with leases and fencing tokens. A message only says "look now"."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.errors import LeaseLostError, StateError
from triage.findings import NotAnalysedReason
from triage.profiles import ResultKind
from triage.repositories import events
from triage.repositories.upsert import insert_or_ignore
from triage.states import AnalysisStatus, StudyStatus, advance, terminal
from triage.tables import Analysis, Instance, ResultObject, Study

LEASE: Final = timedelta(seconds=60)
"""A worker that is silent for this long has lost its row."""
RETRY_PAUSE: Final = timedelta(seconds=5)
"""Pause before a failed analysis is tried again, doubled with each attempt."""

_OPEN: Final = sa.text("analyses.status IN ('QUEUED', 'RUNNING')")
"""Literal, because SQLite takes a partial index only for the very text it was made with."""


def queue(session: Session, study: Study, *, at: datetime, due: bool) -> Analysis:
    """Make sure an analysis of the study is open.

    A study that was only declined is looked at again under the same revision, because nothing was issued for it; one
    with a result gets its next revision.

    Parameters
    ----------
    due : bool
        True when a worker should look now; False to wait for the completion of the study.
    """
    newest = _newest(session, study)
    if newest is not None and not terminal(newest.status):
        for analysis in session.scalars(sa.select(Analysis).where(_OPEN, Analysis.study_id == study.id)):
            analysis.due = analysis.due or due
        return newest
    if newest is not None and newest.status is AnalysisStatus.NOT_ANALYSED:
        newest.status = advance(newest.status, AnalysisStatus.QUEUED)
        newest.due, newest.attempts, newest.reason, newest.finished_at = due, 0, "", None
        return newest
    if newest is not None:
        study.revision = newest.revision + 1
    analysis = Analysis(study=study, revision=study.revision, queued_at=at, due=due)
    session.add(analysis)
    session.flush()
    return analysis


def request(session: Session, study: Study, *, at: datetime, who: str) -> Analysis:
    """A person asks for another look: a new revision, or the failed one again with fresh attempts.

    Raises
    ------
    StateError
        An analysis is still queued or running, or retention has removed every image.
    """
    newest = _newest(session, study)
    if newest is not None and not terminal(newest.status):
        raise StateError("An analysis of this study is already queued or running.")
    _require_images(session, study)
    events.record(session, "analysis_requested", at=at, study=study, who=who)
    if newest is None or newest.status is AnalysisStatus.SUCCEEDED:
        return queue(session, study, at=at, due=True)
    newest.status = advance(newest.status, AnalysisStatus.QUEUED)
    newest.due, newest.attempts, newest.reason, newest.finished_at = True, 0, "", None
    newest.images.clear()
    return newest


def _require_images(session: Session, study: Study) -> None:
    images = sa.select(Instance.removed_at).where(
        Instance.study_id == study.id, Instance.is_current, Instance.not_analysed.is_(None)
    )
    removed = session.scalars(images).all()
    times = [at for at in removed if at is not None]
    if times and len(times) == len(removed):
        raise StateError(
            f"Retention removed the images of this study on {max(times):%Y-%m-%d}.",
            next_step="Have them sent again, then ask.",
        )


def wake(session: Session, study: Study) -> None:
    """The study changed in a way that lets its open analyses go on."""
    session.flush()
    session.execute(
        sa.update(Analysis)
        .where(_OPEN, Analysis.study_id == study.id)
        .values(due=True)
        .execution_options(synchronize_session="fetch")
    )


def claimable(now: datetime) -> sa.ColumnElement[bool]:
    """That a worker may take it now."""
    waiting = sa.and_(
        Analysis.status == AnalysisStatus.QUEUED,
        Analysis.due,
        sa.or_(Analysis.not_before.is_(None), Analysis.not_before <= now),
    )
    abandoned = sa.and_(Analysis.status == AnalysisStatus.RUNNING, Analysis.lease_until < now)
    return sa.and_(_OPEN, sa.or_(waiting, abandoned))


def expire_leases_of(session: Session, gone: Collection[str], now: datetime) -> int:
    """End the leases of processes that are known to be gone, instead of waiting them out; returns how many."""
    lost = sa.select(Analysis).where(_OPEN, Analysis.status == AnalysisStatus.RUNNING, Analysis.holder.in_(gone))
    held_by_the_gone = list(session.scalars(lost.with_for_update(skip_locked=True)))
    for analysis in held_by_the_gone:
        analysis.lease_until = now - timedelta(microseconds=1)
    return len(held_by_the_gone)


def holders(session: Session) -> list[str]:
    """Names of all processes that hold a lease."""
    query = sa.select(Analysis.holder).where(_OPEN, Analysis.status == AnalysisStatus.RUNNING).distinct()
    return list(session.scalars(query))


def any_claimable(session: Session, now: datetime) -> bool:
    """True when a worker would find something to claim."""
    return session.scalar(sa.select(sa.exists().where(claimable(now)))) or False


def claim(session: Session, now: datetime, *, attempts: int, holder: str = "", fresh: bool = False) -> Analysis | None:
    """Take the most urgent analysis that is due, under a lease.

    The attempt is counted here, before any pixel is touched: a file that kills its worker is given up after
    ``attempts`` runs, not retried for ever. ``fresh`` leaves out rows that were tried before.
    """
    query = (
        sa.select(Analysis)
        .join(Analysis.study)
        .where(claimable(now), Analysis.attempts == 0 if fresh else sa.true())
        .order_by(Study.tier, Study.due_at, Analysis.id)
        .limit(1)
        .options(selectinload(Analysis.study))
        .with_for_update(skip_locked=True, of=Analysis)
    )
    analysis = session.scalar(query)
    if analysis is None:
        return None
    if analysis.status is AnalysisStatus.RUNNING:
        events.record(session, "lease_expired", at=now, study=analysis.study, who="sweep", attempt=analysis.attempts)
        analysis.status = advance(analysis.status, AnalysisStatus.QUEUED)
    if analysis.attempts >= attempts:
        fail(
            session,
            analysis,
            f"given up after {analysis.attempts} attempts: {analysis.reason or 'the worker died'}",
            at=now,
        )
        return claim(session, now, attempts=attempts, holder=holder, fresh=fresh)
    analysis.status = advance(analysis.status, AnalysisStatus.RUNNING)
    analysis.attempts += 1
    analysis.token = uuid.uuid4().hex
    analysis.lease_until = now + LEASE
    analysis.holder = holder
    analysis.due = False
    analysis.started_at = analysis.started_at or now
    return analysis


def claim_batch(session: Session, now: datetime, *, attempts: int, limit: int, holder: str) -> list[Analysis]:
    """Take up to ``limit`` analyses for one inference batch, most urgent first.

    Only first attempts share a batch: a row that has failed before runs alone, so that a file that kills its worker
    cannot use up the attempts of its neighbours.
    """
    batch: list[Analysis] = []
    while (
        len(batch) < limit
        and (analysis := claim(session, now, attempts=attempts, holder=holder, fresh=bool(batch))) is not None
    ):
        batch.append(analysis)
        session.flush()
        if analysis.attempts > 1:
            break
    return batch


def held(session: Session, analysis_id: int, token: str) -> Analysis:
    """The analysis, locked, if this worker still holds it. Every later write of a task begins here.

    Raises
    ------
    LeaseLostError
        Another worker claimed it meanwhile, or it was finished.
    """
    # The study's row is locked first, as intake does it: one order of locks, no deadlock.
    study_id = sa.select(Analysis.study_id).where(Analysis.id == analysis_id).scalar_subquery()
    session.execute(sa.select(Study.id).where(Study.id == study_id).with_for_update(key_share=True))
    query = (
        sa.select(Analysis).where(Analysis.id == analysis_id).with_for_update().options(selectinload(Analysis.study))
    )
    analysis = session.scalar(query)
    if analysis is None or analysis.token != token or analysis.status is not AnalysisStatus.RUNNING:
        raise LeaseLostError("The analysis was claimed by another worker; this result is dropped.")
    return analysis


def renew(session: Session, analysis_id: int, token: str, now: datetime) -> None:
    """Extend the lease of a long run."""
    held(session, analysis_id, token).lease_until = now + LEASE


def park(analysis: Analysis) -> None:
    """Wait for the rest of the study: back to the queue, due when something arrives or the study is complete.

    An arrival during the run has set ``due`` already and is not lost.
    """
    analysis.status = advance(analysis.status, AnalysisStatus.QUEUED)
    analysis.attempts = 0
    analysis.due = analysis.due or analysis.study.status is StudyStatus.COMPLETE
    _let_go(analysis)


def retry_later(session: Session, analysis: Analysis, reason: str, *, at: datetime, counted: bool = True) -> None:
    """A run failed in a way that may pass.

    Parameters
    ----------
    counted : bool
        False when nothing of the study had a part in it: the attempt is given back, and the case is not given up for
        how often the database goes away.
    """
    if not counted:
        analysis.attempts -= 1
    pause = RETRY_PAUSE * float(1 << max(0, analysis.attempts - 1))
    analysis.status = advance(analysis.status, AnalysisStatus.QUEUED)
    analysis.due, analysis.not_before, analysis.reason = True, at + pause, reason
    events.record(session, "analysis_retried", at=at, study=analysis.study, who="worker", reason=reason)
    _let_go(analysis)


def succeed(session: Session, analysis: Analysis, *, at: datetime, reason: str = "") -> None:
    """Findings, objects and deliveries are in this same transaction."""
    _finish(session, analysis, AnalysisStatus.SUCCEEDED, reason, at)


def decline(session: Session, analysis: Analysis, reason: NotAnalysedReason, detail: str, *, at: datetime) -> None:
    """Nothing in the study is for a network: an explicit answer, never a number."""
    sentence = f"{reason.sentence}: {detail}" if detail else reason.sentence
    _finish(session, analysis, AnalysisStatus.NOT_ANALYSED, sentence, at)


def fail(session: Session, analysis: Analysis, reason: str, *, at: datetime) -> None:
    """Given up. The case keeps its place in the order and says why it has no result."""
    _finish(session, analysis, AnalysisStatus.FAILED, reason, at)


def _finish(session: Session, analysis: Analysis, status: AnalysisStatus, reason: str, at: datetime) -> None:
    analysis.status = advance(analysis.status, status)
    analysis.reason, analysis.finished_at = reason, at
    _let_go(analysis)
    events.record(
        session, f"analysis_{status.value.lower()}", at=at, study=analysis.study,
        who=f"{analysis.bundle_name} {analysis.bundle_version}".strip() or "worker", reason=reason,
        revision=analysis.revision,
    )  # fmt: skip


def _let_go(analysis: Analysis) -> None:
    analysis.token, analysis.lease_until, analysis.holder = "", None, ""


def _newest(session: Session, study: Study) -> Analysis | None:
    query = (
        sa.select(Analysis).where(Analysis.study_id == study.id).order_by(Analysis.revision.desc(), Analysis.id.desc())
    )
    return session.scalars(query.limit(1)).first()


def queue_sibling(session: Session, analysis: Analysis, bundle_name: str, *, at: datetime) -> None:
    """Another bundle reads an image of the same study: its own analysis of the same revision, made once."""
    insert_or_ignore(
        session,
        Analysis,
        study_id=analysis.study_id,
        revision=analysis.revision,
        bundle_name=bundle_name,
        queued_at=at,
        due=True,
    )


def predecessor(session: Session, analysis: Analysis) -> Analysis | None:
    """The last analysis of the study by the same bundle before this one that issued a report.

    One that saw no new image succeeds without: what stands is the report before it.
    """
    query = (
        sa.select(Analysis)
        .where(
            Analysis.study_id == analysis.study_id,
            Analysis.bundle_name == analysis.bundle_name,
            Analysis.status == AnalysisStatus.SUCCEEDED,
            Analysis.revision < analysis.revision,
            Analysis.result_objects.any(ResultObject.kind == ResultKind.REPORT),
        )
        .order_by(Analysis.revision.desc())
        .limit(1)
    )
    return session.scalar(query)
