"""A process says that it lives as long as it lives."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from migrated import migrate

from triage.database import Database
from triage.repositories import heartbeats
from workers.pulse import Pulse

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def test_a_beat_that_breaks_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pulse it would be taken for dead, and its associations for ended, while it goes on receiving."""
    monkeypatch.setattr(heartbeats, "INTERVAL", timedelta(milliseconds=10))
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    migrate(database)
    beats, again = iter(range(100)), threading.Event()

    def detail() -> dict[str, Any]:
        match next(beats):
            case 1:
                raise KeyError("bundle")
            case 3:
                again.set()
        return {}

    pulse = Pulse(database, "listen", lambda: NOW, detail)
    pulse.start()
    assert again.wait(10)
    with database.read() as session:
        assert [row.name for row in heartbeats.alive(session, NOW)] == [pulse.process_name]
    pulse.stop()
    database.dispose()
