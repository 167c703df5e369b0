"""The health check of a worker's container asks for the row of this host and for no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from migrated import migrate

from firstread.alive import alive_here
from triage.database import Database
from triage.repositories import heartbeats

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    migrate(database)
    with database.write() as session:
        heartbeats.beat(session, "work@worker-1:7", "work", at=NOW)
    yield database
    database.dispose()


@pytest.mark.parametrize(
    ("host", "later", "alive"),
    [("worker-1", 5, True), ("worker-1", 60, False), ("worker-2", 5, False), ("worker", 5, False)],
)
def test_alive_is_who_has_beaten_lately_on_this_host(database: Database, host: str, later: int, alive: bool) -> None:
    assert alive_here(database, host, NOW + timedelta(seconds=later)) is alive
