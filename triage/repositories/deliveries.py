"""What is owed to destinations: rows with leases, one more row per attempt, never dropped in silence."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.repositories import events
from triage.states import DeliveryStatus, advance
from triage.tables import Analysis, Delivery, DeliveryAttempt, ResultObject, Study

LEASE: Final = timedelta(seconds=300)
"""Longest time one batch may take."""
BATCH: Final = 50
"""Objects sent over one association."""
FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(hours=1)
PERMANENT_ATTEMPTS: Final = 3
"""A destination that refuses an object for good is asked this often: some refusals are a full queue in disguise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """How one try ended. ``dicom_status`` is None when no response came."""

    delivered: bool
    dicom_status: int | None = None
    error: str = ""
    permanent: bool = False


def pause_after(attempts: int) -> timedelta:
    """Pause before the next attempt: 5 s, 10 s, 20 s, ... up to an hour."""
    return min(FIRST_PAUSE * float(1 << min(attempts - 1, 16)), LONGEST_PAUSE)


def _claimable(now: datetime) -> sa.ColumnElement[bool]:
    waiting = sa.and_(
        Delivery.status == DeliveryStatus.PENDING,
        sa.or_(Delivery.not_before.is_(None), Delivery.not_before <= now),
    )
    abandoned = sa.and_(Delivery.status == DeliveryStatus.SENDING, Delivery.lease_until < now)
    return sa.or_(waiting, abandoned)


def any_claimable(session: Session, now: datetime) -> bool:
    """True when a sender would find something to claim."""
    return session.scalar(sa.select(sa.exists().where(_claimable(now)))) or False


def due_destinations(session: Session, now: datetime) -> list[str]:
    """Destinations that are owed something now."""
    query = sa.select(Delivery.destination).where(_claimable(now)).distinct().order_by(Delivery.destination)
    return list(session.scalars(query))


def claim_batch(session: Session, destination: str, now: datetime) -> Sequence[Delivery]:
    """Take what is due for one destination, most urgent studies first, pictures before the report that shows them."""
    query = (
        sa.select(Delivery)
        .join(Delivery.result_object)
        .join(ResultObject.analysis)
        .join(Analysis.study)
        .where(Delivery.destination == destination, _claimable(now))
        .order_by(Study.tier, Study.due_at, Analysis.id, ResultObject.id)
        .limit(BATCH)
        .options(selectinload(Delivery.result_object))
        .with_for_update(skip_locked=True, of=Delivery)
    )
    batch = list(session.scalars(query))
    token = uuid.uuid4().hex
    for delivery in batch:
        if delivery.status is DeliveryStatus.SENDING:  # its sender died; whether it arrived is unknown: same UID, again
            delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
        delivery.status = advance(delivery.status, DeliveryStatus.SENDING)
        delivery.token, delivery.lease_until = token, now + LEASE
    return batch


def conclude(
    session: Session,
    delivery_id: int,
    token: str,
    attempt: Attempt,
    *,
    started_at: datetime,
    finished_at: datetime,
    give_up_after: timedelta,
) -> Delivery | None:
    """Record one attempt and what follows from it; None when the lease was lost (the other sender's word counts)."""
    query = (
        sa.select(Delivery)
        .where(Delivery.id == delivery_id)
        .options(selectinload(Delivery.result_object).selectinload(ResultObject.analysis).selectinload(Analysis.study))
        .with_for_update(of=Delivery)
    )
    delivery = session.scalars(query).one()
    if delivery.token != token or delivery.status is not DeliveryStatus.SENDING:
        return None
    delivery.attempt_count += 1
    session.add(
        DeliveryAttempt(
            delivery_id=delivery.id, started_at=started_at, finished_at=finished_at,
            dicom_status=attempt.dicom_status, error=attempt.error,
        )
    )  # fmt: skip
    delivery.token, delivery.lease_until, delivery.reason = "", None, attempt.error
    if attempt.delivered:
        delivery.status, delivery.sent_at = advance(delivery.status, DeliveryStatus.SENT), finished_at
        _event(session, delivery, "result_sent", finished_at)
    elif _hopeless(delivery, attempt, finished_at, give_up_after):
        delivery.status = advance(delivery.status, DeliveryStatus.DEAD)
        _event(session, delivery, "delivery_dead", finished_at)
    else:
        delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
        delivery.not_before = finished_at + pause_after(delivery.attempt_count)
        _event(session, delivery, "delivery_retried", finished_at)
    return delivery


def resend(session: Session, delivery: Delivery, *, at: datetime, who: str) -> None:
    """A person wants a dead delivery tried again, from the start."""
    delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
    delivery.attempt_count, delivery.not_before, delivery.created_at = 0, None, at
    _event(session, delivery, "delivery_resent", at, who=who)


def _hopeless(delivery: Delivery, attempt: Attempt, now: datetime, give_up_after: timedelta) -> bool:
    if attempt.permanent and delivery.attempt_count >= PERMANENT_ATTEMPTS:
        return True
    return now - delivery.created_at >= give_up_after


def _event(session: Session, delivery: Delivery, kind: str, at: datetime, who: str = "delivery") -> None:
    events.record(
        session, kind, at=at, study=delivery.result_object.analysis.study, who=who,
        destination=delivery.destination, kind_of_object=delivery.result_object.kind,
        sop_instance_uid=delivery.result_object.sop_instance_uid, attempt=delivery.attempt_count,
        reason=delivery.reason,
    )  # fmt: skip
