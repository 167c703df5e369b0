"""From the stored values of a CT slice to Hounsfield units, windows and the network's input.

stored values → HU (PS3.3 C.11.1.1.2; padding is air) → one picture per window → letterbox by area averaging →
(display - mean) / std → neighbours of the slab stacked. The same functions serve training and the workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.metadata import InputSpec, SeriesSpec, WindowSpec
from models.placement import Placement
from triage.errors import PixelError

AIR = -1024.0
"""HU of what is no image."""
_SOFT, _SOFT_SHARE = (-20.0, 120.0), 0.1
"""HU of soft tissue, and how much of the middle of a slice through a body has them at least."""

SERIES_VERSION = "1"
"""Changes whenever the same files would give the network other numbers."""

Float32 = NDArray[np.float32]


def hounsfield(dataset: Dataset, pixels: NDArray[Any]) -> Float32:
    """HU of a slice.

    Parameters
    ----------
    dataset : Dataset
        Its header; nothing is read from Pixel Data.
    pixels : ndarray
        Stored values (rows, columns), integer, as :func:`models.decoding.decode` gives them.

    Returns
    -------
    ndarray
        float32 (rows, columns); padding is :data:`AIR`.

    Raises
    ------
    PixelError
        Rescale Slope or Intercept is missing or not usable, or the values are said not to be HU: a number that is only
        nearly one makes a score that is only nearly right.
    """
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise PixelError(f"expected one frame of integer pixels, not {pixels.dtype} {pixels.shape}.")
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if not slope or intercept is None:
        raise PixelError("Rescale Slope or Rescale Intercept is missing or not a usable number.")
    kind = str(dataset.get("RescaleType") or "HU").strip().upper()
    if kind != "HU":
        raise PixelError("Rescale Type is not HU.")
    hu = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    padding = _padding(dataset, pixels)
    if padding is not None:
        hu[(pixels >= padding[0]) & (pixels <= padding[1])] = AIR
    return hu


def windowed(hu: Float32, window: WindowSpec) -> Float32:
    """The picture that a window shows (PS3.3 C.11.2.1.3.2, LINEAR_EXACT): float32 in [0, 1], same shape."""
    shown = (hu - np.float32(window.centre - window.width / 2)) * np.float32(1 / window.width)
    return np.clip(shown, 0.0, 1.0, out=shown)


def slice_input(hu: Float32, series: SeriesSpec, spec: InputSpec) -> tuple[Float32, Placement]:
    """One slice in all windows, fitted into the network's input.

    Returns
    -------
    image : ndarray
        float32 (windows, height, width), (display - mean) / std; the letterbox is black.
    placement : Placement
        Where the slice lies in it. CT pixels are square (PS3.3 C.7.6.2 knows others; :mod:`models.ct.geometry` refuses
        them).
    """
    placement = Placement.letterbox(hu.shape[0], hu.shape[1], spec)
    height, width = placement.fitted
    shrinks = placement.scale_row <= 1.0
    shown = cv2.merge([windowed(hu, window) for window in series.windows])
    fitted = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    image = np.zeros((len(series.windows), spec.height, spec.width), dtype=np.float32)
    top, left = placement.offset_row, placement.offset_column
    image[:, top : top + height, left : left + width] = fitted.reshape(height, width, -1).transpose(2, 0, 1)
    image -= np.float32(spec.mean)
    image /= np.float32(spec.std)
    return image, placement


def slab_input(slices: Sequence[Float32], middle: int, series: SeriesSpec) -> Float32:
    """What the network sees of one slice: its neighbours from below to above, each in all windows.

    Parameters
    ----------
    slices : sequence of ndarray
        :func:`slice_input` of a series in order.
    middle : int
        Index of the slice; beyond the ends the last one repeats.

    Returns
    -------
    ndarray
        float32 (slab x windows, height, width).
    """
    reach = series.slab // 2
    chosen = [slices[min(max(n, 0), len(slices) - 1)] for n in range(middle - reach, middle + reach + 1)]
    return chosen[0] if len(chosen) == 1 else np.concatenate(chosen)


def like_a_body(hu: Float32) -> bool:
    """Whether there is soft tissue in the middle of a slice, as there must be where HU are what they should be."""
    rows, columns = hu.shape
    step = max(1, min(rows, columns) // 128)
    middle = hu[rows // 4 : rows - rows // 4 : step, columns // 4 : columns - columns // 4 : step]
    return float(np.mean((middle > _SOFT[0]) & (middle < _SOFT[1]))) >= _SOFT_SHARE


def series_parameters(series: SeriesSpec) -> str:
    """What makes a score of a series reproducible, in one line for reports."""
    windows = " ".join(f"{window.centre:g}/{window.width:g}" for window in series.windows)
    return f"series={SERIES_VERSION} windows {windows} slab {series.slab} top {series.top}"


def _number(dataset: Dataset, keyword: str) -> float | None:
    try:
        number = float(dataset.get(keyword))
    except (ValueError, TypeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _padding(dataset: Dataset, pixels: NDArray[Any]) -> tuple[int, int] | None:
    """Stored values that are padding (PS3.3 C.7.5.1.1.2), smallest and largest."""
    first = _stored(dataset, "PixelPaddingValue", pixels)
    if first is None:
        return None
    last = _stored(dataset, "PixelPaddingRangeLimit", pixels)
    return (first, first) if last is None else (min(first, last), max(first, last))


def _stored(dataset: Dataset, keyword: str, pixels: NDArray[Any]) -> int | None:
    number = _number(dataset, keyword)
    if number is None:
        return None
    # Written as US where it should be SS (or the other way round), it means the same bits.
    bits = 8 * pixels.dtype.itemsize
    value = int(number) % (1 << bits)
    return value - (1 << bits) if pixels.dtype.kind == "i" and value >= 1 << (bits - 1) else value
