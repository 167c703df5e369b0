"""Security alerts: who was turned away at the door, told in few words however often they knock.

Anybody may send association requests, as many as they like, under any name. So what is told is counted and told at
most once a minute per peer and reason, by a thread of its own, and beyond a number of different ones only in sum.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from triage.logging import get_logger

OTHERS: Final = "(others)"
"""Title and address under which the rest is counted once a minute has :data:`MAXIMUM_ALERTS` different ones."""
MAXIMUM_ALERTS: Final = 32

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
        Keeps alerts; when it raises, they come again with the next ones.
    every_seconds : float
        The first refusal is handed on at once, those after it together, once in this time.
    """

    def __init__(self, write: Callable[[Sequence[Alert]], None], every_seconds: float = 60.0) -> None:
        self._write = write
        self._every_seconds = every_seconds
        self._counts: dict[tuple[str, str, str], int] = {}
        self._lock = threading.Lock()
        self._something = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="security-alerts", daemon=True)

    def __enter__(self) -> SecurityAlerts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._something.set()
        self._thread.join()

    def refused(self, reason: str, calling_ae_title: str, peer_address: str) -> None:
        """Count one refusal; never waits for anything."""
        key = (reason, printable(calling_ae_title), peer_address)
        with self._lock:
            if key not in self._counts and len(self._counts) >= MAXIMUM_ALERTS:
                key = (reason, OTHERS, OTHERS)
            self._counts[key] = self._counts.get(key, 0) + 1
        self._something.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._something.wait()
            self._something.clear()
            self._hand_on()
            self._stopping.wait(self._every_seconds)
        self._hand_on()

    def _hand_on(self) -> None:
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            self._write([Alert(*key, count) for key, count in counts.items()])
        except Exception as error:  # the boundary of the thread
            log.error("alerts_not_written", alerts=len(counts), error=type(error).__name__, exc_info=error)
            with self._lock:
                for key, count in counts.items():
                    self._counts[key] = self._counts.get(key, 0) + count
            self._something.set()


def printable(ae_title: str) -> str:
    """An AE title from the network without padding, all but printable ASCII escaped."""
    return ae_title.strip(" ").encode("unicode_escape").decode("ascii")
