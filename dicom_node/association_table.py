"""How many associations are open, in all and from each address: one table for all processes of a listener."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b


class AssociationTable:
    """Places for associations, in memory that forked processes share.

    Made before the fork. Each place in use holds the process and a digest of the peer's address, so that the places of
    a process that died can be given back. Processes exclude each other by a lock on a file, which the kernel opens
    when its holder dies; threads by a lock of their own.

    Parameters
    ----------
    places : int
        Simultaneous associations.
    places_per_address : int
        The same from one address.
    shared : bool
        Between processes, not only threads.
    """

    def __init__(self, places: int, places_per_address: int, *, shared: bool = False) -> None:
        self._per_address = places_per_address
        memory = memoryview(mmap.mmap(-1, places * 16))
        self._holders = memory[: places * 8].cast("Q")
        self._addresses = memory[places * 8 :].cast("Q")
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile() if shared else None  # noqa: SIM115 - lives as long as the table

    def take(self, address: str) -> int | None:
        """A place for a peer of this address, or None: there is none left for it."""
        key = _digest(address)
        with self._locked():
            if self._addresses.tolist().count(key) >= self._per_address:
                return None
            try:
                place = self._holders.tolist().index(0)
            except ValueError:
                return None
            self._holders[place] = os.getpid()  # first: killed here, the place is still the dead process's
            self._addresses[place] = key
            return place

    def give_back(self, place: int) -> None:
        with self._locked():
            self._clear(place)

    def give_back_all_of(self, process: int) -> int:
        """Free what a dead process held; returns how many places that were."""
        with self._locked():
            held = [place for place, holder in enumerate(self._holders.tolist()) if holder == process]
            for place in held:
                self._clear(place)
            return len(held)

    @property
    def taken(self) -> int:
        """Open associations of all processes."""
        holders = self._holders.tolist()
        return len(holders) - holders.count(0)

    def _clear(self, place: int) -> None:
        self._addresses[place] = 0
        self._holders[place] = 0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            if self._file is None:
                yield
                return
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def _digest(address: str) -> int:
    return int.from_bytes(blake2b(address.encode(), digest_size=8).digest(), "little") or 1
