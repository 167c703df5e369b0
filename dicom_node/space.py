"""Room on the disk: whether another instance may come in, asked at every C-STORE and answered in microseconds.

Two marks with a gap between them: below the lower one nothing new is taken, above the upper one it is again. Bytes
of instances that are still on their way count as taken, so that many senders at once do not all fit into the same
gap. What lies below the lower mark belongs to what was promised already: rows, reports, previews, instances begun.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from triage.errors import StorageFullError
from triage.logging import get_logger
from triage.room import Room, RoomPolicy, short_of_bytes

LOOK_EVERY: Final = 0.25  # seconds
LOOK_AFTER: Final = 16 * 1024 * 1024
"""Bytes written by this process after which the file system is asked again, however short the time."""
FLOOR: Final = 0.5
"""An instance that was begun may go on until this part of the lower mark is left."""

log = get_logger(__name__)


class Space:
    """Watches one file system for one process. Safe to use from many threads.

    Parameters
    ----------
    root : Path
        A directory on it.
    policy : RoomPolicy
        What must stay free.
    look, monotonic : callable
        The file system and the clock (seconds), replaced in tests.
    """

    def __init__(
        self,
        root: Path,
        policy: RoomPolicy,
        *,
        look: Callable[[Path], Room] = Room.of,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._policy = policy
        self._look, self._monotonic = look, monotonic
        self._lock = threading.Lock()
        self._room: Room | None = None
        self._looked_at = float("-inf")
        self._written = 0  # since the last look
        self._awaited = 0  # bytes that begun instances are expected to bring
        self._typical = 0  # size of the largest lately finished instance, fading
        self._problem = ""
        self._full = False

    def room_for(self, size_hint: int = 0) -> bool:
        """True when an instance of this many bytes (0: unknown) may begin."""
        with self._lock:
            return not self._refusal(size_hint)

    def require(self, size_hint: int = 0) -> None:
        """Pass when :meth:`room_for` is true.

        Raises
        ------
        StorageFullError
            Says what is short, how much is left and how much must be.
        """
        with self._lock:
            refusal = self._refusal(size_hint)
        if refusal:
            raise StorageFullError(refusal)

    def claim(self, size_hint: int = 0) -> Claim:
        """Begin an instance: :meth:`require`, and its bytes count as taken until the claim is closed.

        Parameters
        ----------
        size_hint : int
            Bytes expected; 0 when the sender did not say, which then counts as much as the largest lately.

        Raises
        ------
        StorageFullError
            See :meth:`require`.
        """
        with self._lock:
            refusal = self._refusal(size_hint)
            if not refusal:
                expected = size_hint or self._typical
                self._awaited += expected
                return Claim(self, expected)
        raise StorageFullError(refusal)

    @property
    def refusing(self) -> str:
        """Why nothing new is taken right now, empty while it is. For heartbeats and people."""
        with self._lock:
            self._refresh_when_due()
            return self._problem

    def _refusal(self, size_hint: int) -> str:
        self._refresh_when_due()
        if self._problem or self._room is None:
            return self._problem
        lower = self._policy.lower(self._room)
        left = self._room.free_bytes - self._written - self._awaited - size_hint
        # A moment's crowding is no reason to close the door: it ends with the instances that are on their way.
        return short_of_bytes(left, lower, self.root) if left < lower else ""

    def _refresh_when_due(self) -> None:
        now = self._monotonic()
        if self._written < LOOK_AFTER and now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at, self._written = now, 0
        try:
            self._room = self._look(self.root)
        except OSError as error:
            self._room = None
            self._tell(f"The file system of {self.root} does not answer ({error.strerror}).")
            return
        self._tell(self._policy.shortage(self._room, self.root, closed=self._full))

    def _tell(self, problem: str) -> None:
        was, self._problem, self._full = self._full, problem, bool(problem)
        if self._full and not was:
            log.error("storage_refuses", reason=problem)
        elif was and not self._full:
            log.info("storage_accepts_again")

    def _took(self, count: int, expected: int) -> None:
        """``count`` bytes were written, of which ``expected`` had been counted as awaited."""
        with self._lock:
            self._written += count
            self._awaited -= expected
            self._refresh_when_due()
            if self._room is None:
                raise StorageFullError(self._problem)
            floor = int(self._policy.lower(self._room) * FLOOR)
            left = self._room.free_bytes - self._written
            if left < floor:
                raise StorageFullError(short_of_bytes(left, floor, self.root))

    def _ended(self, size: int, unused: int, unsaid: int) -> None:
        with self._lock:
            self._awaited -= unused
            self._written += unsaid
            self._typical = max(size, self._typical - self._typical // 8)


class Claim:
    """Bytes of one instance on its way. Close it when the instance is stored or dropped; closing twice is harmless."""

    __slots__ = ("_awaited", "_closed", "_size", "_space")

    def __init__(self, space: Space, expected: int) -> None:
        self._space = space
        self._awaited = expected
        self._size = 0
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wrote(self, count: int) -> None:
        """Say that ``count`` more bytes were written; once per piece or per mebibyte, as the writer likes.

        Raises
        ------
        StorageFullError
            So little is left that this instance has to end too.
        """
        met = min(count, self._awaited)
        self._awaited -= met
        self._size += count
        self._space._took(count, met)

    def close(self, unsaid: int = 0) -> None:
        """The instance is stored or dropped; ``unsaid`` bytes of it were written that :meth:`wrote` was not told of."""
        if not self._closed:
            self._closed = True
            self._space._ended(self._size + unsaid, self._awaited, unsaid)
