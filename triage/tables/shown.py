"""What the page shows of images: renderings that a person asked for and a worker makes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.columns import Base
from triage.states import RenderingStatus

if TYPE_CHECKING:
    from triage.tables.received import Instance


class Rendering(Base):
    """A frame of an instance, as 16-bit words that a browser windows, or in its colours. Made when asked for, thrown
    away unseen."""

    __tablename__ = "renderings"

    id: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instances.id"), index=True)
    frame: Mapped[int] = mapped_column(default=1)
    """From 1, as in DICOM."""
    status: Mapped[RenderingStatus] = mapped_column(default=RenderingStatus.ASKED)
    reason: Mapped[str] = mapped_column(default="")
    """Why there is none."""
    asked_at: Mapped[datetime]
    """When a person last opened the case."""
    place: Mapped[int] = mapped_column(default=0)
    """Lower ones are made first."""
    not_before: Mapped[datetime]
    """While a worker makes it, the end of its lease."""
    attempts: Mapped[int] = mapped_column(default=0)
    relative_path: Mapped[str] = mapped_column(default="")
    """Below the results root: little endian uint16, row by row, gzip; red, green, blue of a colour image."""
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the words mean: rows, columns, source_rows, source_columns, frames (of the instance), samples (per
    pixel), slope, intercept, unit, inverted,
    windows ([centre, width, name]), function (of windows, PS3.3 C.11.2.1.3), aspect, position (mm along the normal of
    the slice, or null)."""

    instance: Mapped[Instance] = relationship()

    __table_args__ = (
        UniqueConstraint("instance_id", "frame"),
        Index(
            "ix_renderings_asked",
            "place",
            "not_before",
            sqlite_where=sa.text("status = 'ASKED'"),
            postgresql_where=sa.text("status = 'ASKED'"),
        ),
        Index("ix_renderings_asked_at", "asked_at"),
    )
