"""Callers that come together are written together, each hears of its own item only, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from triage.database import Database
from triage.errors import DatabaseUnavailableError, StateError
from triage.group_commit import MOST, GroupCommit


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'items.sqlite'}")
    with database.write() as session:
        session.execute(sa.text("CREATE TABLE items (item INTEGER PRIMARY KEY)"))
    yield database
    database.dispose()


def committed(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.scalars(sa.text("SELECT item FROM items ORDER BY item")))


class Writer:
    """Writes items; the first transaction waits until it may go on, so that others gather meanwhile."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, connection: sa.Connection, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.begun.set()
        assert self.go_on.wait(20)
        if any(item < 0 for item in items):
            raise StateError("a negative item")
        for item in items:
            connection.execute(sa.text("INSERT INTO items VALUES (:item)"), {"item": item})
        return [item * 10 for item in items]


def test_one_caller_waits_for_nobody(database: Database) -> None:
    writer = Writer()
    writer.go_on.set()
    assert GroupCommit(database, writer)(7) == 70
    assert (writer.batches, committed(database)) == ([[7]], [7])


def gathered(together: GroupCommit[int, int], writer: Writer, items: Sequence[int]) -> list[object]:
    """Outcomes of item 0, which is under way, and of others that come while it is."""

    def call(item: int) -> object:
        try:
            return together(item)
        except (StateError, DatabaseUnavailableError) as error:
            return type(error)

    with ThreadPoolExecutor(len(items) + 1) as pool:
        first = pool.submit(call, 0)
        assert writer.begun.wait(20)
        rest = [pool.submit(call, item) for item in items]
        while len(together._waiting) < len(items):
            threading.Event().wait(0.001)
        writer.go_on.set()
        return [future.result(20) for future in (first, *rest)]


def test_who_comes_during_a_transaction_shares_the_next(database: Database) -> None:
    writer = Writer()
    outcomes = gathered(GroupCommit(database, writer), writer, range(1, 9))
    assert outcomes == [item * 10 for item in range(9)]
    assert [len(batch) for batch in writer.batches] == [1, 8]
    assert committed(database) == list(range(9))


def test_a_transaction_is_bounded_and_leadership_goes_on(database: Database) -> None:
    writer = Writer()
    outcomes = gathered(GroupCommit(database, writer), writer, range(1, MOST + 5))
    assert sorted(map(str, outcomes)) == sorted(str(item * 10) for item in range(MOST + 5))
    assert [len(batch) for batch in writer.batches] == [1, MOST, 4]


def test_an_item_that_cannot_be_written_harms_no_other(database: Database) -> None:
    writer = Writer()
    outcomes = gathered(GroupCommit(database, writer), writer, [1, -2, 3])
    assert outcomes == [0, 10, StateError, 30]
    assert committed(database) == [0, 1, 3]


def test_a_lost_connection_is_tried_once_more_and_then_told_to_all(database: Database) -> None:
    failures = [
        DatabaseUnavailableError("lost"),
        None,
        DatabaseUnavailableError("lost"),
        DatabaseUnavailableError("lost"),
    ]

    def write(connection: sa.Connection, items: Sequence[int]) -> list[int]:
        if failure := failures.pop(0):
            raise failure
        return list(items)

    together = GroupCommit(database, write)
    assert together(1) == 1
    with pytest.raises(DatabaseUnavailableError, match="lost"):
        together(2)
    assert failures == []
