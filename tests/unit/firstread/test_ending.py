"""SIGTERM at any moment ends a wait: before it, on the way into it, during it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from firstread.ending import SIGNALS, Ending


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {name: signal.getsignal(name) for name in SIGNALS}
    yield
    signal.set_wakeup_fd(-1)
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_before_the_wait_counts(name: signal.Signals) -> None:
    ending = Ending()
    os.kill(os.getpid(), name)
    ending.wait()


def test_a_signal_at_any_moment_ends_the_wait() -> None:
    ending = Ending()
    for delay in range(400):
        killer = threading.Timer(delay % 200 * 5e-6, os.kill, (os.getpid(), signal.SIGTERM))
        killer.start()
        ending.wait()
        killer.join()


def test_a_second_signal_harms_nothing() -> None:
    ending = Ending()
    for _ in range(100):
        os.kill(os.getpid(), signal.SIGTERM)
    ending.wait()
