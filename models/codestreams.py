"""Reads the size of a compressed image from its first bytes, before any decoder allocates memory for it.

JPEG and JPEG-LS: frame header (ITU-T T.81 B.2.2, T.87 C.1.1). JPEG 2000 and HTJ2K: SIZ (ITU-T T.800 A.5.1).
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

from triage.errors import PixelError

_SOI = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"  # SOC, then SIZ, which comes first in the main header
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
_MAX_TILES = 65_535
_RLE_HEADER = struct.Struct("<16L")

# Start of frame: SOF0-SOF15 without DHT (C4), JPG (C8) and DAC (CC); SOF55 is JPEG-LS.
_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_BARE_MARKERS = {0x01, *range(0xD0, 0xD8)}


@dataclass(frozen=True, slots=True)
class CodestreamSize:
    """What the codestream says of itself, whatever the DICOM attributes say."""

    rows: int
    columns: int
    samples: int
    precision: int
    """Bits per sample."""
    signed: bool = False


def codestream_size(data: bytes) -> CodestreamSize:
    """Size of the image in a JPEG, JPEG-LS or JPEG 2000 family codestream (bare or in a JP2 box).

    Raises
    ------
    PixelError
        Neither kind, or cut off inside its header.
    """
    try:
        if data.startswith(_SOI):
            return _jpeg(data)
        start = data.find(_J2K_START, 0, 4096) if data.startswith((_J2K_START, _JP2_SIGNATURE)) else -1
        if start >= 0:
            return _jpeg2000(data, start)
    except (struct.error, IndexError) as error:
        raise PixelError("the compressed image ends inside its header.") from error
    raise PixelError("the pixel data is not a codestream of its transfer syntax.")


def jpeg_is_ybr(data: bytes) -> bool | None:
    """Whether the three samples of a JPEG are YCbCr, by its own markers; None where it does not say.

    JFIF means YCbCr, Adobe's marker says which, and components named R, G and B are these (as libjpeg has it).

    Raises
    ------
    PixelError
        Cut off inside its header.
    """
    position = 2
    try:
        while True:
            if data[position] != 0xFF:
                raise PixelError("the JPEG header is damaged.")
            marker = data[position + 1]
            if marker == 0xFF or marker in _BARE_MARKERS:
                position += 1 if marker == 0xFF else 2
                continue
            (length,) = struct.unpack_from(">H", data, position + 2)
            body = data[position + 4 : position + 2 + length]
            if marker == 0xE0 and body.startswith(b"JFIF\0"):
                return True
            if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
                return body[11] != 0
            if marker in _FRAME_MARKERS:
                return False if body[6:15:3].upper() == b"RGB" else None
            position += 2 + max(length, 2)
    except (struct.error, IndexError) as error:
        raise PixelError("the compressed image ends inside its header.") from error


def require_end(data: bytes) -> None:
    """Refuse a codestream without its end marker: decoders fill what is missing with grey and say nothing.

    Raises
    ------
    PixelError
        The last marker is missing: the image is cut off.
    """
    # A fragment is padded to even length (PS3.5 A.4): with 00, by some writers with FF, by some with more of it.
    if not data.rstrip(b"\x00\xff").endswith(_END):
        raise PixelError("the compressed image has no end marker: it is cut off.")


def require_rle_segments(data: bytes, count: int) -> None:
    """Compare an RLE header (PS3.5 G.3 to G.5) with its data: a decoder that trusts a wrong one leaves its memory.

    Parameters
    ----------
    count : int
        Segments that the frame must have: one per byte of a pixel.

    Raises
    ------
    PixelError
        Another number of segments, or offsets that do not rise inside the data.
    """
    if len(data) < _RLE_HEADER.size:
        raise PixelError("the RLE header is cut off.")
    segments, *offsets = _RLE_HEADER.unpack_from(data)
    used = offsets[:segments]
    ascending = all(first < second for first, second in itertools.pairwise([*used, len(data)]))
    if segments != count or used[0] != _RLE_HEADER.size or not ascending:
        raise PixelError("the RLE header is damaged.")


def _jpeg(data: bytes) -> CodestreamSize:
    position = 2
    while True:
        if data[position] != 0xFF:
            raise PixelError("the JPEG header is damaged.")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _BARE_MARKERS:
            position += 2
        elif marker in _FRAME_MARKERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", data, position + 4)
            return CodestreamSize(rows, columns, samples, precision)
        else:
            (length,) = struct.unpack_from(">H", data, position + 2)
            position += 2 + max(length, 2)


def _jpeg2000(data: bytes, start: int) -> CodestreamSize:
    xsiz, ysiz, xosiz, yosiz, xtsiz, ytsiz, xtosiz, ytosiz, samples = struct.unpack_from(">8IH", data, start + 8)
    precision, signed = (data[start + 42] & 0x7F) + 1, bool(data[start + 42] & 0x80)
    if xsiz <= xosiz or ysiz <= yosiz or not xtsiz or not ytsiz:
        raise PixelError("the JPEG 2000 header states an empty image.")
    # B.3: the first tile holds the image's first sample. A decoder that is told otherwise may look for it for ever.
    if not (xtosiz <= xosiz < xtosiz + xtsiz and ytosiz <= yosiz < ytosiz + ytsiz):
        raise PixelError("the JPEG 2000 header states tiles beside the image.")
    if -(-(xsiz - xtosiz) // xtsiz) * -(-(ysiz - ytosiz) // ytsiz) > _MAX_TILES:
        raise PixelError("the JPEG 2000 header states more tiles than the standard allows.")
    return CodestreamSize(ysiz - yosiz, xsiz - xosiz, samples, precision, signed)
