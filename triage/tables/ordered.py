"""What other systems order: examinations and how urgent they are, until their images come and afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from triage.columns import Base
from triage.findings import Urgency


class Order(Base):
    """An order as its sender said it last. It concerns every study with its accession number and its patient."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    sender: Mapped[str]
    number: Mapped[str]
    """Names the order among those of its sender."""
    accession_number: Mapped[str] = mapped_column(index=True)
    patient_ids: Mapped[list[Any]] = mapped_column(default=list)
    priority: Mapped[str] = mapped_column(default="")
    """As the sender wrote it."""
    urgency: Mapped[Urgency | None]
    """What that means; nothing where nobody knows."""
    ward: Mapped[str] = mapped_column(default="")
    """Where its sender says that the patient is."""
    cancelled_at: Mapped[datetime | None]
    control_id: Mapped[str] = mapped_column(default="")
    """Of the message that said so last (MSH-10)."""
    digests: Mapped[list[Any]] = mapped_column(default=list)
    """Of the latest messages about it, oldest first: what is sent again says nothing new."""
    received_at: Mapped[datetime]
    changed_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (UniqueConstraint("source", "sender", "number"),)
