"""Decoded samples to what a screen shows: 8-bit RGB, from RGB, YCbCr (PS3.3 C.7.6.3.1.2) and palettes (C.7.9).

Profiles (ICC) are not applied: a browser takes the numbers for sRGB.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.decoding import Picture
from models.layout import Colour
from triage.errors import PixelError

_CHANNELS: Final = ("Red", "Green", "Blue")
_MOST_ENTRIES: Final = 1 << 16


def to_rgb(dataset: Dataset, picture: Picture) -> NDArray[np.uint8]:
    """A colour frame as a screen shows it.

    Parameters
    ----------
    dataset : Dataset
        Header of the image.
    picture : Picture
        Palette indices, RGB or YCbCr.

    Returns
    -------
    ndarray
        uint8 (rows, columns, 3), red, green, blue.

    Raises
    ------
    PixelError
        A palette without usable tables, or a grey frame.
    """
    if picture.colour is Colour.GREY:
        raise PixelError("a grey frame has no colours.")
    if picture.colour is Colour.PALETTE:
        return _look_up(dataset, picture.samples)
    samples = _of_eight_bits(picture.samples, int(dataset.BitsStored))
    if picture.colour is Colour.RGB:
        return samples
    # OpenCV wants Cr before Cb.
    converted = cv2.cvtColor(np.ascontiguousarray(samples[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return np.asarray(converted, np.uint8)


def _of_eight_bits(samples: NDArray[Any], stored: int) -> NDArray[np.uint8]:
    if stored > 8:
        samples = np.right_shift(samples, stored - 8)
    return samples.astype(np.uint8, copy=False)


def _look_up(dataset: Dataset, indices: NDArray[Any]) -> NDArray[np.uint8]:
    tables = [_table(dataset, channel) for channel in _CHANNELS]
    # Some write 8-bit colours into 16-bit tables.
    shift = 8 if max(int(table.max()) for _, table in tables) > 255 else 0
    places = indices.astype(np.int64)
    shown = np.empty((*indices.shape, 3), np.uint8)
    for channel, (first, table) in enumerate(tables):
        # C.7.6.3.1.5: below the first and above the last entry, the first and the last.
        shown[..., channel] = (table >> shift)[np.clip(places - first, 0, len(table) - 1)]
    return shown


def _table(dataset: Dataset, channel: str) -> tuple[int, NDArray[np.uint16]]:
    """First stored value that is mapped, and the table from there on."""
    try:
        count, first, bits = (int(n) for n in dataset[f"{channel}PaletteColorLookupTableDescriptor"].value)
        plain = dataset.get(f"{channel}PaletteColorLookupTableData")
        segmented = dataset.get(f"Segmented{channel}PaletteColorLookupTableData")
    except (KeyError, TypeError, ValueError) as error:
        raise PixelError("the image has no usable palette.") from error
    count = count % _MOST_ENTRIES or _MOST_ENTRIES  # 0 means 65536; some write a count as a signed number
    if bits not in {8, 16} or not isinstance(plain or segmented, bytes):
        raise PixelError("the image has no usable palette.")
    first = first - _MOST_ENTRIES if first > 32767 and int(dataset.get("PixelRepresentation") or 0) == 1 else first
    entries = _expanded(segmented, bits, count) if not plain else _plain(plain, bits, count)
    if not entries.size:
        raise PixelError("the image has an empty palette.")
    return first, entries


def _plain(data: bytes, bits: int, count: int) -> NDArray[np.uint16]:
    """Entries of 8 bits lie packed, or one in each word."""
    packed = bits == 8 and len(data) < 2 * count
    return np.frombuffer(data[: len(data) - len(data) % 2], "u1" if packed else "<u2")[:count].astype(np.uint16)


def _expanded(data: bytes, bits: int, count: int) -> NDArray[np.uint16]:
    """A segmented table (PS3.3 C.7.9.2), up to as many entries as the descriptor says.

    Raises
    ------
    PixelError
        Segments that the standard does not know, or that end too soon.
    """
    words = np.frombuffer(data[: len(data) - len(data) % 2], "u1" if bits == 8 else "<u2").astype(np.int64)
    entries: list[int] = []
    _add_segments(words, bits, (0, len(words)), entries, count, nested=False)
    if len(entries) < count:
        raise PixelError("the segmented palette ends too soon.")
    return np.asarray(entries[:count], np.uint16)


def _add_segments(
    words: NDArray[np.int64], bits: int, where: tuple[int, int], entries: list[int], count: int, *, nested: bool
) -> None:
    """``where``: the word to begin at, and the most segments to add."""
    at, most = where
    while most > 0 and at + 2 <= len(words) and len(entries) < count:
        opcode, length = int(words[at]), int(words[at + 1])
        most -= 1
        if opcode == 0:  # discrete
            entries += words[at + 2 : at + 2 + length].tolist()
            at += 2 + length
        elif opcode == 1 and entries and length and at + 2 < len(words):  # linear, to its end value
            entries += np.rint(np.linspace(entries[-1], words[at + 2], length + 1)[1:]).astype(int).tolist()
            at += 3
        elif opcode == 2 and not nested:  # indirect: as many segments again, from a byte offset on
            of_bytes = 4 if bits == 8 else 2
            parts = words[at + 2 : at + 2 + of_bytes].tolist()
            offset = sum(part << (32 // of_bytes * index) for index, part in enumerate(parts))
            _add_segments(words, bits, (offset * 8 // bits, length), entries, count, nested=True)
            at += 2 + of_bytes
        else:
            raise PixelError("the palette has a segment that is none of the standard's.")
