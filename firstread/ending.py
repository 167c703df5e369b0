"""Waiting for SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """The wish that this process ends, heard from the moment this object is made. One per process, in its main thread.

    The byte that ends the wait is written by the interpreter's own handler, at once. A handler in Python runs only
    between two instructions: a signal on the way into a read would wait behind that read for ever.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for name in SIGNALS:
            signal.signal(name, _leave_it_to_the_pipe)

    def wait(self) -> None:
        """Return once one of the signals has come."""
        while True:
            (number,) = os.read(self._read, 1)
            if number in SIGNALS:
                return


def _leave_it_to_the_pipe(_signal: int, _frame: FrameType | None) -> None:
    """Without a handler the signal would end the process before anything is put in order."""
