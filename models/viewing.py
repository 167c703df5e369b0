"""A frame as a person looks at it in a browser: 16-bit words that can be windowed there for real, and what they mean.
A colour image comes as it is to be seen, and has no window.

Stored values keep their full range; only what must not be seen (padding, what lies behind a shutter) is made black, and
a large image is made smaller by area averaging. It is for orientation: a diagnosis needs the image itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models import preprocessing
from models.colour import to_rgb
from models.decoding import Picture
from models.header_values import usable_number, values_of
from models.layout import Colour
from models.preprocessing import FALLBACK_PERCENTILES, display_image, pixel_aspect
from models.shutter import shutter_of
from triage.errors import PixelError

MOST_WINDOWS: Final = 8
"""Of one image: scanners write one or two."""
FITTED: Final = "fitted"
"""Name of the window of an image that asks for none, made from its values: not to be taken for one that was sent."""

Words = NDArray[np.uint16]
Rgb = NDArray[np.uint8]
_Frame = TypeVar("_Frame", NDArray[np.uint16], NDArray[np.uint8])


@dataclass(frozen=True, slots=True)
class Window:
    """Centre and width on the scale of the values (PS3.3 C.11.2.1.2), with the name that the scanner gave it."""

    centre: float
    width: float
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Viewable:
    """A frame that a browser can window, or show in its colours.

    Attributes
    ----------
    words : ndarray
        uint16 (rows, columns), no side longer than was asked for; value = word * slope + intercept. Of a colour image
        uint8 (rows, columns, 3), red, green, blue.
    rows, columns : int
        Of the source.
    unit : str
        Of the values: "HU", or "" where they have none.
    inverted : bool
        Small values are white (MONOCHROME1).
    windows : tuple of Window
        The first one is what the image asks for; empty for a colour image only.
    function : str
        What windows are applied by (PS3.3 C.11.2.1.3): "LINEAR", "LINEAR_EXACT" or "SIGMOID".
    aspect : float
        Height of a pixel divided by its width.
    """

    words: Words | Rgb
    rows: int
    columns: int
    slope: float
    intercept: float
    unit: str
    inverted: bool
    windows: tuple[Window, ...]
    aspect: float
    function: preprocessing.VoiFunction = "LINEAR"


def viewable_picture(dataset: Dataset, picture: Picture, longest: int) -> Viewable:
    """Make any frame fit for a browser: :func:`viewable`, or in colours.

    Parameters
    ----------
    dataset : Dataset
        Header of the frame, as :func:`models.functional_groups.header_of` gives it.
    """
    if picture.colour is Colour.GREY:
        return viewable(dataset, picture.samples, longest)
    shown = to_rgb(dataset, picture)
    seen = shown.copy()
    shutter_of(dataset, *shown.shape[:2], pixel_aspect=pixel_aspect(dataset)).blank(seen)
    return Viewable(
        words=_fitted(seen, longest),
        rows=shown.shape[0],
        columns=shown.shape[1],
        slope=1.0,
        intercept=0.0,
        unit="",
        inverted=False,
        windows=(),
        aspect=pixel_aspect(dataset),
    )


def viewable(dataset: Dataset, pixels: NDArray[Any], longest: int) -> Viewable:
    """Make a frame fit for a browser.

    Parameters
    ----------
    dataset : Dataset
        Header of the image; nothing is read from its Pixel Data.
    pixels : ndarray
        Stored values (rows, columns), integer, as :func:`models.decoding.decode` gives them.
    longest : int
        Longest side of the words, pixels.

    Raises
    ------
    PixelError
        Not one grey frame, or a Modality LUT that means nothing.
    """
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise PixelError(f"expected one frame of integer pixels, not {pixels.dtype} {pixels.shape}.")
    preprocessing.check_rescale(dataset)
    if pixels.dtype.itemsize > 2 or preprocessing.voi_lut_curve(dataset) is not None:
        # A table says how it is to be seen: what it makes of the values is what can be windowed.
        words = np.rint(display_image(dataset, pixels) * np.float32(65535)).astype(np.uint16)
        slope, intercept, unit, inverted = 100 / 65535, 0.0, "", False
        function: preprocessing.VoiFunction = "LINEAR"
        windows: tuple[Window, ...] = (Window(50.5, 101.0, "as displayed"),)
    else:
        inverted, function = preprocessing.is_inverted(dataset), preprocessing.voi_function(dataset)
        words, slope, intercept = _words(dataset, pixels)
        hidden = _hidden(dataset, pixels)
        seen = words if hidden is None else words[~hidden]
        unit = _unit(dataset)
        windows = tuple(_windows(dataset)) or (_window_of(seen, slope, intercept),)
        if hidden is not None and seen.size:
            words[hidden] = seen.max() if inverted is (slope > 0) else seen.min()
    return Viewable(
        words=_fitted(words, longest),
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        slope=slope,
        intercept=intercept,
        unit=unit,
        inverted=inverted,
        windows=windows,
        function=function,
        aspect=pixel_aspect(dataset),
    )


def _words(dataset: Dataset, pixels: NDArray[Any]) -> tuple[Words, float, float]:
    """Values from 0 upwards, with slope and intercept back to the modality's values."""
    if values_of(dataset, "ModalityLUTSequence"):
        values = np.rint(preprocessing.modality_values(dataset, pixels)).astype(np.int64)
        slope, intercept = 1.0, 0.0
    else:
        values = pixels.astype(np.int32)
        slope = _number(dataset, "RescaleSlope", 1.0)
        intercept = _number(dataset, "RescaleIntercept", 0.0)
    lowest = int(values.min())
    values -= lowest
    if int(values.max()) > 65535:
        raise PixelError("the values do not fit 16 bits.")
    return values.astype(np.uint16), slope, intercept + slope * lowest


def _hidden(dataset: Dataset, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Padding and what lies outside a shutter; None where nothing is hidden."""
    padding = preprocessing.padding_range(dataset, pixels)
    seen = np.ones(pixels.shape, np.bool_)
    shutter_of(dataset, *pixels.shape, pixel_aspect=pixel_aspect(dataset)).blank(seen)
    if padding is not None:
        seen &= (pixels < padding[0]) | (pixels > padding[1])
    return None if seen.all() else ~seen


def _windows(dataset: Dataset) -> Iterator[Window]:
    centres = values_of(dataset, "WindowCenter")
    widths = values_of(dataset, "WindowWidth")
    names = [str(name).strip() for name in values_of(dataset, "WindowCenterWidthExplanation")]
    for index, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        middle, extent = usable_number(centre), usable_number(width)
        if index < MOST_WINDOWS and middle is not None and extent is not None and extent > 0:
            yield Window(middle, extent, names[index][:64] if index < len(names) else "")


def _window_of(seen: Words, slope: float, intercept: float) -> Window:
    """From the image's own values, for one that asks for no window."""
    if not seen.size:
        return Window(0.5, 1.0, FITTED)
    low, high = sorted(float(p) * slope + intercept for p in np.percentile(seen, FALLBACK_PERCENTILES))
    return Window((low + high) / 2, max(high - low, abs(slope)) + 1.0, FITTED)


def _unit(dataset: Dataset) -> str:
    stated = str(dataset.get("RescaleType") or "").strip().upper()
    if not stated and str(dataset.get("Modality") or "").strip().upper() == "CT":
        return "HU"
    return "HU" if stated == "HU" else ""


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    stated = values_of(dataset, keyword)
    number = usable_number(stated[0]) if stated else None
    return default if number is None else number


def _fitted(words: _Frame, longest: int) -> _Frame:
    rows, columns = words.shape[:2]
    if max(rows, columns) <= longest:
        return words
    scale = longest / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    return cast("_Frame", cv2.resize(words, size, interpolation=cv2.INTER_AREA))
