"""Whatever dies, gets lost or comes twice: what was acknowledged is kept, read and delivered, once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from peers.postgres import postgres

from custody.grounds import Ground, PostgresGround, SqliteGround
from custody.machine import Custody, Seed


def run(ground: Ground, *, examples: int, steps: int, seed: Seed | None = None, **how: Any) -> None:
    """Let random histories happen; twenty times as many with the profile "deep"."""
    factor = 20 if settings.get_current_profile_name() == "deep" else 1
    chosen = settings(
        max_examples=examples * factor,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **how,
    )
    machine = type("History", (Custody,), {"ground": ground, "seed": None if seed is None else staticmethod(seed)})
    run_state_machine_as_test(machine, settings=chosen)


@pytest.mark.timeout(900)
def test_on_sqlite() -> None:
    with SqliteGround() as ground:
        run(ground, examples=50, steps=40)


@pytest.mark.timeout(900)
@pytest.mark.peer
def test_on_postgresql() -> None:
    with postgres() as url, PostgresGround(url) as ground:
        run(ground, examples=10, steps=40)


def test_sqlite_syncs_every_commit() -> None:
    """The model of a loss of power trusts SQLite for this."""
    with SqliteGround() as ground:
        ground.clear()
        with ground.database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL"
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
