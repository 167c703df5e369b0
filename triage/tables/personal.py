"""What people keep for themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from triage.columns import Base


class SavedView(Base):
    """A query of the reading list under a name, of one person."""

    __tablename__ = "saved_views"

    id: Mapped[int] = mapped_column(primary_key=True)
    who: Mapped[str]
    name: Mapped[str]
    query: Mapped[dict[str, Any]]
    """Parameters of the list as in its address, without those that have their default."""
    is_default: Mapped[bool] = mapped_column(default=False)
    """Shown when the person opens the list; one at most."""
    changed_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("who", "name"),)
