"""Who is alive: each process renews its row; silence means death, whatever the broker says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.tables import Heartbeat

INTERVAL: Final = timedelta(seconds=5)
SILENT_AFTER: Final = timedelta(seconds=45)
"""A process without a beat for this long counts as dead."""

PART_OF_QUEUE: Final = {"analysis": "work", "delivery": "deliver"}
"""Of a worker's queues the ones that the house cannot do without."""


def beat(session: Session, name: str, part: str, *, at: datetime, detail: dict[str, Any] | None = None) -> None:
    """Say "I live" once."""
    row = session.get(Heartbeat, name)
    if row is None:
        row = Heartbeat(name=name, part=part, started_at=at)
        session.add(row)
    row.at, row.detail = at, detail or {}


def stop(session: Session, name: str) -> None:
    """A process that ends in order takes its row along."""
    session.execute(sa.delete(Heartbeat).where(Heartbeat.name == name))


def forget(session: Session) -> None:
    """No process lives: the rows are those of another node."""
    session.execute(sa.delete(Heartbeat))


def alive(session: Session, now: datetime) -> Sequence[Heartbeat]:
    """Rows of living processes."""
    return session.scalars(
        sa.select(Heartbeat).where(Heartbeat.at >= now - SILENT_AFTER).order_by(Heartbeat.name)
    ).all()


def parts(beat: Heartbeat) -> frozenset[str]:
    """What a process does; a worker that takes several queues is several parts."""
    queues = beat.detail.get("queues")
    if queues is None:
        return frozenset({beat.part})
    return frozenset(part for queue, part in PART_OF_QUEUE.items() if queue in queues)


def refusing(session: Session, now: datetime) -> dict[str, str]:
    """Living listeners that take nothing new, each with its reason."""
    return {
        beat.name: str(beat.detail["refusing"])
        for beat in alive(session, now)
        if beat.part == "listen" and beat.detail.get("refusing")
    }


def silent(session: Session, now: datetime) -> Sequence[Heartbeat]:
    """Rows of processes that died without a word."""
    return session.scalars(sa.select(Heartbeat).where(Heartbeat.at < now - SILENT_AFTER).order_by(Heartbeat.name)).all()
