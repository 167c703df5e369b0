"""An association that ends while the database is away is written down afterwards."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from firstread.closings import Closings
from triage.errors import DatabaseUnavailableError

AT = datetime(2026, 1, 5, 8, tzinfo=UTC)


class Book:
    """Takes ends, unless it is away."""

    def __init__(self) -> None:
        self.away = False
        self.written: list[tuple[str, datetime]] = []
        self.asked = threading.Semaphore(0)
        self.complete = threading.Event()

    def close(self, association_uid: str, at: datetime) -> None:
        self.asked.release()
        if self.away:
            raise DatabaseUnavailableError("The database did not answer.")
        self.written.append((association_uid, at))
        if len(self.written) == 3:
            self.complete.set()


def test_ends_that_the_database_could_not_take_are_written_when_it_is_back() -> None:
    book = Book()
    with Closings(book.close, pause=0.01) as closings:
        closings.closed("1.2.1", AT)
        book.away = True
        closings.closed("1.2.2", AT)
        closings.closed("1.2.3", AT)
        for _ in range(5):  # it goes on asking
            assert book.asked.acquire(timeout=10)
        book.away = False
        assert book.complete.wait(10)
    assert [uid for uid, _ in book.written] == ["1.2.1", "1.2.2", "1.2.3"]
    assert {at for _, at in book.written} == {AT}


def test_one_that_cannot_be_written_holds_up_no_other() -> None:
    book = Book()
    book.away = True

    def close(association_uid: str, at: datetime) -> None:
        if association_uid == "1.2.0" and not book.away:
            raise ValueError(association_uid)
        book.close(association_uid, at)

    with Closings(close, pause=0.01) as closings:
        for number in range(4):
            closings.closed(f"1.2.{number}", AT)
        book.away = False
        assert book.complete.wait(10)
    assert [uid for uid, _ in book.written] == ["1.2.1", "1.2.2", "1.2.3"]


def test_it_ends_although_something_is_left() -> None:
    book = Book()
    book.away = True
    with Closings(book.close, pause=60) as closings:
        closings.closed("1.2.1", AT)
    assert book.written == []
