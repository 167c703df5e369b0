"""Does work stand still: rows that are due, and nobody who takes them, whoever shows life.

A worker renews its heartbeat by the database and hears of work by the broker; where the broker is away or frozen, it
lives and does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.repositories import analyses, deliveries
from triage.states import AnalysisStatus
from triage.tables import Analysis, Delivery, DeliveryAttempt, Study

STANDS_AFTER: Final = timedelta(minutes=1)
"""Work that is due is taken within a second where somebody listens and nothing else is done."""
_LOOKED_AT: Final = 50
"""So many rows that are due; where nothing is done, each of them soon waits too long."""


def analysing(session: Session, now: datetime) -> datetime | None:
    """Since when an analysis is due that no worker takes; None where none is, or analyses make progress."""
    rows = session.execute(
        sa.select(Analysis.queued_at, Analysis.not_before, Study.last_received_at, Study.completed_at)
        .join(Analysis.study)
        .where(analyses.claimable(now))
        .order_by(Analysis.id)
        .limit(_LOOKED_AT)
    )
    since = _oldest(rows)
    if since is None or now - since < STANDS_AFTER:
        return None
    works = sa.and_(Analysis.status == AnalysisStatus.RUNNING, Analysis.lease_until >= now)
    scored = Analysis.scored_at >= now - STANDS_AFTER
    if session.scalar(sa.select(sa.or_(sa.exists().where(works), sa.exists().where(scored)))):
        return None
    return since


def delivering(session: Session, now: datetime) -> datetime | None:
    """The same of deliveries: since when one is due that nobody sends, while nothing is sent or tried at all."""
    rows = session.execute(
        sa.select(Delivery.created_at, Delivery.not_before)
        .where(deliveries.claimable(now))
        .order_by(Delivery.destination, Delivery.not_before)  # as in their index: by id, all would be walked through
        .limit(_LOOKED_AT)
    )
    since = _oldest(rows)
    if since is None or now - since < STANDS_AFTER:
        return None
    latest = sa.select(sa.func.max(DeliveryAttempt.id)).scalar_subquery()
    tried = session.scalar(sa.select(DeliveryAttempt.finished_at).where(DeliveryAttempt.id == latest))
    if tried is not None and now - tried < STANDS_AFTER:
        return None
    sending = session.scalar(sa.select(sa.exists().where(deliveries.held(now))))
    return None if sending else since


def _oldest(rows: Iterable[Sequence[datetime | None]]) -> datetime | None:
    """The earliest of the times since which rows are due: each since the latest of its own."""
    return min((max(at for at in row if at is not None) for row in rows), default=None)
