"""Where one frame of many lies in encapsulated pixel data (PS3.5 A.4), without reading the others.

Only the item tags are read; the offset tables are believed where they point at items.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from triage.errors import PixelError

_ITEM: Final = 0xE000FFFE
_DELIMITER: Final = 0xE0DDFFFE
_HEAD: Final = struct.Struct("<II")
_MOST_PER_FRAME: Final = 64
"""Fragments of a frame, on average: encoders write one, or one per 64 KiB."""
_ROOM: Final = 4096
_TAIL: Final = 16
_ENDS: Final = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class _Fragment:
    item: int
    """Where its tag stands in the source."""
    length: int

    @property
    def start(self) -> int:
        return self.item + _HEAD.size


def frame_bytes(source: BinaryIO, number: int, count: int, *, most: int, offsets: Sequence[int] = ()) -> bytes:
    """Read the codestream of one frame. The only frame of an image has all fragments, whatever offset tables say.

    Parameters
    ----------
    source : binary file
        Stands at the item tag of the Basic Offset Table.
    number : int
        Of the frame, from 1.
    count : int
        Frames that the object states.
    most : int
        Bytes that a frame may have.
    offsets : sequence of int
        Of the Extended Offset Table, where there is one.

    Raises
    ------
    PixelError
        Damaged items, more fragments than pictures have, another number of frames than stated, or a frame of more
        bytes than ``most``.
    """
    basic = _basic_offsets(source, count)
    first = source.tell()
    fragments = _fragments(source, first, count)
    if count == 1:
        groups: Sequence[Sequence[_Fragment]] = [fragments]
    else:
        groups = _by_frame(source, fragments, count, [first + offset for offset in offsets or basic])
    if number > len(groups):
        raise PixelError(f"there are {len(groups)} frames in the pixel data, not {count}: it is cut off.")
    parts = groups[number - 1]
    if sum(part.length for part in parts) > most:
        raise PixelError("there is more pixel data than any picture of this size has.")
    return b"".join(_read(source, part.start, part.length) for part in parts)


def _basic_offsets(source: BinaryIO, count: int) -> Sequence[int]:
    tag, length = _head(source)
    if tag != _ITEM or length % 4 or (length > 4 * count and count > 1):
        raise PixelError("the encapsulated pixel data begins with no Basic Offset Table.")
    if count == 1:
        source.seek(length, 1)
        return ()
    return struct.unpack(f"<{length // 4}I", _read(source, source.tell(), length))


def _fragments(source: BinaryIO, first: int, count: int) -> Sequence[_Fragment]:
    fragments: list[_Fragment] = []
    at = first
    end = source.seek(0, 2)
    while at + _HEAD.size <= end:
        source.seek(at)
        tag, length = _head(source)
        if tag == _DELIMITER:
            break
        if tag != _ITEM or at + _HEAD.size + length > end:
            break  # cut off: the frames before it are whole
        if length:
            fragments.append(_Fragment(at, length))
        if len(fragments) > _MOST_PER_FRAME * count + _ROOM:
            raise PixelError("the pixel data has more fragments than any picture of this size has.")
        at += _HEAD.size + length
    return fragments


def _by_frame(
    source: BinaryIO, fragments: Sequence[_Fragment], count: int, offsets: Sequence[int]
) -> Sequence[Sequence[_Fragment]]:
    """``offsets`` are places in the source."""
    if len(fragments) <= count or not fragments:
        return [[fragment] for fragment in fragments]
    places = {fragment.item: index for index, fragment in enumerate(fragments)}
    starts = [places.get(offset, -1) for offset in offsets]
    if len(starts) != count or starts[0] != 0 or any(a >= b for a, b in itertools.pairwise(starts)):
        starts = list(_starts_by_end_markers(source, fragments))
    return [fragments[a:b] for a, b in itertools.pairwise([*starts, len(fragments)])]


def _starts_by_end_markers(source: BinaryIO, fragments: Sequence[_Fragment]) -> Iterator[int]:
    """Without a usable table a frame ends where its codestream does."""
    begins = True
    for index, fragment in enumerate(fragments):
        if begins:
            yield index
        tail = min(_TAIL, fragment.length)
        begins = _ENDS in _read(source, fragment.start + fragment.length - tail, tail)


def _head(source: BinaryIO) -> tuple[int, int]:
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise PixelError("the encapsulated pixel data is cut off.")
    tag, length = _HEAD.unpack(head)
    return tag, length


def _read(source: BinaryIO, start: int, length: int) -> bytes:
    source.seek(start)
    data = source.read(length)
    if len(data) < length:
        raise PixelError("the encapsulated pixel data is cut off.")
    return data
