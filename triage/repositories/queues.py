"""What is owed and what was tried, newest first: the lists that an administrator watches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload, selectinload

from triage.errors import NotFoundError
from triage.states import AnalysisStatus, DeliveryStatus
from triage.tables import Analysis, Delivery, ResultObject


def list_analyses(
    session: Session,
    *,
    status: AnalysisStatus | None = None,
    reason: str = "",
    before: int | None = None,
    limit: int = 50,
) -> Sequence[Analysis]:
    """Analyses with an id below ``before``, each with its study.

    Parameters
    ----------
    reason : str
        Only those whose reason holds this text; upper and lower case are the same.
    """
    query = sa.select(Analysis).options(joinedload(Analysis.study)).order_by(Analysis.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Analysis.status == status)
    if reason:
        query = query.where(Analysis.reason.icontains(reason, autoescape=True))
    if before is not None:
        query = query.where(Analysis.id < before)
    return session.scalars(query).all()


def list_deliveries(
    session: Session,
    *,
    status: DeliveryStatus | None = None,
    destination: str = "",
    reason: str = "",
    before: int | None = None,
    limit: int = 50,
) -> Sequence[Delivery]:
    """Deliveries with an id below ``before``, each with its object, study and attempts."""
    query = _with_everything(sa.select(Delivery)).order_by(Delivery.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Delivery.status == status)
    if destination:
        query = query.where(Delivery.destination == destination)
    if reason:
        query = query.where(Delivery.reason == reason)
    if before is not None:
        query = query.where(Delivery.id < before)
    return session.scalars(query).all()


def open_analyses(session: Session, *, limit: int = 200) -> Sequence[Analysis]:
    """Analyses that run, then those that wait, each with its study; the oldest first."""
    query = (
        sa.select(Analysis)
        .where(sa.text("analyses.status IN ('QUEUED', 'RUNNING')"))  # the very text of the partial index
        .options(joinedload(Analysis.study))
        .order_by(Analysis.status.desc(), Analysis.id)
        .limit(limit)
    )
    return session.scalars(query).all()


def given_up(session: Session) -> Sequence[tuple[str, str, int]]:
    """Destination, reason and number of what was given up, the most frequent first."""
    query = (
        sa.select(Delivery.destination, Delivery.reason, sa.func.count())
        .where(Delivery.status == DeliveryStatus.DEAD)
        .group_by(Delivery.destination, Delivery.reason)
        .order_by(sa.func.count().desc(), Delivery.destination, Delivery.reason)
        .limit(200)
    )
    return [(destination, reason, count) for destination, reason, count in session.execute(query)]


@dataclass(frozen=True, slots=True)
class Retried:
    """What one destination has not taken yet, though it was tried."""

    destination: str
    count: int
    since: datetime
    """When the oldest of them became due for the first time."""
    reason: str
    """Of one of them."""


def retried(session: Session) -> Sequence[Retried]:
    """Deliveries that were tried and are tried again, by destination, the oldest first."""
    since = sa.func.min(Delivery.created_at)
    query = (
        sa.select(Delivery.destination, sa.func.count(), since, sa.func.max(Delivery.reason))
        .where(sa.text("deliveries.status IN ('PENDING', 'SENDING')"))  # the very text of the partial index
        .where(Delivery.reason != "", Delivery.attempt_count > 0)
        .group_by(Delivery.destination)
        .order_by(since)
        .limit(20)
    )
    return [Retried(*row) for row in session.execute(query)]


def delivery_by_id(session: Session, delivery_id: int) -> Delivery:
    """One delivery, locked, with its object, study and attempts.

    Raises
    ------
    NotFoundError
        No such delivery.
    """
    query = _with_everything(sa.select(Delivery)).where(Delivery.id == delivery_id)
    delivery = session.scalar(query.with_for_update(of=Delivery))
    if delivery is None:
        raise NotFoundError(
            "No delivery with this id is known.",
            next_step="`firstread results list` and the page Deliveries show the ids.",
        )
    return delivery


def _with_everything(query: sa.Select[Delivery]) -> sa.Select[Delivery]:
    study = selectinload(Delivery.result_object).joinedload(ResultObject.analysis).joinedload(Analysis.study)
    return query.options(study, selectinload(Delivery.attempts), joinedload(Delivery.commitment))


def destinations(session: Session) -> Mapping[str, Mapping[str, int]]:
    """How many deliveries of each destination stand where: by status, and those SENT or COMMITTED by proof."""
    counts: dict[str, Counter[str]] = {}
    rows = sa.select(Delivery.destination, Delivery.status, Delivery.proof, sa.func.count()).group_by(
        Delivery.destination, Delivery.status, Delivery.proof
    )
    for destination, status, proof, count in session.execute(rows):
        arrived = status in (DeliveryStatus.SENT, DeliveryStatus.COMMITTED)
        counts.setdefault(destination, Counter())[str(proof if arrived and proof else status)] += count
    return counts
