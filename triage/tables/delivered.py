"""What is owed and what was tried: deliveries, attempts, storage commitment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.columns import Base
from triage.states import CommitmentStatus, DeliveryStatus, Proof

if TYPE_CHECKING:
    from triage.tables.analysed import ResultObject


class Delivery(Base):
    """One result object owed to one destination."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    result_object_id: Mapped[int] = mapped_column(ForeignKey("result_objects.id"), index=True)
    destination: Mapped[str]
    status: Mapped[DeliveryStatus] = mapped_column(default=DeliveryStatus.PENDING)
    reason: Mapped[str] = mapped_column(default="")
    """Why it is not there yet, or why it was given up."""
    attempt_count: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None]
    token: Mapped[str] = mapped_column(default="")
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    proof: Mapped[Proof | None]
    """What shows that it arrived, the strongest so far."""
    proven_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(default="")
    """What the destination remarked although it took the object (a Warning status)."""
    commitment_id: Mapped[int | None] = mapped_column(ForeignKey("commitments.id"), index=True)
    """The request for storage commitment that it was last part of."""

    result_object: Mapped[ResultObject] = relationship(back_populates="deliveries")
    attempts: Mapped[list[DeliveryAttempt]] = relationship(back_populates="delivery", order_by="DeliveryAttempt.id")
    commitment: Mapped[Commitment | None] = relationship(back_populates="deliveries")

    __table_args__ = (
        UniqueConstraint("result_object_id", "destination"),
        Index(
            "ix_deliveries_open",
            "destination",
            "not_before",
            sqlite_where=sa.text("status IN ('PENDING', 'SENDING')"),
            postgresql_where=sa.text("status IN ('PENDING', 'SENDING')"),
        ),
    )


class Commitment(Base):
    """A request for storage commitment (PS3.4 annex J): one transaction with one destination."""

    __tablename__ = "commitments"

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(unique=True)
    destination: Mapped[str]
    status: Mapped[CommitmentStatus] = mapped_column(default=CommitmentStatus.REQUESTED)
    reason: Mapped[str] = mapped_column(default="")
    requested_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]

    deliveries: Mapped[list[Delivery]] = relationship(back_populates="commitment", order_by="Delivery.id")

    __table_args__ = (
        Index(
            "ix_commitments_open",
            "requested_at",
            sqlite_where=sa.text("status = 'REQUESTED'"),
            postgresql_where=sa.text("status = 'REQUESTED'"),
        ),
    )


class DeliveryAttempt(Base):
    """One try, kept for ever: what the destination said."""

    __tablename__ = "delivery_attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id"), index=True)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    dicom_status: Mapped[int | None]
    error: Mapped[str] = mapped_column(default="")

    delivery: Mapped[Delivery] = relationship(back_populates="attempts")
