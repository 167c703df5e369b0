"""The one statement that SQLAlchemy spells per database."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from triage.columns import Base


def insert_or_ignore(session: Session, table: type[Base], **values: object) -> None:
    """Insert a row unless another transaction was first with the same key."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(table).values(**values).on_conflict_do_nothing())
