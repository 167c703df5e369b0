"""Named places where the fault rig kills a process: between any two steps whose order custody depends on.

The product passes every one of them with :func:`nowhere`, which does nothing. With the setting ``crash_at`` a process
kills itself there, as a machine that loses power does: nothing is flushed, closed or answered.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from enum import StrEnum

from triage.errors import SettingsError


class CrashPoint(StrEnum):
    """What has just been done."""

    WRITTEN = "written"
    """All bytes of a data set are in ``incoming``, none is synced."""
    FILE_SYNCED = "file_synced"
    RENAMED = "renamed"
    FOLDER_SYNCED = "folder_synced"
    RECORDED = "recorded"
    """Rows are written in an open transaction."""
    COMMITTED = "committed"
    """Rows are committed, the sender has no answer yet."""
    ANSWERED = "answered"
    CLAIMED = "claimed"
    """A worker holds an analysis; no pixel was touched."""
    DECODED = "decoded"
    INFERRED = "inferred"
    """The network has answered, nothing is committed."""
    SCORED = "scored"
    """Scores are committed: the order may have changed."""
    BUILT = "built"
    """Result files are durable, no row names them."""
    CONCLUDED = "concluded"
    """The analysis is over and its deliveries are owed; the worker has not said so to anybody."""
    RUNG = "rung"
    """The broker was told, the bell has not noted it."""
    COMPLETED = "completed"
    """A sweep judged studies complete, in an open transaction."""
    DELIVERY_CLAIMED = "delivery_claimed"
    SENT = "sent"
    """The destination has answered, no row says so."""
    PRIORITY_SET = "priority_set"
    """A person's class is on the row and in the audit trail, in an open transaction."""
    GIVEN_UP = "given_up"
    """Rows say that files are removed; the files are still there."""
    UNLINKED = "unlinked"
    """The files are unlinked, no row says so."""


Reached = Callable[[CrashPoint], None]


def nowhere(_point: CrashPoint) -> None:
    """Go on."""


def kill_at(where: str) -> Reached:
    """Kill this process at a point.

    Parameters
    ----------
    where : str
        ``point`` or ``point:n`` for the n-th time (from 1) that this process comes there; empty for never.

    Raises
    ------
    SettingsError
        No such point, or n is not a positive number.
    """
    if not where:
        return nowhere
    name, _, count = where.partition(":")
    try:
        point, left = CrashPoint(name), int(count or 1)
    except ValueError:
        known = ", ".join(CrashPoint)
        raise SettingsError(f"crash_at: {where} is none of {known}, each with :n behind it if wanted.") from None
    if left < 1:
        raise SettingsError("crash_at: the number behind the colon begins at 1.")
    return _Bomb(point, left)


class _Bomb:
    def __init__(self, point: CrashPoint, left: int) -> None:
        self._point, self._left = point, left
        self._lock = threading.Lock()

    def __call__(self, point: CrashPoint) -> None:
        if point is not self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
