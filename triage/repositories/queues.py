"""What is owed and what was tried, newest first: the lists that an administrator watches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload, selectinload

from triage.errors import NotFoundError
from triage.states import AnalysisStatus, DeliveryStatus
from triage.tables import Analysis, Delivery, ResultObject


def list_analyses(
    session: Session, *, status: AnalysisStatus | None = None, before: int | None = None, limit: int = 50
) -> Sequence[Analysis]:
    """Analyses with an id below ``before``, each with its study."""
    query = sa.select(Analysis).options(joinedload(Analysis.study)).order_by(Analysis.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Analysis.status == status)
    if before is not None:
        query = query.where(Analysis.id < before)
    return session.scalars(query).all()


def list_deliveries(
    session: Session,
    *,
    status: DeliveryStatus | None = None,
    destination: str = "",
    before: int | None = None,
    limit: int = 50,
) -> Sequence[Delivery]:
    """Deliveries with an id below ``before``, each with its object, study and attempts."""
    query = _with_everything(sa.select(Delivery)).order_by(Delivery.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Delivery.status == status)
    if destination:
        query = query.where(Delivery.destination == destination)
    if before is not None:
        query = query.where(Delivery.id < before)
    return session.scalars(query).all()


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
        raise NotFoundError("No delivery with this id is known.")
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
