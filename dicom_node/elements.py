"""A bounded walk over an encoded data set (PS3.5 section 7): find a few elements without building a Dataset.

On the receive path nothing may recurse, allocate by a length field or inflate without end. The walk steps over
everything it was not asked for, checks each length against the bytes that are there, and stops at Pixel Data.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from dicom_node.contexts import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from triage.errors import DicomError

INFLATE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes inflated of a deflated data set to read its header: 300 kB of zeros deflated are 300 MB."""

MAXIMUM_DEPTH: Final = 64
MAXIMUM_ELEMENTS: Final = 1_000_000
"""Elements and items stepped over one by one; a whole-slide image of 100,000 frames stays below."""
MAXIMUM_VALUE: Final = 4096
"""Bytes of a wanted value that are read; the longest index attribute has 324 characters."""

PIXEL_DATA: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_FIRST_GROUP: Final = 0x0003
_PIXEL_GROUP: Final = 0x7FE0
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF
_BLANK_VR: Final = b"  "  # written by some scanners for LUT elements, with a short length
_SHORT_VRS: Final = frozenset((_BLANK_VR, *b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()))

_FORMATS: Final = ("HH", "HH2sH", "H", "L")
_LITTLE_ENDIAN: Final = tuple(struct.Struct(f"<{form}").unpack_from for form in _FORMATS)
_BIG_ENDIAN: Final = tuple(struct.Struct(f">{form}").unpack_from for form in _FORMATS)
"""How to read a tag, an element's header with a short length, and numbers of two and four bytes."""

Buffer = bytes | bytearray | memoryview | mmap.mmap


@dataclass(frozen=True, slots=True)
class PixelValue:
    """Where the value of Pixel Data lies; ``length`` None when encapsulated (PS3.5 A.4)."""

    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Walk:
    """What the walk met.

    Attributes
    ----------
    values : dict of int to bytes
        Raw values of the wanted elements at the top level, by tag, first occurrence.
    repeated : frozenset of int
        Wanted elements that occurred again with another value.
    pixels : PixelValue or None
    """

    values: dict[int, bytes]
    repeated: frozenset[int]
    pixels: PixelValue | None


class FrontExceededError(Exception):
    """The walk came to bytes behind the front that it was given. Never leaves this package."""


def walk(
    data: Buffer, transfer_syntax_uid: str, wanted: Collection[int], *, start: int = 0, size: int | None = None
) -> Walk:
    """Walk the top level of a data set up to and including the header of Pixel Data.

    Parameters
    ----------
    data : bytes-like
        The encoded data set from ``start`` on; a memory map for files.
    wanted : collection of int
        Tags as 0xGGGGEEEE.
    size : int, optional
        Length of the whole when ``data`` is only its front; lengths are checked against the whole.

    Raises
    ------
    FrontExceededError
        The front does not reach to Pixel Data.
    DicomError
        A length reaches beyond the end, the encoding is not that of the transfer syntax, group 0002 or lower inside
        the data set, or one of the bounds of this module is passed. Names the tag, never a value.
    """
    truncated = False
    if size is not None and size > len(data) and transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        raise FrontExceededError
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        with memoryview(data) as whole, whole[start:] as deflated:
            data, truncated = inflate(deflated, INFLATE_LIMIT)
        start, size = 0, None
    walker = _Walker(
        data,
        size=size,
        implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        big_endian=transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN,
        truncated=truncated,
    )
    return walker.top_level(start, frozenset(wanted))


def inflate(data: Buffer, limit: int) -> tuple[bytes, bool]:
    """The first ``limit`` bytes of a raw deflate stream (PS3.5 A.5), and whether there are more.

    Raises
    ------
    DicomError
        The stream is damaged.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, limit)
    except zlib.error:
        raise DicomError("The deflated data set cannot be inflated.") from None
    return inflated, not stream.eof


class _Walker:
    def __init__(self, data: Buffer, *, size: int | None, implicit: bool, big_endian: bool, truncated: bool) -> None:
        self._data = data
        self._end = len(data) if size is None else size
        # Where the bytes at hand end, if that is before the end: a header of 12 bytes must begin before.
        self._front = len(data) - 12 if len(data) < self._end else self._end
        self._implicit = implicit
        self._truncated = truncated
        self._tag, self._short, self._u16, self._u32 = _BIG_ENDIAN if big_endian else _LITTLE_ENDIAN
        self._count = 0

    def top_level(self, position: int, wanted: frozenset[int]) -> Walk:
        values: dict[int, bytes] = {}
        repeated: set[int] = set()
        while True:
            if not self._implicit:
                position = self._stride(position, wanted, values, repeated)
            if self._ends(position):
                break
            tag, vr, length, value = self._element(position, self._implicit, strict=True)
            if tag < 0x00030000:
                raise DicomError(f"{_name(tag)} has no place in a data set.")
            if tag in PIXEL_DATA:
                if length is not None:
                    self._check(tag, value, length)
                return Walk(values, frozenset(repeated), PixelValue(value, length))
            if length is None:
                position = self._skip_items(tag, value, self._implicit or vr == b"UN")
                continue
            if self._truncated and length > self._end - value:
                break
            self._check(tag, value, length)
            if tag in wanted:
                if value + min(length, MAXIMUM_VALUE) > len(self._data):
                    raise FrontExceededError
                found = bytes(self._data[value : value + min(length, MAXIMUM_VALUE)])
                if values.setdefault(tag, found) != found:
                    repeated.add(tag)
            position = value + length
        return Walk(values, frozenset(repeated), None)

    def _ends(self, position: int) -> bool:
        """True at the end; padding with zeros, which some senders add, is an end too."""
        if self._end - position >= 8:
            return False
        if position > self._front and position < self._end:
            raise FrontExceededError
        if self._truncated or not any(self._data[position : self._end]):
            return True
        raise DicomError("The data set ends inside an element.")

    def _stride(self, position: int, wanted: frozenset[int], values: dict[int, bytes], repeated: set[int]) -> int:
        """Step over elements whose VR has a short length, as most of a header do; the position of what is no such."""
        data, unpack, last = self._data, self._short, min(self._end, len(self._data)) - 12
        count = self._count
        while position <= last and count < MAXIMUM_ELEMENTS:
            group, element, vr, length = unpack(data, position)
            begin = position + 8
            end = begin + length
            if vr not in _SHORT_VRS or not _FIRST_GROUP <= group < _PIXEL_GROUP or end > last:
                break
            tag = group << 16 | element
            if tag in wanted:
                found = bytes(data[begin : end if length <= MAXIMUM_VALUE else begin + MAXIMUM_VALUE])
                if tag not in values:
                    values[tag] = found
                elif values[tag] != found:
                    repeated.add(tag)
            position = end
            count += 1
        self._count = count
        return position

    def _element(self, position: int, implicit: bool, *, strict: bool) -> tuple[int, bytes, int | None, int]:
        """(tag, VR, length or None when undefined, position of the value)."""
        self._count += 1
        if self._count > MAXIMUM_ELEMENTS:
            raise DicomError(f"The data set has more than {MAXIMUM_ELEMENTS} elements and items.")
        if self._end - position < 8:
            raise DicomError("The data set ends inside an element.")
        if position > self._front:
            raise FrontExceededError
        group, element = self._tag(self._data, position)
        tag = group << 16 | element
        vr = bytes(self._data[position + 4 : position + 6])
        if not implicit and not (vr.isalpha() and vr.isupper()) and vr != _BLANK_VR:
            if strict:
                raise DicomError(f"{_name(tag)} has no VR: not in the negotiated transfer syntax.")
            implicit = True  # some private sequences are written so; pydicom and DCMTK read them
        if implicit:
            (length,), value, vr = self._u32(self._data, position + 4), position + 8, b""
        elif vr in _SHORT_VRS:
            (length,), value = self._u16(self._data, position + 6), position + 8
        else:
            if self._end - position < 12:
                raise DicomError(f"{_name(tag)} reaches beyond the end of the data set.")
            (length,), value = self._u32(self._data, position + 8), position + 12
        return tag, vr, None if length == _UNDEFINED else length, value

    def _skip_items(self, owner: int, position: int, implicit: bool) -> int:
        """The position behind a sequence, or fragments, of undefined length; nested ones are kept on a stack."""
        # Each level is a sequence of items (True) or the elements of one item (False), with its encoding.
        levels = [(True, implicit)]
        while levels:
            if len(levels) > MAXIMUM_DEPTH:
                raise DicomError(f"{_name(owner)} is nested deeper than {MAXIMUM_DEPTH} levels.")
            in_items, implicit = levels[-1]
            if in_items:
                tag, _, length, position = self._element(position, implicit=True, strict=False)
                if tag == _SEQUENCE_END:
                    levels.pop()
                elif tag != _ITEM:
                    raise DicomError(f"{_name(owner)} has no sequence delimiter.")
                elif length is None:
                    levels.append((False, implicit))
                else:
                    self._check(owner, position, length)
                    position += length
                continue
            if self._end - position >= 8 and self._front >= position and self._is_item_end(position):
                levels.pop()
                position += 8
                continue
            tag, vr, length, position = self._element(position, implicit, strict=False)
            if length is None:
                levels.append((True, implicit or vr in (b"UN", b"")))
            else:
                self._check(tag, position, length)
                position += length
        return position

    def _is_item_end(self, position: int) -> bool:
        group, element = self._tag(self._data, position)
        return bool(group << 16 | element == _ITEM_END)

    def _check(self, tag: int, position: int, length: int) -> None:
        if length > self._end - position:
            raise DicomError(f"{_name(tag)} reaches beyond the end of the data set.")


def _name(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"
