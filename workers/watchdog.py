"""Ends a worker process that hangs, because nothing inside it can: a network that computes for ever cannot be stopped.

Celery's time limits count from the start of a task, and a task here drains the queue, for hours under load. What tells
a hanging process from a busy one is that it makes no step.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Final

from triage.logging import get_logger

GRACE: Final = 10.0
"""Seconds to say why, after which the system's own timer ends the process."""
STATUS: Final = 70  # EX_SOFTWARE of sysexits.h

log = get_logger(__name__)


class Watchdog:
    """Two timers for one piece of work: a thread that says why and leaves, and the kernel's, which no code can hold up.

    Parameters
    ----------
    seconds : float
        Longest time between two steps; 0 watches nothing.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None
        self._on_stall: Callable[[str], None] | None = None

    def begin(self, on_stall: Callable[[str], None]) -> None:
        """Watch from here on.

        Parameters
        ----------
        on_stall : callable
            Gets the reason before the process ends; what it does is lost when it takes more than :data:`GRACE`.
        """
        self._on_stall = on_stall
        self.step()

    def step(self) -> None:
        """Something was done: the time starts again."""
        if not self._seconds or self._on_stall is None:
            return
        self._cancel()
        self._timer = threading.Timer(self._seconds, self._leave)
        self._timer.daemon = True
        self._timer.start()
        signal.setitimer(signal.ITIMER_REAL, self._seconds + GRACE)

    def end(self) -> None:
        """The work is done; nothing is watched until the next :meth:`begin`."""
        self._cancel()
        self._on_stall = None

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _leave(self) -> None:
        reason = f"no step within {self._seconds:g} s: the worker process was ended"
        log.error("worker_stalled", reason=reason)
        if self._on_stall is not None:
            self._on_stall(reason)
        os._exit(STATUS)
