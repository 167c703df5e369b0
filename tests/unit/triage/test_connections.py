"""Connections of one database: who comes next gets the one that was used last, with all it has read already."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from triage import write_lock
from triage.columns import UtcDateTime
from triage.database import Database
from triage.errors import DatabaseUnavailableError


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


def test_a_writer_keeps_its_connection_until_something_goes_wrong_on_it(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    writer = database.writer()
    used = [writer.transaction(create)]
    used += [writer.transaction(insert) for _ in range(2)]
    with pytest.raises(ZeroDivisionError):
        writer.transaction(lambda connection: insert(connection) / 0)
    used.append(writer.transaction(insert))
    with database.read() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM rows")) == 3, "what failed is rolled back"
        assert session.scalar(sa.text("PRAGMA busy_timeout")) > 0, "nobody else gets a connection that waits for nobody"
    database.dispose()
    assert used[0] == used[1] == used[2]
    assert writer._connection is None


def test_a_writer_waits_for_the_lock_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_lock, "BUSY_TIMEOUT", 0.05)
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    writer = database.writer()
    writer.transaction(create)
    with database.transaction(), pytest.raises(DatabaseUnavailableError):
        writer.transaction(insert)
    writer.transaction(insert)
    database.dispose()


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-5))])
def test_times_lie_in_columns_as_sqlalchemy_writes_them(zone: timezone) -> None:
    dialect = sa.create_engine("sqlite://").dialect
    at = datetime(2026, 2, 3, 4, 5, 6, 70, tzinfo=zone)
    ours, theirs = UtcDateTime().bind_processor(dialect), sa.DateTime().dialect_impl(dialect).bind_processor(dialect)
    assert theirs is not None
    assert ours(at) == theirs(at.astimezone(UTC).replace(tzinfo=None))
    assert ours(None) is None
    with pytest.raises(ValueError, match="naive"):
        ours(at.replace(tzinfo=None))


def create(connection: sa.Connection) -> int:
    connection.execute(sa.text("CREATE TABLE rows (number INTEGER)"))
    return driver(connection)


def insert(connection: sa.Connection) -> int:
    connection.execute(sa.text("INSERT INTO rows VALUES (1)"))
    return driver(connection)


def driver(connection: sa.Connection) -> int:
    return id(connection.connection.driver_connection)
