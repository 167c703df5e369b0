"""Refusals are told once a minute, counted, and never without bound."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from dicom_node.alerts import MAXIMUM_ALERTS, OTHERS, Alert, SecurityAlerts, printable


class Book:
    """Keeps what is written; fails the first ``failures`` times."""

    def __init__(self, failures: int = 0) -> None:
        self.written: list[list[Alert]] = []
        self.failures = failures
        self._some = threading.Semaphore(0)

    def write(self, alerts: Sequence[Alert]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no room")
        self.written.append(list(alerts))
        self._some.release()

    def wait(self) -> None:
        assert self._some.acquire(timeout=10), "nothing was written"


def test_the_first_refusal_is_told_at_once_the_others_together() -> None:
    book = Book()
    with SecurityAlerts(book.write) as alerts:
        alerts.refused("CALLING_AE_TITLE_NOT_RECOGNISED", "EVIL", "10.0.0.9")
        book.wait()
        for _ in range(1000):
            alerts.refused("CALLING_AE_TITLE_NOT_RECOGNISED", "EVIL", "10.0.0.9")
        alerts.refused("TLS", "", "10.0.0.8")  # somebody else is told at once too
        book.wait()
    assert book.written == [
        [Alert("CALLING_AE_TITLE_NOT_RECOGNISED", "EVIL", "10.0.0.9", 1)],
        [Alert("TLS", "", "10.0.0.8", 1)],
        [Alert("CALLING_AE_TITLE_NOT_RECOGNISED", "EVIL", "10.0.0.9", 1000)],
    ]


def test_the_count_comes_when_its_time_is_over() -> None:
    book = Book()
    with SecurityAlerts(book.write, every_seconds=0.05) as alerts:
        for _ in range(2):
            alerts.refused("R", "EVIL", "10.0.0.9")
            book.wait()
    assert book.written == [[Alert("R", "EVIL", "10.0.0.9", 1)]] * 2


def test_a_thousand_names_are_few_rows() -> None:
    book = Book()
    with SecurityAlerts(book.write) as alerts:
        alerts.refused("R", "FIRST", "10.0.0.1")
        book.wait()
        for number in range(1000):
            alerts.refused("R", f"EVIL{number}", "10.0.0.9")
    told = [alert for alerts in book.written for alert in alerts]
    assert sum(alert.count for alert in told) == 1001
    assert len({alert.calling_ae_title for alert in told}) == MAXIMUM_ALERTS + 1
    assert len(told) <= MAXIMUM_ALERTS + 2
    assert sum(alert.count for alert in told if alert.peer_address == OTHERS) == 1001 - MAXIMUM_ALERTS


def test_what_could_not_be_written_comes_again() -> None:
    book = Book(failures=2)
    with SecurityAlerts(book.write, every_seconds=0.05) as alerts:
        alerts.refused("R", "EVIL", "10.0.0.9")
        book.wait()
    assert book.written == [[Alert("R", "EVIL", "10.0.0.9", 1)]]


def test_nothing_refused_nothing_written() -> None:
    book = Book()
    with SecurityAlerts(book.write):
        pass
    assert book.written == []


def test_titles_are_shown_in_printable_ascii() -> None:
    assert printable("EVIL".ljust(16)) == "EVIL"
    assert printable("a\x00\n\x1b[31m\xff") == r"a\x00\n\x1b[31m\xff"
