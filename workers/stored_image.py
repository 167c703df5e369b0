"""A stored image as pydicom sees it, once it is known to be small enough to look at.

pydicom makes an object of every sequence item, at the latest when somebody asks for the sequence: a million empty
ones, 8 MB in a file that is otherwise sound, take it 19 s and 700 MB (2026). The archive keeps such a file, since a
slide scanner may have its reasons; no radiograph has more than some hundred.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from dicom_node import part10
from dicom_node.contexts import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN
from dicom_node.elements import INFLATE_LIMIT, inflate, walk
from models import decoding
from triage.errors import DicomError

MAXIMUM_ITEMS: Final = 20_000
"""Sequence items in front of the pixels, counted by their tag, wherever it stands."""

_ITEM: Final = b"\xfe\xff\x00\xe0"
_BIG_ENDIAN_ITEM: Final = b"\xff\xfe\xe0\x00"


def read(path: Path) -> Dataset:
    """:func:`models.decoding.read`, for a file with no crowd of sequence items.

    Raises
    ------
    DicomError
        As there, or there are more than :data:`MAXIMUM_ITEMS`.
    OSError
        The file cannot be read.
    """
    if items_of(path) > MAXIMUM_ITEMS:
        raise DicomError(f"the header has more than {MAXIMUM_ITEMS} sequence items.")
    return decoding.read(path)


def items_of(path: Path) -> int:
    """How often the tag of an item stands in front of the pixels of a stored file.

    Raises
    ------
    DicomError
        The file cannot be walked.
    """
    if not path.stat().st_size:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = part10.read_head(data[: 64 * 1024])
        if head.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            inflated, _ = inflate(data[head.offset :], INFLATE_LIMIT)
            return inflated.count(_ITEM)
        pixels = walk(data, head.transfer_syntax_uid, (), start=head.offset).pixels
        big = head.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN
        header = data[head.offset : len(data) if pixels is None else pixels.offset]
        return header.count(_BIG_ENDIAN_ITEM if big else _ITEM)
