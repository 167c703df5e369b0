"""The whole product with one command: parts as processes, restarted when they die, stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Final

from firstread.ground import hold, make_folders, require_memory, require_sane_clock
from firstread.schema import make_or_require
from firstread.way_in import require_way_in
from triage.database import Database
from triage.errors import FirstreadError, SettingsError
from triage.logging import get_logger
from triage.order_feeds import takes_orders
from triage.repositories import heartbeats
from triage.settings import Settings
from workers.clock import utc_now

PARTS: Final[dict[str, Sequence[str]]] = {
    "listen": ("listen",),
    "work": ("work", "--queue", "analysis"),
    "deliver": ("work", "--queue", "delivery", "--queue", "housekeeping"),
    "serve": ("serve",),
}
"""Analysis and delivery are separate workers: a slow destination never holds up a diagnosis."""
OPTIONAL_PARTS: Final[dict[str, tuple[Sequence[str], Callable[[Settings], bool]]]] = {
    "orders": (("orders",), lambda settings: takes_orders(settings.order_feeds, settings.hl7_orders)),
}
"""Parts that only some sites have, each with its commands and who has it."""
STOP_WITHIN: Final = 30.0  # seconds for running work before a part is killed
LONGEST_PAUSE: Final = 30.0  # seconds between restarts of a part that keeps dying
STEADY: Final = 60.0  # seconds after which a part counts as healthy again
UNUSABLE: Final = 78  # exit status of a part whose settings are wrong (EX_CONFIG): restarting cannot help

log = get_logger(__name__)


@dataclass
class Part:
    """One supervised process."""

    name: str
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    restart_at: float | None = None


@dataclass
class Supervisor:
    """Runs the parts of the product until it is told to stop.

    Parameters
    ----------
    output : file, optional
        Where the parts log to; the terminal by default.
    """

    settings: Settings
    output: IO[bytes] | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    _stopping: bool = False
    _lock: IO[str] | None = None

    @property
    def commands(self) -> dict[str, Sequence[str]]:
        """The parts of this site, in the order in which they stop."""
        optional = {name: command for name, (command, wanted) in OPTIONAL_PARTS.items() if wanted(self.settings)}
        return {**PARTS, **optional}

    def start(self) -> None:
        """Prepare data directory and database, then start every part.

        Raises
        ------
        SettingsError
            The clock or the data directory cannot be used, another ``up`` already runs on it, the database has another
            schema or forgets the archive, or the page would be open to the network with nobody who can sign in.
        """
        signal.signal(signal.SIGTERM, self._request_stop)
        require_sane_clock(utc_now())
        make_folders(self.settings)
        self._lock = hold(self.settings.data / "up.lock", "`firstread up`")
        require_memory(self.settings, utc_now())
        make_or_require(self.settings)
        database = Database(self.settings.database)
        require_way_in(self.settings, database, utc_now())
        database.dispose()
        for name in self.commands:
            self.parts[name] = self._launch(name)

    def wait_until_ready(self, timeout: float = 180.0) -> None:
        """Return when every part has reported alive.

        Raises
        ------
        FirstreadError
            A part ended or did not come up in time; says which.
        """
        database = Database(self.settings.database)
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.leave_if_stopping()
                self.look_after()
                with database.read() as session:
                    alive = {row.part for row in heartbeats.alive(session, utc_now())}
                missing = sorted(self.commands.keys() - alive)
                if not missing:
                    return
                if time.monotonic() > deadline:
                    raise FirstreadError(f"{', '.join(missing)} did not come up within {timeout:.0f} s.")
                time.sleep(0.05)
        finally:
            database.dispose()

    def look_after(self) -> None:
        """Restart what has died, after a pause that grows with each death.

        Raises
        ------
        SettingsError
            A part says that its settings are unusable.
        """
        now = time.monotonic()
        for part in self.parts.values():
            status = part.process.poll()
            if status is None:
                if now - part.started > STEADY:
                    part.deaths = 0
                continue
            if status == UNUSABLE:
                raise SettingsError(f"{part.name} cannot run with these settings; its message stands above.")
            if part.restart_at is None:
                part.deaths += 1
                part.restart_at = now + min(LONGEST_PAUSE, 0.5 * 2 ** (part.deaths - 1))
                log.error("part_died", name=part.name, status=status, restart_in_s=round(part.restart_at - now, 1))
            elif now >= part.restart_at:
                deaths = part.deaths
                self.parts[part.name] = fresh = self._launch(part.name, again=True)
                fresh.deaths = deaths

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Supervise until SIGTERM or Ctrl-C, then stop in order."""

        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._request_stop)
        try:
            while not self._stopping:
                self.look_after()
                tick()
                time.sleep(0.2)
        finally:
            self.stop()

    def leave_if_stopping(self) -> None:
        """End the process through every ``finally`` if SIGTERM came before :meth:`run`, so that no part is orphaned."""
        if self._stopping:
            raise SystemExit(128 + signal.SIGTERM)

    def _request_stop(self, _signal: int, _frame: FrameType | None) -> None:
        # Only a flag: an exception raised here may land inside a finaliser, where Python drops it.
        self._stopping = True

    def stop(self) -> None:
        """Stop receiving first, then let workers finish what they hold; kill what does not end in time."""
        for name in self.commands:
            part = self.parts.get(name)
            if part is not None and part.process.poll() is None:
                part.process.terminate()
        deadline = time.monotonic() + STOP_WITHIN
        for part in self.parts.values():
            try:
                part.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("part_killed", name=part.name)
                os.killpg(part.process.pid, signal.SIGKILL)
                part.process.wait()
        if self._lock is not None:
            self._lock.close()

    def _launch(self, name: str, *, again: bool = False) -> Part:
        environment = self.settings.as_environment()
        if again:  # a crash point is met once, or the part would never get past it
            environment["FIRSTREAD_CRASH_AT"] = ""
        # A session of its own: Ctrl-C reaches only the supervisor, which then stops the parts in order. -P: a file in
        # the folder where somebody stood when he typed `firstread up` is no module of ours.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "firstread.supervised", str(os.getpid()), *self.commands[name]],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )
        return Part(name, process, time.monotonic())
