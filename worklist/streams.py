"""Answers that never end: an event stream stops when its listener may no longer listen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Send

LOOK_EVERY: Final = 5.0
"""Seconds between two looks, at most one per message; a quiet stream sends a sign of life every few seconds."""


class WatchedStream:
    """Passes a stream on and looks, before a message, whether its listener is still welcome.

    Parameters
    ----------
    may : callable
        True while the listener may listen. Blocks.
    """

    def __init__(self, may: Callable[[], bool]) -> None:
        self._may = may
        self._looked = time.monotonic()
        self._ended = False

    async def send(self, message: Message, send: Send) -> None:
        """Pass a message on; or end the stream in order, after which the client comes back and hears why."""
        if self._ended:
            return
        if message["type"] == "http.response.body" and time.monotonic() - self._looked >= LOOK_EVERY:
            self._looked = time.monotonic()
            if not await run_in_threadpool(self._may):
                self._ended = True
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)
