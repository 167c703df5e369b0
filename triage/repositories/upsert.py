"""The one statement that SQLAlchemy spells per database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from triage.columns import Base


def insert_or_ignore_all(connection: sa.Connection, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert rows but those another transaction was first with; returns how many were inserted."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(cast(sa.Table, table.__table__)).on_conflict_do_nothing()
    statement = statement.execution_options(preserve_rowcount=True)  # psycopg else says -1
    return connection.execute(statement, rows).rowcount


def insert_or_ignore(session: Session, table: type[Base], **values: object) -> None:
    """Insert a row unless another transaction was first with the same key."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(table).values(**values).on_conflict_do_nothing())
