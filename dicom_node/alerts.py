"""Security alerts: who was turned away at the door, told in few words however often they knock.

Anybody may send association requests, as many as they like, under any name. So what is told is counted and told at
most once a minute per peer and reason, by a thread of its own, and beyond a number of different ones only in sum.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from triage.logging import get_logger

OTHERS: Final = "(others)"
"""Title and address under which the rest is counted once a minute has :data:`MAXIMUM_ALERTS` different ones."""
MAXIMUM_ALERTS: Final = 32

_Key = tuple[str, str, str]
"""Reason, title, address."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Alert:
    """So many attempts of one peer, refused for one reason.

    Attributes
    ----------
    reason : str
        A constant: a name of :class:`~dicom_node.admission.Rejection`, or of a failure before any request was read.
    calling_ae_title : str
        As claimed, in printable ASCII; "" when none was said.
    """

    reason: str
    calling_ae_title: str
    peer_address: str
    count: int


class SecurityAlerts:
    """Collects refusals and hands them on. A context manager: leaving it hands on what is left.

    Parameters
    ----------
    write : callable
        Keeps alerts; when it raises, they come again later.
    every_seconds : float
        A refusal is handed on at once; what follows of the same peer for the same reason, together after this time.
    """

    def __init__(self, write: Callable[[Sequence[Alert]], None], every_seconds: float = 60.0) -> None:
        self._write = write
        self._every_seconds = every_seconds
        self._counts: dict[_Key, int] = {}
        self._told: dict[_Key, float] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="security-alerts", daemon=True)

    def __enter__(self) -> SecurityAlerts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def refused(self, reason: str, calling_ae_title: str, peer_address: str) -> None:
        """Count one refusal; never waits for anything."""
        key = (reason, printable(calling_ae_title), peer_address)
        with self._changed:
            known = self._counts.keys() | self._told.keys()
            if key not in known and len(known) >= MAXIMUM_ALERTS:
                key = (reason, OTHERS, OTHERS)
            self._counts[key] = self._counts.get(key, 0) + 1
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                due = self._await_due()
                last = self._stopping
            if due:
                self._hand_on(due)
            if last:
                return

    def _await_due(self) -> dict[_Key, int]:
        """What may be told now, and its time noted. Called with the lock held, which it gives up while it waits."""
        while True:
            now = time.monotonic()
            self._told = {key: at for key, at in self._told.items() if now - at < self._every_seconds}
            due = [key for key in self._counts if self._stopping or key not in self._told]
            if due or self._stopping:
                self._told.update(dict.fromkeys(due, now))
                return {key: self._counts.pop(key) for key in due}
            soonest = min((self._told[key] for key in self._counts), default=None)
            self._changed.wait(None if soonest is None else soonest + self._every_seconds - now)

    def _hand_on(self, counts: dict[_Key, int]) -> None:
        try:
            self._write([Alert(*key, count) for key, count in counts.items()])
        except Exception as error:  # the boundary of the thread
            log.error("alerts_not_written", alerts=len(counts), error=type(error).__name__, exc_info=error)
            with self._changed:
                for key, count in counts.items():
                    self._counts[key] = self._counts.get(key, 0) + count


def printable(ae_title: str) -> str:
    """An AE title from the network without padding, all but printable ASCII escaped."""
    return ae_title.strip(" ").encode("unicode_escape").decode("ascii")
