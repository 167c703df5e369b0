"""Orders as administrators look at them: what each feed brought, what it gave, and what was refused. Read only, but
for the refusals that are written down here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.findings import Urgency
from triage.order_feeds import FeedState
from triage.orders import is_of
from triage.repositories import events, heartbeats
from triage.repositories.peers import LATELY, Caller
from triage.states import ReadingStatus
from triage.tables import Event, Order, Study

REFUSED: Final = "order_refused"
"""Kind of the event of a message that was refused."""
PART: Final = "orders"
"""Of the process that takes orders."""
MOST_STUDIES: Final = 5
"""Of one order that are named; a number with more is a default of some device."""


@dataclass(frozen=True, slots=True)
class OrderedStudy:
    """A study with an order's accession number."""

    study_instance_uid: str
    urgency: Urgency
    order_urgency: Urgency | None
    """What all orders and its header ask for together."""
    reading_status: ReadingStatus
    of_this_patient: bool
    """False: the order names another patient and claims nothing."""


@dataclass(frozen=True, slots=True)
class ListedOrder:
    """An order and the first :data:`MOST_STUDIES` studies with its number."""

    order: Order
    studies: Sequence[OrderedStudy]


@dataclass(frozen=True, slots=True)
class Sender:
    """What one system has ordered lately."""

    source: str
    sender: str
    orders: int
    unknown: int
    """With a priority that nobody knows, which claims nothing."""
    cancelled: int
    last_at: datetime


def listed(
    session: Session, *, waiting: bool = False, before: int | None = None, limit: int = 50
) -> Sequence[ListedOrder]:
    """Orders with an id below ``before``, newest first; ``waiting``: only standing ones without a study."""
    query = sa.select(Order).order_by(Order.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Order.id < before)
    if waiting:
        query = query.where(Order.cancelled_at.is_(None), ~_has_study())
    orders = session.scalars(query).all()
    numbers = {order.accession_number for order in orders} - {""}
    found: dict[str, list[Study]] = {}
    for number in sorted(numbers):
        same = sa.select(Study).where(Study.accession_number == number).order_by(Study.id.desc()).limit(MOST_STUDIES)
        found[number] = list(session.scalars(same))
    return [
        ListedOrder(order, [_of(order, study) for study in found.get(order.accession_number, ())]) for order in orders
    ]


def senders(session: Session) -> Sequence[Sender]:
    """Who ordered what, among the newest :data:`LATELY` orders, the latest first."""
    newest = session.scalar(sa.select(sa.func.max(Order.id))) or 0
    recent = (  # the limit keeps SQLite from walking the index of source and sender instead
        sa.select(Order).where(Order.id > newest - LATELY).order_by(Order.id.desc()).limit(LATELY).subquery().c
    )
    unknown = sa.func.sum(sa.case((sa.and_(recent.urgency.is_(None), recent.priority != ""), 1), else_=0))
    cancelled = sa.func.sum(sa.case((recent.cancelled_at.is_not(None), 1), else_=0))
    last = sa.func.max(recent.changed_at)
    query = (
        sa.select(recent.source, recent.sender, sa.func.count(), unknown, cancelled, last)
        .group_by(recent.source, recent.sender)
        .order_by(last.desc())
        .limit(200)
    )
    return [Sender(*row) for row in session.execute(query)]


def waiting_count(session: Session, since: datetime) -> int:
    """Standing orders that came since then and have no study yet."""
    query = sa.select(sa.func.count()).where(
        Order.changed_at >= since, Order.cancelled_at.is_(None), ~_has_study()
    )  # fmt: skip
    return session.scalar(query) or 0


def feeds(session: Session, now: datetime) -> dict[str, FeedState]:
    """Feeds by name, as the living process that takes orders says; without one there are none."""
    beats = [beat for beat in heartbeats.alive(session, now) if beat.part == PART]
    states = [FeedState.of_detail(said) for beat in beats for said in beat.detail.get("feeds", ())]
    return {state.feed: state for state in states}


def record_refusal(session: Session, *, reason: str, sender: str, count: int, at: datetime) -> None:
    """Note that so many messages of one sender were refused for one reason, which holds no value of theirs."""
    events.record(session, REFUSED, at=at, who=sender, reason=reason, count=count)


def refused(session: Session) -> list[Caller]:
    """Whose messages were refused lately and why, the latest first."""
    newest = session.scalar(sa.select(sa.func.max(Event.id))) or 0
    query = (
        sa.select(Event).where(Event.id > newest - LATELY, Event.kind == REFUSED).order_by(Event.id.desc()).limit(500)
    )
    found: dict[tuple[str, str], list[Event]] = {}
    for event in session.scalars(query):
        found.setdefault((event.who, str(event.detail.get("reason", ""))), []).append(event)
    return [
        Caller(sender, "", sum(int(event.detail.get("count") or 1) for event in told), told[0].at, reason)
        for (sender, reason), told in found.items()
    ]


def _has_study() -> sa.ColumnElement[bool]:
    return sa.exists().where(Study.accession_number == Order.accession_number, Order.accession_number != "")


def _of(order: Order, study: Study) -> OrderedStudy:
    return OrderedStudy(
        study.study_instance_uid,
        study.urgency,
        study.order_urgency,
        study.reading_status,
        is_of(study.patient_id, order.patient_ids),
    )
