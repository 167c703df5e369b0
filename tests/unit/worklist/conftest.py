"""A node's HTTP door in this process, over a migrated SQLite of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from migrated import empty_sqlite
from starlette.testclient import TestClient
from worklist_rows import NOON

from triage.database import Database
from triage.settings import Settings
from worklist.app import create_app

LOOPBACK = "http://127.0.0.1:8080"


class Clock:
    """Stands still until a test moves it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class House:
    settings: Settings
    database: Database
    clock: Clock

    def client(self, **changes: Any) -> TestClient:
        """A client of this house, with other settings where a test says so."""
        app = create_app(self.settings.model_copy(update=changes), self.database, clock=self.clock)
        return TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False)


@pytest.fixture(scope="session")
def empty_database() -> bytes:
    """A migrated SQLite file, made once."""
    return empty_sqlite()


@pytest.fixture
def house(tmp_path: Path, empty_database: bytes) -> Iterator[House]:
    settings = Settings(data=tmp_path)
    (tmp_path / "firstread.sqlite").write_bytes(empty_database)
    settings.results.mkdir()
    database = Database(settings.database)
    yield House(settings, database, Clock(NOON + timedelta(minutes=10)))
    database.dispose()


@pytest.fixture
def client(house: House) -> TestClient:
    return house.client()
