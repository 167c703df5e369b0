"""Bytes that come in small pieces, written and hashed in large ones.

Every write and every hash gives up Python's global lock and has to get it back. With eight senders and a write for
every 128 KiB fragment, threads spent more time handing that lock to each other than on the bytes themselves; a copy
into a buffer costs a tenth of it.
"""

from __future__ import annotations

import os
from typing import Final

from dicom_node.digests import DataSetDigest

PIECE: Final = 1024 * 1024
"""Bytes that are written and hashed at once."""
KEPT: Final = 32
"""Buffers that stay for the next instance; more are made when more instances come at once."""


class Buffers:
    """Buffers of :data:`PIECE` bytes for reuse: fresh memory costs a page fault every 4 KiB. Safe between threads."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        """A buffer of any content."""
        try:
            return self._free.pop()
        except IndexError:
            return bytearray(PIECE)

    def give_back(self, buffer: bytearray) -> None:
        """Let somebody else have it."""
        if len(self._free) < KEPT:
            self._free.append(buffer)


class PieceWriter:
    """Writes a head and a data set to a descriptor, and digests the data set.

    Parameters
    ----------
    descriptor : int
        Open for writing; stays the caller's.
    head : bytes
        Stands before the data set and is not digested; written together with its first piece.
    """

    def __init__(self, descriptor: int, head: bytes, buffers: Buffers) -> None:
        self._descriptor = descriptor
        self._head = head
        self._buffers = buffers
        self._buffer: bytearray | None = None
        self._gathered = 0
        self._digest = DataSetDigest()
        self.taken = 0
        """Bytes of the data set, in the file or on their way there."""
        self.written = 0
        """Bytes that the file has, head included."""

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes of the data set.

        Raises
        ------
        OSError
            A piece that was complete could not be written.
        """
        count = len(data)
        self.taken += count
        end = self._gathered + count
        if self._gathered and end < PIECE and self._buffer is not None:  # almost always
            self._buffer[self._gathered : end] = data
            self._gathered = end
            return
        with memoryview(data) as view:
            while view:
                if not self._gathered and len(view) >= PIECE:
                    self._write(view)
                    return
                if self._buffer is None:
                    self._buffer = self._buffers.take()
                count = min(len(view), PIECE - self._gathered)
                self._buffer[self._gathered : self._gathered + count] = view[:count]
                self._gathered += count
                view = view[count:]  # noqa: PLW2901 - what is left of it
                if self._gathered == PIECE:
                    self.flush()

    def flush(self) -> None:
        """Write what was gathered, and the head if nothing was.

        Raises
        ------
        OSError
            It could not be written.
        """
        if self._buffer is not None and self._gathered:
            gathered, self._gathered = self._gathered, 0
            with memoryview(self._buffer) as whole, whole[:gathered] as piece:
                self._write(piece)
        elif self._head:
            self._write(memoryview(b""))

    def digest(self) -> str:
        """Digest of all that was taken so far; see :mod:`dicom_node.digests`."""
        if self._buffer is None or not self._gathered:
            return self._digest.text()
        with memoryview(self._buffer) as whole, whole[: self._gathered] as rest:
            return self._digest.text_with(rest)

    def close(self) -> None:
        """Forget what was gathered; the descriptor stays open."""
        self._gathered = 0
        if self._buffer is not None:
            self._buffers.give_back(self._buffer)
            self._buffer = None

    def _write(self, piece: memoryview) -> None:
        self._digest.update(piece)
        if self._head:
            head, self._head = self._head, b""
            written = os.writev(self._descriptor, (head, piece))
            self.written += written
            self._write_all(memoryview(head)[written:])
            piece = piece[max(0, written - len(head)) :]
        self._write_all(piece)

    def _write_all(self, data: memoryview) -> None:
        while data:
            written = os.write(self._descriptor, data)
            self.written += written
            data = data[written:]
