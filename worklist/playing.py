"""One play of the simulator at a time, in a process of its own, so that the list is never slowed by it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import OrderedDict
from typing import Final

from triage.errors import BusyError
from triage.logging import get_logger

SECONDS: Final = 20.0
"""A play that takes longer is given up."""
PATIENCE: Final = 8.0
"""Seconds that a question waits for the one before it."""
QUEUE: Final = 4
"""Questions that may be here at once; each holds a thread of the server."""
KEPT: Final = 100
"""Answers kept: the same question has the same answer."""

log = get_logger(__name__)


class Players:
    """Takes questions of :mod:`worklist.simulation.trial` as JSON and gives their answers as JSON; thread-safe."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(QUEUE)
        self._known: OrderedDict[str, str] = OrderedDict()

    def play(self, question: str, *, keep: bool) -> str:
        """The answer; ``keep`` it for who asks the same again.

        Raises
        ------
        BusyError
            Others are being played, or this one takes too long.
        """
        found = self._known.get(question)
        if found is not None:
            return found
        if not self._places.acquire(blocking=False):
            raise BusyError("The simulator is busy.")
        try:
            if not self._turn.acquire(timeout=PATIENCE):
                raise BusyError("The simulator is busy.")
            try:
                answer = _play_apart(question)
                if keep:
                    self._known[question] = answer
                    while len(self._known) > KEPT:
                        self._known.popitem(last=False)
            finally:
                self._turn.release()
        finally:
            self._places.release()
        return answer


def _play_apart(question: str) -> str:
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "worklist.simulation"], input=question, capture_output=True, text=True,
            timeout=SECONDS, check=True, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BusyError(f"The play took longer than {SECONDS:g} s.", next_step="Take fewer days.") from None
    except subprocess.CalledProcessError as error:
        last_line = error.stderr.strip().rpartition("\n")[2]
        log.error("simulation_failed", returncode=error.returncode, last_line=last_line)
        raise BusyError("The play ended before its time.", next_step="Take fewer days; the log says more.") from None
    return done.stdout
