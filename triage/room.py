"""Room on a disk: what a file system says, and the marks below which nothing new is taken and above which it is again.

Pure but for :meth:`Room.of`, which asks the file system once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

UPPER_MARK: Final = 1.25
"""Upper mark as a multiple of the lower one."""
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What the file system said at one moment; bytes and inodes that an unprivileged process may still take.

    ``total_inodes`` is 0 where a file system makes them as needed: they then never run short.
    """

    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int
    read_only: bool = False

    @classmethod
    def of(cls, root: Path) -> Self:
        """Ask the file system that holds ``root``.

        Raises
        ------
        OSError
            It does not answer: not mounted, or failing.
        """
        state = os.statvfs(root)
        return cls(
            free_bytes=state.f_bavail * state.f_frsize,
            total_bytes=state.f_blocks * state.f_frsize,
            free_inodes=state.f_favail,
            total_inodes=state.f_files,
            read_only=bool(state.f_flag & os.ST_RDONLY),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomPolicy:
    """What must stay free: the greater of ``min_free_bytes`` and that percentage of the file system, and inodes."""

    min_free_bytes: int = 0
    min_free_percent: float = 0.0
    min_free_inodes: int = 0

    def lower(self, room: Room) -> int:
        """Bytes below which nothing new is taken."""
        return max(self.min_free_bytes, int(room.total_bytes * self.min_free_percent / 100))

    def upper(self, room: Room) -> int:
        """Bytes from which it is taken again."""
        return int(self.lower(room) * UPPER_MARK)

    def shortage(self, room: Room, root: Path, *, closed: bool) -> str:
        """What is short, in words; "" when nothing is. ``closed``: nothing is taken now, so the upper marks count."""
        bytes_needed = self.upper(room) if closed else self.lower(room)
        inodes_needed = int(self.min_free_inodes * UPPER_MARK) if closed else self.min_free_inodes
        if room.read_only:
            return f"The file system of {root} is read-only."
        if room.free_bytes < bytes_needed:
            return short_of_bytes(room.free_bytes, bytes_needed, root)
        if room.total_inodes and room.free_inodes < inodes_needed:
            return f"{room.free_inodes} inodes are free below {root}, {inodes_needed} must be."
        return ""


def short_of_bytes(free: int, needed: int, root: Path) -> str:
    """The sentence about too little space."""
    return f"{max(0, free) // _MIB} MiB are free below {root}, {needed / _MIB:.0f} must be."
