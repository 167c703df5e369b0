"""What other systems ask of this node: workitems (Unified Procedure Steps) and the managers that keep them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.columns import Base
from triage.states import WorkitemStatus

if TYPE_CHECKING:
    from triage.tables.received import Study


class TaskManager(Base):
    """A system that is asked for workitems (IHE AIW-I Task Manager): when again, and how it answered last."""

    __tablename__ = "task_managers"

    address: Mapped[str] = mapped_column(primary_key=True)
    look_at: Mapped[datetime]
    """Not before; while somebody looks, the end of the lease."""
    answered_at: Mapped[datetime | None]
    """When it last said what is scheduled."""
    problem: Mapped[str] = mapped_column(default="")
    """Why it could not be asked last; "" when it answered."""
    failures: Mapped[int] = mapped_column(default=0)
    """In a row."""


class Workitem(Base):
    """One workitem that was scheduled for us, under the Transaction UID by which we hold it or shall hold it."""

    __tablename__ = "workitems"

    id: Mapped[int] = mapped_column(primary_key=True)
    manager: Mapped[str]
    """Its address; no foreign key, because settings change and history stays."""
    workitem_uid: Mapped[str]
    transaction_uid: Mapped[str] = mapped_column(unique=True)
    """Made before the workitem is claimed: whatever is killed, what we hold can be told from what others hold."""
    status: Mapped[WorkitemStatus] = mapped_column(default=WorkitemStatus.FOUND)
    reason: Mapped[str] = mapped_column(default="")
    priority: Mapped[str] = mapped_column(default="")
    """HIGH, MEDIUM or LOW, as the manager said it."""
    study_instance_uids: Mapped[list[Any]] = mapped_column(default=list)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"), index=True)
    """The first of them that is here."""
    progress: Mapped[int] = mapped_column(default=0)
    """Percent that the manager was told."""
    look_at: Mapped[datetime]
    """Not before; while somebody looks, the end of the lease."""
    failures: Mapped[int] = mapped_column(default=0)
    """In a row."""
    found_at: Mapped[datetime]
    claimed_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    study: Mapped[Study | None] = relationship()

    __table_args__ = (
        UniqueConstraint("manager", "workitem_uid"),
        Index(
            "ix_workitems_open",
            "manager",
            "look_at",
            sqlite_where=sa.text("status IN ('FOUND', 'CLAIMED')"),
            postgresql_where=sa.text("status IN ('FOUND', 'CLAIMED')"),
        ),
    )
