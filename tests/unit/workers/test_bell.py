"""The bell outlives its broker, whatever that does: without it nothing that comes is ever looked at."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from kombu.exceptions import OperationalError
from migrated import migrate
from redis.exceptions import ResponseError

from triage.database import Database
from triage.tables import Study
from workers.bell import Bell
from workers.names import Queue, Task

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


class Broker:
    """Refuses the first ring of a kind and takes the next."""

    def __init__(self, refusal: Exception) -> None:
        self._refusal: Exception | None = refusal
        self.heard = threading.Event()

    def send_task(self, task: Task, **_: Any) -> None:
        if task is Task.COMPLETE and self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            raise refusal
        if task is Task.COMPLETE:
            self.heard.set()


@pytest.mark.parametrize(
    "refusal",
    [
        OperationalError("Timeout reading from socket"),
        ConnectionRefusedError("nobody listens"),
        ResponseError("OOM command not allowed when used memory > 'maxmemory'"),
        ValueError("nobody has thought of"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_ring_that_the_broker_refuses_is_rung_again(tmp_path: Path, refusal: Exception) -> None:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    migrate(database)
    with database.write() as session:
        session.execute(
            sa.insert(Study).values(
                study_instance_uid="1.2.3", opened_at=NOW, received_at=NOW, last_received_at=NOW, due_at=NOW,
                look_at=NOW, flags=[],
            )
        )  # fmt: skip
    broker = Broker(refusal)
    bell = Bell(broker, database, [Queue.HOUSEKEEPING], lambda: NOW)
    bell.start()
    try:
        assert broker.heard.wait(20), "it never rang again"
    finally:
        bell.stop()
        bell.join(10)
        database.dispose()
    assert not bell.is_alive()
