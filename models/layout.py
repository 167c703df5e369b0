"""The Image Pixel attributes of a data set (PS3.3 C.7.6.3), checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from triage.errors import PixelError

MAX_PIXELS: Final = 1 << 26
"""Largest frame that is decoded: 67 million pixels, four times the largest radiograph in use."""
MAX_FRAMES: Final = 1 << 16
"""Most frames of an object that are looked at."""
YBR_422: Final = "YBR_FULL_422"
_COLOURS: Final = frozenset({"RGB", "YBR_FULL", YBR_422, "YBR_RCT", "YBR_ICT"})


class Colour(Enum):
    """What the samples of a decoded frame are."""

    GREY = "grey"
    PALETTE = "palette"
    """Indices into the tables of the header."""
    RGB = "RGB"
    YBR = "YBR"
    """Full range, as in JPEG."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The Image Pixel attributes (PS3.3 C.7.6.3), checked."""

    rows: int
    columns: int
    allocated: int
    stored: int
    signed: bool
    frames: int
    samples: int
    photometric: str
    by_plane: bool

    @property
    def unsigned_dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<u{self.allocated // 8}")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def size(self) -> int:
        """Bytes of a frame, uncompressed."""
        # PS3.3 C.7.6.3.1.2: two pixels share their chrominance.
        samples = 2 if self.photometric == YBR_422 and self.samples == 3 else self.samples
        return self.rows * self.columns * samples * self.allocated // 8

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def colour(self) -> Colour:
        """What the samples are, by the attributes."""
        if self.samples == 1:
            return Colour.PALETTE if self.photometric == "PALETTE COLOR" else Colour.GREY
        return Colour.YBR if self.photometric in {"YBR_FULL", YBR_422} else Colour.RGB


def layout_of(dataset: Dataset, *, only_grey: bool) -> Layout:
    """Check the attributes of an image; with ``only_grey``, of one grey frame as networks read it.

    Raises
    ------
    PixelError
        Missing, contradicting each other, more than :data:`MAX_PIXELS` or :data:`MAX_FRAMES`, or nothing to show.
    """
    rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    allocated, stored = _whole(dataset, "BitsAllocated"), _whole(dataset, "BitsStored")
    high, representation = _whole(dataset, "HighBit", stored - 1), _whole(dataset, "PixelRepresentation", 0)
    if not (1 <= rows <= 65535 and 1 <= columns <= 65535) or rows * columns > MAX_PIXELS:
        raise PixelError(f"an image of {rows} x {columns} pixels is not decoded.")
    if allocated == 1:
        raise PixelError("it has one bit per pixel; images of 8, 16 or 32 bits are read.")
    if allocated not in {8, 16, 32} or not 1 <= stored <= allocated:
        raise PixelError(f"Bits Allocated {allocated} and Bits Stored {stored} do not describe an image.")
    if high != stored - 1 or representation not in {0, 1}:
        raise PixelError("High Bit or Pixel Representation break PS3.5 section 8.1.1.")
    samples = _whole(dataset, "SamplesPerPixel", 1)
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    grey = photometric in {"MONOCHROME1", "MONOCHROME2"}
    if only_grey:
        if samples != 1:
            raise PixelError("the image has more than one sample per pixel.")
        if _whole(dataset, "NumberOfFrames", 1) not in {0, 1}:
            raise PixelError("the image has more than one frame.")
        if not grey:
            raise PixelError("Photometric Interpretation is not MONOCHROME1 or MONOCHROME2.")
    elif photometric in _COLOURS:
        if samples != 3 or representation or allocated > 16:
            raise PixelError(f"Samples per Pixel or bits do not describe an image in {photometric}.")
    elif not (grey or photometric == "PALETTE COLOR") or samples != 1:
        raise PixelError("there is no way to show its Photometric Interpretation.")
    planar = _whole(dataset, "PlanarConfiguration", 0) if samples > 1 else 0
    if planar not in {0, 1}:
        raise PixelError("Planar Configuration is neither 0 nor 1.")
    return Layout(
        rows=rows, columns=columns, allocated=allocated, stored=stored, signed=representation == 1,
        frames=frame_count(dataset), samples=samples, photometric=photometric, by_plane=planar == 1,
    )  # fmt: skip


def frame_count(dataset: Dataset) -> int:
    """Frames that an image states.

    Raises
    ------
    PixelError
        Not one whole number, or more than :data:`MAX_FRAMES`.
    """
    count = max(1, _whole(dataset, "NumberOfFrames", 1))
    if count > MAX_FRAMES:
        raise PixelError(f"an object of {count} frames is not decoded.")
    return count


def _whole(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """One whole number, or a PixelError that names the attribute."""
    try:
        value = dataset.get(keyword)
        if value is None and default is not None:
            return default
        number = int(value)
        stated = dataset[keyword].VR
    except Exception as error:
        raise PixelError(f"{keyword} is missing or not one whole number.") from error
    # Rows as UL reads as a number too; but software that trusts the standard's two bytes sees another image.
    if stated != dictionary_VR(keyword):
        raise PixelError(f"{keyword} has another value representation than the standard's.")
    return number
