"""Several processes that do the same: forked from one that only watches them, replaced when they die, ended together.

Forked, not started anew: open ports and shared memory need no handing over, what was loaded is there once, and a
process that died has its successor within a tenth of a second. The parent starts no thread, so that a fork finds no
lock held.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

from firstread.ending import SIGNALS, Ending
from firstread.lifeline import end_with
from triage.errors import FirstreadError, SettingsError
from triage.logging import get_logger

UNUSABLE: Final = 78  # exit status for settings that are wrong (EX_CONFIG): another process would say the same
LOOK_EVERY: Final = 0.1  # seconds
LONGEST_PAUSE: Final = 30.0  # seconds before a process that keeps dying is replaced
STEADY: Final = 60.0  # seconds after which it no longer counts as one that keeps dying
STOP_WITHIN: Final = 40.0  # seconds until what does not end is killed

log = get_logger(__name__)

Work = Callable[[Ending, bool], None]


@dataclass
class _Place:
    """One of the processes, or what is left of it until it is replaced."""

    process: int = 0
    started: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0


class Siblings:
    """Runs until SIGTERM or Ctrl-C.

    Parameters
    ----------
    work : callable
        What each process does until it is asked to end; told whether it takes the place of one that died.
    on_death : callable
        Told the id of each process that ended unasked, before it is replaced.
    on_end : callable
        Called before the processes are asked to end.
    """

    def __init__(
        self, count: int, work: Work, *, on_death: Callable[[int], object], on_end: Callable[[], object]
    ) -> None:
        self._places = [_Place() for _ in range(count)]
        self._work, self._on_death, self._on_end = work, on_death, on_end
        self._ending = False

    def run(self) -> None:
        """Start all, watch them, end all.

        Raises
        ------
        SettingsError
            One of them said that it cannot run with these settings.
        """
        for name in SIGNALS:
            signal.signal(name, self._request_end)
        try:
            while not self._ending:
                self._look_after()
                time.sleep(LOOK_EVERY)
        finally:
            self._end()

    def _request_end(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _look_after(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process:
                self._examine(place, now)
            if not place.process and now >= place.restart_at:
                place.process, place.started = self._start(again=place.deaths > 0), now

    def _examine(self, place: _Place, now: float) -> None:
        process, status = os.waitpid(place.process, os.WNOHANG)
        if not process:
            return
        place.process = 0
        self._on_death(process)
        code = os.waitstatus_to_exitcode(status)
        if code == UNUSABLE:
            raise SettingsError("A process cannot run with these settings; its message stands above.")
        place.deaths = 1 if now - place.started > STEADY else place.deaths + 1
        pause = 0.0 if place.deaths == 1 else min(LONGEST_PAUSE, 0.5 * 2 ** (place.deaths - 2))
        place.restart_at = now + pause
        log.error("process_died", process=process, status=code, restart_in_s=pause)

    def _start(self, *, again: bool) -> int:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a signal for the child must not meet the parent's handler
        process = os.fork()
        if process == 0:
            self._be_child(parent, again)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return process

    def _be_child(self, parent: int, again: bool) -> None:
        """Never returns: what waits further up in the stack is the parent's."""
        status = 1
        try:
            ending = Ending()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            end_with(parent)
            self._work(ending, again)
            status = 0
        except FirstreadError as error:
            status = UNUSABLE if isinstance(error, SettingsError) else 1
            sys.stderr.write(f"{error.advice()}\n")
        except BaseException:  # noqa: BLE001 - nothing above handles it
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _end(self) -> None:
        self._on_end()
        left = {place.process for place in self._places if place.process}
        for process in left:
            os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN
        while left and time.monotonic() < deadline:
            left = {process for process in left if os.waitpid(process, os.WNOHANG) == (0, 0)}
            time.sleep(0.02)
        for process in left:
            log.error("process_killed", process=process)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
