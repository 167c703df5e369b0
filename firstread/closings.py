"""The ends of associations, written down sooner or later: a study waits for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final, Self

from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger

TRY_AGAIN: Final = 1.0  # seconds

log = get_logger(__name__)


class Closings:
    """Writes ends down, and keeps those that the database could not take until it can.

    Nobody else would: for the sweep an association is over only when its process is gone, and this one lives. A
    context manager; what is left when the block ends is for the sweep.

    Parameters
    ----------
    close : callable
        Writes one down: association UID and the time of its end. Raises DatabaseUnavailableError if it cannot now.
    """

    def __init__(self, close: Callable[[str, datetime], None], *, pause: float = TRY_AGAIN) -> None:
        self._close, self._pause = close, pause
        self._left: deque[tuple[str, datetime]] = deque()
        self._some = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="closings", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._some.set()
        self._thread.join()

    def closed(self, association_uid: str, at: datetime) -> None:
        """An association is over."""
        try:
            self._close(association_uid, at)
        except DatabaseUnavailableError as error:
            log.warning("association_not_closed", association=association_uid, advice=error.advice())
            self._left.append((association_uid, at))
            self._some.set()

    def _run(self) -> None:
        while True:
            self._some.wait()
            if self._stopped.wait(self._pause):
                return
            try:
                while self._left:
                    self._close(*self._left[0])
                    self._left.popleft()
                self._some.clear()
                if self._left:  # one more came between the look and the clearing
                    self._some.set()
            except DatabaseUnavailableError:
                continue
            except Exception as error:  # the boundary: the others wait behind this one
                uid, _ = self._left.popleft()
                log.error("association_not_closed", association=uid, error=type(error).__name__, exc_info=error)
