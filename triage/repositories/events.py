"""The audit trail: one append-only row per thing that happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.tables import Event, Study

Detail = str | int | float | bool | None


def record(
    session: Session, kind: str, *, at: datetime, study: Study | None = None, who: str = "", **detail: Detail
) -> Event:
    """Append an event. ``detail`` holds identifiers and reasons, never a patient attribute."""
    event = Event(kind=kind, at=at, who=who, study=study, detail=detail)
    session.add(event)
    return event


def latest_id(session: Session) -> int:
    """The highest event id, 0 before the first: where a live page continues from."""
    return session.scalar(sa.select(sa.func.max(Event.id))) or 0


def ids_between(session: Session, above: int, up_to: int) -> Sequence[int]:
    """Ids of the events in ``(above, up_to]``, in order."""
    query = sa.select(Event.id).where(Event.id > above, Event.id <= up_to).order_by(Event.id)
    return session.scalars(query).all()
