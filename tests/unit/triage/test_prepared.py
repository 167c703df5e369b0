"""Prepared statements do what Core says, with its defaults and types, and fail with SQLAlchemy's errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from triage.columns import Base
from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.prepared import insert_rows, one, select_in
from triage.tables import Analysis, Association, Event

AT = datetime(2026, 3, 1, 8, 0, 0, 250_000, tzinfo=UTC)
COLUMNS = ("association_uid", "listener", "calling_ae_title", "called_ae_title", "peer_address", "opened_at")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    Base.metadata.create_all(database.engine)
    yield database
    database.dispose()


def association(number: int) -> list[object]:
    return [f"2.25.{number}", "listen@test:1", "CT1", "FIRSTREAD", "10.0.0.1", AT]


def test_rows_are_as_core_would_write_them(database: Database) -> None:
    insert = insert_rows(Association, COLUMNS)
    with database.transaction() as connection:
        insert.run(connection, 2, [*association(1), *association(2)])
        insert.run(connection, 1, association(3))
    with database.read() as session:
        rows = list(session.scalars(sa.select(Association).order_by(Association.id)))
    assert [row.association_uid for row in rows] == ["2.25.1", "2.25.2", "2.25.3"]
    assert {(row.opened_at, row.closed_at) for row in rows} == {(AT, None)}


def test_types_and_defaults_are_those_of_the_columns(database: Database) -> None:
    detail = {"modality": "CT", "größe": 3}
    with database.transaction() as connection:
        insert_rows(Event, ("study_id", "at", "kind", "who", "detail")).run(connection, 1, (None, AT, "k", "w", detail))
        insert_rows(Association, COLUMNS).run(connection, 1, association(1))
    with database.read() as session:
        event = session.scalars(sa.select(Event)).one()
    assert (event.at, event.detail) == (AT, detail)
    insert = insert_rows(Analysis, ("study_id", "revision", "queued_at", "due"))
    with pytest.raises(sa.exc.IntegrityError), database.transaction() as connection:
        insert.run(connection, 1, (17, 1, AT, False))  # no such study


def test_a_query_takes_any_number_of_values(database: Database) -> None:
    table = Association.__table__
    query = select_in(sa.select(table.c.association_uid).order_by(table.c.id), table.c.association_uid)
    with database.transaction() as connection:
        insert_rows(Association, COLUMNS).run(connection, 3, [v for number in (1, 2, 3) for v in association(number)])
        assert query.run(connection, 1, ["2.25.2"]) == [("2.25.2",)]
        assert query.run(connection, 3, ["2.25.3", "2.25.1", "2.25.9"]) == [("2.25.1",), ("2.25.3",)]


def test_values_go_where_their_parameters_stand(database: Database) -> None:
    uid, at = sa.bindparam("uid", type_=sa.String()), sa.bindparam("at", type_=Association.__table__.c.opened_at.type)
    update = one(sa.update(Association).where(Association.association_uid == uid).values(closed_at=at), (uid, at))
    with database.transaction() as connection:
        insert_rows(Association, COLUMNS).run(connection, 1, association(1))
        assert update.run(connection, 1, ("2.25.1", AT)) == []
    with database.read() as session:
        assert session.scalars(sa.select(Association.closed_at)).one() == AT


def test_an_error_is_one_of_sqlalchemys_and_quotes_no_value(database: Database) -> None:
    insert = insert_rows(Association, COLUMNS)
    with pytest.raises(sa.exc.IntegrityError) as caught, database.transaction() as connection:
        insert.run(connection, 2, [*association(1), *association(1)])
    assert "10.0.0.1" not in str(caught.value)
    with database.read() as session:
        assert session.scalars(sa.select(Association)).all() == []


def test_a_lock_that_somebody_holds_is_a_database_that_is_not_available(database: Database) -> None:
    insert = insert_rows(Association, COLUMNS)
    with database.transaction() as holder, database.engine.connect() as other:
        insert.run(holder, 1, association(1))
        driver = other.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sa.exc.OperationalError):
            insert.run(other, 1, association(2))
    with pytest.raises(DatabaseUnavailableError), database.transaction() as connection:
        raise sa.exc.OperationalError("INSERT", None, Exception("as Prepared raises it"))
    assert connection.closed
