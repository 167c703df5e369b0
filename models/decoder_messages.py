"""What a worker and its decoder say to each other: two records of fixed size, never an object.

The frame and its pixels lie in memory that both have mapped: the codestream first, the pixels from the next page on.
The file descriptor of that memory comes with the first request that needs it.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_REQUEST: Final = struct.Struct("<64sIIBBBQQd")
_ANSWER: Final = struct.Struct("<BQ63s")
LONGEST: Final = max(_REQUEST.size, _ANSWER.size)


class Outcome(IntEnum):
    READY = 1
    """The decoder is loaded and confined."""
    DECODED = 2
    DAMAGED = 3
    OUT_OF_MEMORY = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Decode the frame in the shared memory.

    Attributes
    ----------
    length : int
        Bytes of the codestream.
    mapped : int
        Bytes of the shared memory.
    seconds : float
        Processor time that the decoder may use for it.
    """

    syntax: str
    rows: int
    columns: int
    itemsize: int
    samples: int
    fits: bool
    length: int
    mapped: int
    seconds: float

    def encode(self) -> bytes:
        return _REQUEST.pack(
            self.syntax.encode("ascii"), self.rows, self.columns, self.itemsize, self.samples, self.fits, self.length,
            self.mapped, self.seconds,
        )  # fmt: skip

    @classmethod
    def decode(cls, record: bytes) -> Request:
        syntax, rows, columns, itemsize, samples, fits, length, mapped, seconds = _REQUEST.unpack(record)
        return cls(
            syntax=syntax.rstrip(b"\0").decode("ascii"), rows=rows, columns=columns, itemsize=itemsize,
            samples=samples, fits=bool(fits), length=length, mapped=mapped, seconds=seconds,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """How it went.

    Attributes
    ----------
    memory : int
        Bytes that the decoder keeps for itself now.
    word : str
        Class of the codec's exception; of a READY, what holds the decoder back.
    """

    outcome: Outcome
    memory: int = 0
    word: str = ""

    def encode(self) -> bytes:
        return _ANSWER.pack(self.outcome, self.memory, self.word.encode("ascii", "replace")[:63])

    @classmethod
    def decode(cls, record: bytes) -> Answer:
        """Read an answer of a process that hostile bytes may have taken over.

        Raises
        ------
        ValueError
            Not an answer.
        """
        try:
            outcome, memory, word = _ANSWER.unpack(record)
        except struct.error:
            raise ValueError("not an answer of a decoder") from None
        text = "".join(c for c in word.decode("ascii", "replace") if c.isalnum() or c in " _,")
        return cls(outcome=Outcome(outcome), memory=memory, word=text)


def pixels_at(length: int) -> int:
    """Where the pixels begin behind a codestream of that length."""
    return -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
