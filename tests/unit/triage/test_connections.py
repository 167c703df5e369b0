"""Connections of one database: who comes next gets the one that was used last, with all it has read already."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from triage.database import Database


def test_transactions_one_after_the_other_have_one_connection(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    with database.read() as session, database.transaction() as connection:
        assert driver(session.connection()) != driver(connection), "two are open"
    used = set()
    for _ in range(4):
        with database.transaction() as connection:
            used.add(driver(connection))
    database.dispose()
    assert len(used) == 1


def driver(connection: sa.Connection) -> int:
    return id(connection.connection.driver_connection)
