"""The doctor on a node whose broker is away, and on one whose workers live and do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from migrated import migrate
from peers.processes import free_port
from worklist_rows import NOON, arrive, start

from firstread import doctor, work_checks
from firstread.finding import Grade
from triage.database import Database
from triage.settings import Settings


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'firstread.sqlite'}")
    migrate(made)
    yield made
    made.dispose()


def test_a_broker_that_is_away_is_found_and_its_password_is_not_shown(tmp_path: Path) -> None:
    url = f"redis://:a-long-password@127.0.0.1:{free_port()}/0"
    settings = Settings(data=tmp_path, database_url="postgresql://x@127.0.0.1:1/x", broker_url=url)
    (found,) = work_checks.broker(settings)
    assert found.grade is Grade.BAD
    assert "refused" in found.message
    assert "a-long-password" not in found.message + found.next_step
    assert [*work_checks.broker(Settings(data=tmp_path))] == [], "the embedded default has none"


def test_work_that_nobody_takes_is_found_where_a_worker_lives(database: Database) -> None:
    with database.write() as session:
        arrive(session, "a")
    with database.read() as session:
        assert [*work_checks.standing_still(session, {"work"}, NOON + timedelta(seconds=59))] == []
        (found,) = work_checks.standing_still(session, {"work"}, NOON + timedelta(seconds=61))
        assert (found.grade, "no worker takes it" in found.message) == (Grade.BAD, True)
        assert [*work_checks.standing_still(session, set(), NOON + timedelta(minutes=9))] == [], (
            "that is told elsewhere"
        )
    with database.write() as session:
        start(session, arrive(session, "b"), at=NOON + timedelta(seconds=50))
    with database.read() as session:
        assert [*work_checks.standing_still(session, {"work"}, NOON + timedelta(seconds=61))] == [], "its turn comes"


def test_ways_to_sign_in_are_known_before_there_is_a_database(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"data": tmp_path / "data", "http_tokens": ["reading-room:a-token-that-is-long-enough"]}
    )
    found = {said.subject: said for said in doctor.examine(settings)}
    assert (found["sign-in"].grade, found["sign-in"].message) == (Grade.GOOD, "1 tokens of the settings")


def test_parts_are_started_by_up_or_each_by_its_own_command(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'firstread.sqlite'}")
    migrate(database)
    database.dispose()
    advice = {found.subject: found.next_step for found in doctor.examine(Settings(data=tmp_path))}
    assert advice["parts"] == "`firstread up`"
    scaled = Settings(data=tmp_path, database_url="postgresql://x@127.0.0.1:1/x", broker_url="redis://127.0.0.1:1/0")
    assert doctor.starting(scaled, ["listen", "serve"]) == "`firstread listen`, `firstread serve`"
