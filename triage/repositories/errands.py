"""Errands: what a person asks for on the page and a worker does, because the page touches neither network nor files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.errors import LeaseLostError, NotFoundError, StateError
from triage.repositories import events
from triage.states import ErrandKind, ErrandStatus, advance
from triage.tables import Errand

LEASE: Final = timedelta(minutes=3)
"""Longest time that one may take."""
STALE: Final = timedelta(minutes=10)
"""One that nobody has begun by then is not done any more: whoever asked for it has gone on."""
MOST_OPEN: Final = 100

_OPEN: Final = sa.text("errands.status IN ('ASKED', 'RUNNING')")
"""Literal, because SQLite takes a partial index only for the very text it was made with."""


def ask(session: Session, kind: ErrandKind, subject: str, wish: Mapping[str, Any], *, at: datetime, who: str) -> Errand:
    """Ask for something; a worker begins within a second.

    Raises
    ------
    StateError
        The same is under way for this subject, or too much is.
    """
    expire(session, at)
    subjects = session.scalars(sa.select(Errand.subject).where(_OPEN)).all()
    if subject in subjects:
        raise StateError(f"Something is already under way for {subject}.", next_step="Wait for its answer.")
    if len(subjects) >= MOST_OPEN:
        raise StateError("Too many errands wait for a worker.", next_step="Run `firstread doctor`: does one live?")
    errand = Errand(kind=kind, subject=subject, wish=dict(wish), asked_by=who, asked_at=at)
    session.add(errand)
    session.flush()
    _event(session, errand, at)
    return errand


def any_due(session: Session) -> bool:
    """Whether one waits for a worker."""
    return session.scalar(sa.select(sa.exists().where(_OPEN, Errand.status == ErrandStatus.ASKED))) or False


def claim(session: Session, now: datetime, *, holder: str) -> Errand | None:
    """The oldest one that waits, for :data:`LEASE`; None where none does."""
    expire(session, now)
    query = sa.select(Errand).where(_OPEN, Errand.status == ErrandStatus.ASKED).order_by(Errand.id).limit(1)
    errand = session.scalars(query.with_for_update(skip_locked=True)).one_or_none()
    if errand is not None:
        errand.status = advance(errand.status, ErrandStatus.RUNNING)
        errand.holder, errand.token, errand.lease_until = holder, uuid4().hex, now + LEASE
        session.flush()
    return errand


def conclude(
    session: Session, errand_id: int, token: str, *, ok: bool, message: str, next_step: str = "", at: datetime
) -> None:
    """Write down what came of it.

    Raises
    ------
    LeaseLostError
        It took too long and was given up.
    """
    errand = session.scalars(sa.select(Errand).where(Errand.id == errand_id).with_for_update()).one()
    if errand.status is not ErrandStatus.RUNNING or errand.token != token:
        raise LeaseLostError("The errand was given up: it took too long.")
    _end(session, errand, ok=ok, message=message, next_step=next_step, at=at)


def expire(session: Session, now: datetime) -> None:
    """Give up what nobody has begun, and what its worker has not finished. Nothing is tried twice by itself."""
    query = sa.select(Errand).where(
        _OPEN,
        sa.or_(
            sa.and_(Errand.status == ErrandStatus.ASKED, Errand.asked_at < now - STALE),
            sa.and_(Errand.status == ErrandStatus.RUNNING, Errand.lease_until < now),
        ),
    )
    for errand in session.scalars(query.with_for_update(skip_locked=True)):
        begun = errand.status is ErrandStatus.RUNNING
        message = "The worker that was at it did not come back." if begun else "No worker took it."
        advice = "See how things stand, then ask again; `firstread doctor` says whether a worker lives."
        _end(session, errand, ok=False, message=message, next_step=advice, at=now)


def by_id(session: Session, errand_id: int) -> Errand:
    """One errand.

    Raises
    ------
    NotFoundError
        No such errand.
    """
    errand = session.get(Errand, errand_id)
    if errand is None:
        raise NotFoundError("No errand with this id is known.", next_step="Ask for it again.")
    return errand


def latest(session: Session, subjects: Collection[str]) -> dict[str, Errand]:
    """The last errand of each of these subjects that has one."""
    last = sa.select(sa.func.max(Errand.id)).where(Errand.subject.in_(subjects)).group_by(Errand.subject)
    return {errand.subject: errand for errand in session.scalars(sa.select(Errand).where(Errand.id.in_(last)))}


def _end(session: Session, errand: Errand, *, ok: bool, message: str, next_step: str, at: datetime) -> None:
    errand.status = advance(errand.status, ErrandStatus.DONE if ok else ErrandStatus.FAILED)
    errand.message, errand.next_step, errand.ended_at, errand.lease_until = message, next_step, at, None
    _event(session, errand, at)


def _event(session: Session, errand: Errand, at: datetime) -> None:
    kind = f"errand_{errand.status.value.lower()}"
    events.record(session, kind, at=at, who=errand.asked_by, errand=errand.kind.value, subject=errand.subject)
