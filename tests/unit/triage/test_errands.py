"""Errands are done once, or given up and said so; never twice by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from triage.database import Database
from triage.errors import LeaseLostError, StateError
from triage.repositories import errands
from triage.states import ErrandKind, ErrandStatus
from triage.tables import Errand, Event

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    database.migrate()
    yield database
    database.dispose()


def ask(database: Database, subject: str = "peer:CT1", at: datetime = NOW) -> Errand:
    with database.write() as session:
        return errands.ask(session, ErrandKind.ECHO, subject, {"port": 104}, at=at, who="anna")


def claim(database: Database, at: datetime = NOW) -> Errand | None:
    with database.write() as session:
        return errands.claim(session, at, holder="deliver@here:1")


def conclude(database: Database, errand: Errand, *, ok: bool = True, at: datetime = NOW) -> None:
    with database.write() as session:
        errands.conclude(session, errand.id, errand.token, ok=ok, message="answers", at=at)


def read(database: Database, subject: str = "peer:CT1") -> Errand:
    with database.read() as session:
        return errands.latest(session, [subject])[subject]


def test_the_oldest_is_done_once_and_everybody_who_watches_is_told(database: Database) -> None:
    ask(database)
    ask(database, "peer:CT2")
    with database.read() as session:
        assert errands.any_due(session)
    errand = claim(database)
    assert errand is not None
    assert (errand.subject, errand.wish, errand.status) == ("peer:CT1", {"port": 104}, ErrandStatus.RUNNING)
    conclude(database, errand)
    other = claim(database)
    assert other is not None
    assert (other.subject, claim(database)) == ("peer:CT2", None)
    done = read(database)
    assert (done.status, done.message, done.ended_at) == (ErrandStatus.DONE, "answers", NOW)
    with database.read() as session:
        kinds = session.scalars(sa.select(Event.kind).where(Event.kind.like("errand%")).order_by(Event.id)).all()
        assert not errands.any_due(session)
    assert kinds == ["errand_asked", "errand_asked", "errand_done"]


def test_one_at_a_time_for_a_subject(database: Database) -> None:
    ask(database)
    with pytest.raises(StateError, match="already under way"):
        ask(database)
    errand = claim(database)
    with pytest.raises(StateError, match="already under way"):
        ask(database)
    assert errand is not None
    conclude(database, errand, ok=False)
    assert read(database).status is ErrandStatus.FAILED
    assert ask(database).id > errand.id


def test_what_nobody_takes_or_finishes_is_given_up(database: Database) -> None:
    ask(database)
    begun = claim(database)
    assert begun is not None
    ask(database, "peer:CT2")
    later = NOW + errands.STALE + timedelta(seconds=1)
    assert claim(database, later) is None
    assert [read(database, subject).message for subject in ("peer:CT1", "peer:CT2")] == [
        "The worker that was at it did not come back.",
        "No worker took it.",
    ]
    with pytest.raises(LeaseLostError):
        conclude(database, begun, at=later)
    assert ask(database, at=later).status is ErrandStatus.ASKED


def test_too_many_are_refused(database: Database) -> None:
    for number in range(errands.MOST_OPEN):
        ask(database, f"peer:CT{number}")
    with pytest.raises(StateError, match="wait for a worker"):
        ask(database, "peer:one more")
