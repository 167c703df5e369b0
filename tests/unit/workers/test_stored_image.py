"""A crowd of sequence items is counted before it is built."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from peers.raw_peer import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, part10_file, radiograph

from triage.errors import DicomError
from workers import stored_image
from workers.stored_image import MAXIMUM_ITEMS


def with_items(path: Path, count: int, syntax: str, *, undefined: bool) -> Path:
    """A radiograph with so many empty items in its Request Attributes Sequence (0040,0275)."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    items = struct.pack(order + "HHL", 0xFFFE, 0xE000, 0) * count
    length = 0xFFFFFFFF if undefined else len(items)
    vr = b"" if syntax == IMPLICIT else b"SQ\0\0"
    end = struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0) if undefined else b""
    whole = part10_file(radiograph(PixelData=None), syntax)
    path.write_bytes(
        whole + struct.pack(order + "HH", 0x40, 0x275) + vr + struct.pack(order + "L", length) + items + end
    )
    return path


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_more_items_than_any_radiograph_has_are_not_read(tmp_path: Path, syntax: str, undefined: bool) -> None:
    path = with_items(tmp_path / "crowd.dcm", 500_000, syntax, undefined=undefined)
    start = time.thread_time()
    with pytest.raises(DicomError, match="more than 20000 sequence items"):
        stored_image.read(path)
    assert time.thread_time() - start < 3, "its items were made objects of"
    few = with_items(tmp_path / "few.dcm", 100, syntax, undefined=undefined)
    assert len(stored_image.read(few).RequestAttributesSequence) == 100
    assert stored_image.items_of(few) == 100


def test_what_is_deflated_is_counted_inflated(tmp_path: Path) -> None:
    path = tmp_path / "deflated.dcm"
    crowd = b"\xfe\xff\x00\xe0" * (MAXIMUM_ITEMS + 1)
    path.write_bytes(part10_file(radiograph(ImageComments="", PixelData=crowd), DEFLATED))
    with pytest.raises(DicomError, match="sequence items"):
        stored_image.read(path)


def test_pixels_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "pixels.dcm"
    path.write_bytes(part10_file(radiograph(PixelData=b"\xfe\xff\x00\xe0" * (MAXIMUM_ITEMS + 1)), EXPLICIT))
    assert stored_image.read(path).Rows == 16


def test_an_empty_file_has_no_items(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert stored_image.items_of(tmp_path / "empty") == 0
