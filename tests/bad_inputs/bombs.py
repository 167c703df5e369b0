"""Compressed images that are small on the wire and costly to decode, made from their standards' own syntax."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def jpeg_2000(
    rows: int,
    columns: int,
    *,
    precision: int = 16,
    levels: int = 0,
    precincts: Sequence[int] = (),
    data: bytes = b"\0\0",
) -> bytes:
    """A codestream of one tile without a single coded sample, sound by its header (ITU-T T.800 annex A).

    Parameters
    ----------
    precincts : sequence of int
        PPx and PPy per resolution in one byte; 0 asks for a precinct per pixel, which costs a decoder some hundred
        bytes for each.
    """
    size = struct.pack(">H8IH", 0, columns, rows, 0, 0, columns, rows, 0, 0, 1) + bytes([precision - 1, 1, 1])
    style = bytes([bool(precincts), 0, 0, 1, 0, levels, 4, 4, 0, 1, *precincts])
    quantisation = bytes([0x40, *[min(precision, 31) << 3] * (1 + 3 * levels)])
    body = b"\xff\x93" + data
    tile = struct.pack(">HIBB", 0, 12 + len(body), 0, 1)
    segments = ((0x51, size), (0x52, style), (0x5C, quantisation), (0x90, tile))
    return b"\xff\x4f" + b"".join(_segment(*segment) for segment in segments) + body + b"\xff\xd9"


def progressive_jpeg(rows: int, columns: int, *, scans: int) -> bytes:
    """A grey JPEG whose every scan says in some forty bytes that none of its blocks changes (ITU-T T.81 annex G).

    A decoder walks over the whole image for each of them.
    """
    blocks = (rows // 8) * (columns // 8)
    frame = struct.pack(">BHHB", 8, rows, columns, 1) + b"\x01\x11\0"
    one_code = bytes([1] + [0] * 15)
    runs, left = [], blocks
    while left > 0:  # runs of 2^14 to 2^15 - 1 blocks: code E0 and 14 bits
        run = min(left, (1 << 15) - 1)
        runs.append(max(run, 1 << 14) - (1 << 14))
        left -= run
    bits = "".join(f"0{run:014b}" for run in runs)
    bits += "1" * (-len(bits) % 8)
    unchanged = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scan = _segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + unchanged
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xDB, b"\0" + bytes([1] * 64)),
            _segment(0xC2, frame),
            _segment(0xC4, b"\0" + one_code + b"\0"),  # DC: no difference
            _segment(0xC4, b"\x10" + one_code + b"\xe0"),  # AC: a run of blocks without coefficients
            _segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + bytes(-(-blocks // 8)),
            scan * scans,
            b"\xff\xd9",
        )
    )


def commented(stream: bytes, text: bytes) -> bytes:
    """A JPEG or JPEG-LS stream with a comment behind its first marker."""
    return stream[:2] + _segment(0xFE, text) + stream[2:]


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
