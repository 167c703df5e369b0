"""What happened and who is here: events, the audit of changes, the installation, heartbeats."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index
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


class AuditEntry(Base):
    """Append-only, by a trigger too: who changed what of the house itself, from what to what.

    Steps of a case are :class:`Event` rows. No secret and nothing of a patient stands in ``before`` and ``after``.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str]
    action: Mapped[str]
    """Constant snake-case name, such as "peer_added"."""
    subject: Mapped[str]
    """Kind and name of what was changed, such as "peer:CT1"."""
    before: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """None: there was nothing."""
    after: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """None: there is nothing any more."""

    __table_args__ = (Index("ix_audit_subject_id", "subject", "id"), {"sqlite_autoincrement": True})


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
