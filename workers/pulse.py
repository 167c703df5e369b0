"""The heartbeat of a process: a row that says it lives, renewed by a thread of its own."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.repositories import heartbeats

log = get_logger(__name__)


def process_name(part: str) -> str:
    """``part@host:pid``: who holds an association or a lease."""
    return f"{part}@{socket.gethostname()}:{os.getpid()}"


def died_here(name: str) -> bool:
    """True when the name is of a process of this host that no longer exists. Of other hosts nothing is known."""
    _, _, place = name.partition("@")
    host, _, pid = place.rpartition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def is_own(name: str) -> bool:
    """True when the name is of this process, whatever part of it."""
    return name.partition("@")[2] == process_name("").partition("@")[2]


class Pulse(threading.Thread):
    """Renews the heartbeat row of this process until it is stopped.

    Parameters
    ----------
    part : str
        "listen", "work", "deliver" or "serve".
    detail : dict, or callable that returns one
        Shown by `/readyz` and the doctor: ports, bundles, whether new data is refused; never a patient.
    """

    def __init__(
        self,
        database: Database,
        part: str,
        clock: Callable[[], datetime],
        detail: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    ) -> None:
        super().__init__(name="pulse", daemon=True)
        self._database, self._part, self._clock, self._detail = database, part, clock, detail
        self._stopped = threading.Event()
        self.process_name = process_name(part)

    def start(self) -> None:
        """Say the first time that this process lives, then go on saying so."""
        self._beat()
        super().start()

    def run(self) -> None:
        while not self._stopped.wait(heartbeats.INTERVAL.total_seconds()):
            self._beat()

    def _beat(self) -> None:
        try:
            with self._database.write() as session:
                detail = dict(self._detail() if callable(self._detail) else self._detail)
                heartbeats.beat(session, self.process_name, self._part, at=self._clock(), detail=detail)
        except DatabaseUnavailableError as error:
            log.warning("heartbeat_failed", advice=error.advice())
        except Exception:  # the boundary: a process without a pulse is taken for dead, and its associations for ended
            log.error("heartbeat_broke", exc_info=True)

    def stop(self) -> None:
        """Stop and take the row along: an orderly end is no loss."""
        self._stopped.set()
        self.join(timeout=5)
        try:
            with self._database.write() as session:
                heartbeats.stop(session, self.process_name)
        except DatabaseUnavailableError as error:
            log.warning("heartbeat_not_removed", advice=error.advice())
