"""What happened and who is here: events, the installation, heartbeats."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.columns import Base

if TYPE_CHECKING:
    from triage.tables.received import Study


class Event(Base):
    """Append-only: who did what to which study, when and why. Its id orders the life of the house."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"), index=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    """Constant snake-case name, such as "study_complete"."""
    who: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)

    study: Mapped[Study | None] = relationship(back_populates="events")

    __table_args__ = ({"sqlite_autoincrement": True},)


class Installation(Base):
    """One row: who this installation is, for its whole life."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True)
    device_uid: Mapped[str]
    created_at: Mapped[datetime]
    rules_digest: Mapped[str] = mapped_column(default="")
    """Of the site rules that the open cases were last judged by."""


class Heartbeat(Base):
    """A living process says so every few seconds; `/healthz` and the doctor read it."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    """part@host:pid"""
    part: Mapped[str]
    started_at: Mapped[datetime]
    at: Mapped[datetime]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
