"""Celery's memory transport with a doorbell instead of a stopwatch.

kombu's own looks for messages every second, or as often as it is told to; this one sleeps until a message is put.
Rings and their worker live in one process, so a condition variable is all it takes.
"""

from __future__ import annotations

import threading
import time
from queue import Empty
from typing import Any, ClassVar, Final

from kombu.transport import TRANSPORT_ALIASES, memory

SCHEME: Final = "firstread"
LOOK_ANYWAY: Final = 1.0  # seconds, so that signals and time limits of the consumer are seen


class Channel(memory.Channel):  # type: ignore[misc]  # kombu has no types
    """Tells whoever waits that a message was put."""

    arrived: ClassVar[threading.Condition] = threading.Condition()
    ending: ClassVar[threading.Event] = threading.Event()

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        with self.arrived:
            self.arrived.notify_all()


class Transport(memory.Transport):  # type: ignore[misc]
    """The transport of :data:`SCHEME` URLs."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # noqa: ARG002 - kombu's signature
        """Deliver one message, waiting for it if there is none.

        Raises
        ------
        TimeoutError
            None came within ``timeout`` seconds, or the worker ends.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with Channel.arrived:  # held while looking: a message put in between would ring unheard
                if Channel.ending.is_set():
                    raise TimeoutError
                try:
                    self.cycle.get(self._deliver, timeout=0)
                except Empty:
                    left = LOOK_ANYWAY if end is None else min(LOOK_ANYWAY, end - time.monotonic())
                    if left <= 0:
                        raise TimeoutError from None
                    Channel.arrived.wait(left)
                else:
                    return


def end() -> None:
    """Whoever waits for a message goes on at once, now and from now on: this process's worker was told to end.

    Celery sees that only between two waits of two seconds, and then waits once more.
    """
    Channel.ending.set()
    with Channel.arrived:
        Channel.arrived.notify_all()


def register() -> str:
    """Make the transport known to kombu; returns the broker URL that selects it."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
    return f"{SCHEME}://localhost/"
