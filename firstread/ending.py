"""Waiting for SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """The wish that this process ends, heard from the moment this object is made.

    A pipe, because a handler runs in the middle of whatever the main thread does: setting a threading.Event there
    waits for ever for a lock that the main thread holds on its way into `wait`.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for name in SIGNALS:
            signal.signal(name, self._ask)

    def wait(self) -> None:
        """Return once one of the signals has come."""
        os.read(self._read, 1)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        os.write(self._write, b"\x00")
