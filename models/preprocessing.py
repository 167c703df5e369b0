"""From stored pixel values to the network's input, one rule for every image.

stored values → Modality LUT (PS3.3 C.11.1) → VOI LUT (C.11.2) → presentation sense (C.11.6) → padding and
shutter blanked → fitted by area averaging → normalised (:class:`~models.metadata.InputSpec`)

Every grey-scale step is a function of the stored value alone. For images of up to 16 bits the chain is
therefore computed once for the 2^16 possible values and applied as one table look-up. Tests hold it against
pydicom's ``apply_modality_lut`` and ``apply_voi_lut``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.header_values import usable_number, values_of
from models.lookup import LookupTable
from models.metadata import InputSpec
from models.placement import Placement
from models.resampling import shrink
from models.shutter import Shutter, shutter_of
from triage.errors import PixelError

__all__ = [
    "FALLBACK_PERCENTILES",
    "PREPROCESSING_VERSION",
    "Float32",
    "Placement",
    "display_from_png",
    "display_image",
    "network_input",
    "normalise",
    "pixel_aspect",
    "unlike_an_image",
]

PREPROCESSING_VERSION = "2"
"""Changes whenever the same file would give the network other numbers."""

FALLBACK_PERCENTILES = (0.5, 99.5)
"""The window where the header gives none that can be used, in per cent of the image's own values."""

Float32 = NDArray[np.float32]
_Float = TypeVar("_Float", np.float32, np.float64)
VoiFunction: TypeAlias = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
_Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def display_image(dataset: Dataset, pixels: NDArray[Any]) -> Float32:
    """The picture a radiologist would see.

    Parameters
    ----------
    dataset : Dataset
        Header of the image; nothing is read from its Pixel Data.
    pixels : ndarray
        Stored values (rows, columns), integer, as :func:`models.decoding.decode` gives them.

    Returns
    -------
    ndarray
        float32 (rows, columns) in [0, 1]; 0 is black and 1 is white whatever the source's sense.

    Raises
    ------
    PixelError
        Not one grey frame, a Modality LUT that means nothing (RescaleSlope 0 or not a number), or such a window.
    """
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise PixelError(f"expected one frame of integer pixels, not {pixels.dtype} {pixels.shape}.")
    check_rescale(dataset)
    padding = padding_range(dataset, pixels)
    shutter = shutter_of(dataset, *pixels.shape, pixel_aspect=pixel_aspect(dataset))

    def grey(stored: NDArray[Any], curve: _Curve) -> Float32:
        display = np.clip(curve(modality_values(dataset, stored)), 0.0, 1.0)
        if is_inverted(dataset):
            display = 1.0 - display
        if padding is not None:
            display[(stored >= padding[0]) & (stored <= padding[1])] = 0.0
        return display.astype(np.float32)

    curve = _voi_curve(dataset)
    if curve is None:
        curve = _percentile_curve(modality_values(dataset, _meaningful(pixels, padding, shutter)))
    by_value = _look_up if pixels.dtype.itemsize <= 2 else _apply
    display = by_value(pixels, lambda stored: grey(stored, curve))
    shutter.blank(display)
    return display


def display_from_png(array: NDArray[Any]) -> Float32:
    """The same picture from a plain grey image, as if it came in a MONOCHROME2 object without any window.

    Parameters
    ----------
    array : ndarray
        uint8 or uint16 (rows, columns), 0 is black.

    Returns
    -------
    ndarray
        float32 (rows, columns) in [0, 1].
    """
    header = Dataset()
    header.PhotometricInterpretation = "MONOCHROME2"
    return display_image(header, array)


def network_input(display: Float32, spec: InputSpec, *, pixel_aspect: float = 1.0) -> tuple[Float32, Placement]:
    """Fit a picture into the network's input and normalise it.

    Parameters
    ----------
    display : ndarray
        float32 (rows, columns) in [0, 1].
    pixel_aspect : float
        Height of a source pixel divided by its width (:func:`pixel_aspect`).

    Returns
    -------
    image : ndarray
        float32 (channels, height, width) by :func:`normalise`; what the source does not fill is black.
    placement : Placement
        Where the source lies in it.
    """
    placement = Placement.of(display.shape[0], display.shape[1], spec, pixel_aspect=pixel_aspect)
    rows, columns = placement.filled
    size = columns.stop - columns.start, rows.stop - rows.start
    shrinks = placement.scale_row <= 1.0 and placement.scale_column <= 1.0
    image = np.zeros((spec.height, spec.width), dtype=np.float32)
    seen = display[placement.seen]
    image[rows, columns] = shrink(seen, size[1], size[0]) if shrinks else cv2.resize(seen, size)
    return normalise(image, spec), placement


def normalise(display: NDArray[_Float], spec: InputSpec) -> NDArray[_Float]:
    """From display values to what the network was trained on: the one place where it is computed.

    Parameters
    ----------
    display : ndarray
        Floats (..., height, width) in [0, 1], already fitted.

    Returns
    -------
    ndarray
        (..., channels, height, width), same type.
    """
    values = display[..., None, :, :]
    black, white = spec.black_and_white
    if (black, white) != (0.0, 1.0):
        values = values * (white - black) + black
    values = (values - spec.mean) / spec.std
    if spec.channels == 3:
        values = np.repeat(values, 3, axis=-3)
    if spec.channel_mean is not None and spec.channel_std is not None:
        mean, std = (np.asarray(c, dtype=values.dtype)[:, None, None] for c in (spec.channel_mean, spec.channel_std))
        values = (values - mean) / std
    return values


def pixel_aspect(dataset: Dataset) -> float:
    """Height of a pixel divided by its width: PixelAspectRatio, else the spacings; 1 where none is usable."""
    for keyword in ("PixelAspectRatio", "ImagerPixelSpacing", "PixelSpacing"):
        values = [usable_number(value) for value in values_of(dataset, keyword)]
        if len(values) == 2 and values[0] and values[1] and values[0] > 0 and values[1] > 0:
            # PS3.3 10.7.1.3 and C.7.6.3.1.7: vertical first. A ratio beyond 4 is a mistake, not a detector.
            ratio = values[0] / values[1]
            return ratio if 0.25 <= ratio <= 4.0 else 1.0
    return 1.0


def unlike_an_image(display: Float32) -> str | None:
    """Why a picture must not be scored (black, white, constant), or None. Looks at a grid of pixels."""
    step = max(1, min(display.shape) // 128)
    sample = display[::step, ::step]
    if min(display.shape) < 8:
        return "fewer than 8 pixels across"
    if float(sample.max()) - float(sample.min()) < 1e-3 or float(sample.std()) < 0.01:
        return "every pixel has the same value"
    for level, word in ((0.0, "black"), (1.0, "white")):
        if float(np.mean(sample == level)) > 0.98:
            return f"nearly all pixels are {word}"
    return None


# --- grey scale ---


def _look_up(pixels: NDArray[Any], function: Callable[[NDArray[Any]], Float32]) -> Float32:
    """``function`` of every pixel, computed once per possible value."""
    bits = 8 * pixels.dtype.itemsize
    patterns = np.arange(1 << bits, dtype=f"u{pixels.dtype.itemsize}")
    table = function(patterns.view(pixels.dtype.newbyteorder("=")))
    words = pixels.astype(pixels.dtype.newbyteorder("="), copy=False).view(patterns.dtype)
    return np.asarray(cv2.LUT(words, table))  # five times as fast as numpy.take


def _apply(pixels: NDArray[Any], function: Callable[[NDArray[Any]], Float32]) -> Float32:
    return function(pixels)


def modality_values(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.float64]:
    """Output of the Modality LUT (PS3.3 C.11.1).

    Raises
    ------
    PixelError
        Its table cannot be used.
    """
    table = LookupTable.of(dataset, "ModalityLUTSequence")
    if table is not None:
        return table(stored)
    slope, intercept = (
        usable_number(next(iter(values_of(dataset, keyword)), None)) for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    values = stored.astype(np.float64)
    return values if slope is None or intercept is None else values * slope + intercept


def check_rescale(dataset: Dataset) -> None:
    for keyword, forbidden in (("RescaleSlope", 0.0), ("RescaleIntercept", None)):
        values = values_of(dataset, keyword)
        if values and (usable_number(values[0]) is None or usable_number(values[0]) == forbidden):
            raise PixelError(f"{keyword} is not a usable number.")


def _voi_curve(dataset: Dataset) -> _Curve | None:
    """Modality value → display in [0, 1] as the header asks; None where it asks for nothing."""
    return voi_lut_curve(dataset) or _window_curve(dataset)


def voi_lut_curve(dataset: Dataset) -> _Curve | None:
    """The first VOI LUT; None where there is none that can be used."""
    try:
        table = LookupTable.of(dataset, "VOILUTSequence")
    except PixelError:
        return None
    return None if table is None else lambda values: table(values) / table.top


def voi_function(dataset: Dataset) -> VoiFunction:
    """What windows are applied by (PS3.3 C.11.2.1.3); LINEAR where the header says nothing that is known."""
    stated = str(dataset.get("VOILUTFunction") or "").strip().upper()
    return "SIGMOID" if stated == "SIGMOID" else "LINEAR_EXACT" if stated == "LINEAR_EXACT" else "LINEAR"


def _window_curve(dataset: Dataset) -> _Curve | None:
    """The first window, PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    centres, widths = values_of(dataset, "WindowCenter"), values_of(dataset, "WindowWidth")
    if not centres or not widths:
        return None
    centre, width = usable_number(centres[0]), usable_number(widths[0])
    function = voi_function(dataset)
    exact = function != "LINEAR"
    if centre is None or width is None or width <= 0 or (width < 1 and not exact):
        # A window is meant and is broken: what the sender wanted to be seen is not known, and guessing makes a score.
        raise PixelError("Window Center or Window Width is not a usable number.")
    if function == "SIGMOID":
        return lambda x: 1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - centre) / width, -700.0, 700.0)))
    if function == "LINEAR_EXACT":
        return lambda x: (x - centre) / width + 0.5
    if width == 1:
        return lambda x: (x > centre - 0.5).astype(np.float64)
    return lambda x: (x - (centre - 0.5)) / (width - 1.0) + 0.5


def _percentile_curve(values: NDArray[np.float64]) -> _Curve:
    if values.size == 0:
        return np.zeros_like
    low, high = np.percentile(values, FALLBACK_PERCENTILES)
    if high <= low:
        return np.zeros_like
    return lambda x: (x - low) / (high - low)


def is_inverted(dataset: Dataset) -> bool:
    """Whether small values are white. PresentationLUTShape decides alone where present."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    if shape in {"INVERSE", "IDENTITY"}:
        return shape == "INVERSE"
    return str(dataset.get("PhotometricInterpretation") or "").strip().upper() == "MONOCHROME1"


# --- what is not image ---


def padding_range(dataset: Dataset, pixels: NDArray[Any]) -> tuple[int, int] | None:
    """Stored values that are padding (PS3.3 C.7.5.1.1.2), smallest and largest."""
    first = _stored_value(dataset, "PixelPaddingValue", pixels)
    if first is None:
        return None
    last = _stored_value(dataset, "PixelPaddingRangeLimit", pixels)
    return (first, first) if last is None else (min(first, last), max(first, last))


def _stored_value(dataset: Dataset, keyword: str, pixels: NDArray[Any]) -> int | None:
    values = values_of(dataset, keyword)
    number = usable_number(values[0]) if values else None
    if number is None:
        return None
    # Written as US where it should be SS (or the other way round), it means the same bits.
    bits = 8 * pixels.dtype.itemsize
    value = int(number) % (1 << bits)
    return value - (1 << bits) if pixels.dtype.kind == "i" and value >= 1 << (bits - 1) else value


def _meaningful(pixels: NDArray[Any], padding: tuple[int, int] | None, shutter: Shutter) -> NDArray[Any]:
    """Stored values that may set the window, thinned to some 260 000 so that the percentiles cost little."""
    rows, columns = shutter.box
    size = (rows.stop - rows.start) * (columns.stop - columns.start)
    sample = shutter.seen(pixels, max(1, int(math.sqrt(size / (1 << 18)))))
    return sample if padding is None else sample[(sample < padding[0]) | (sample > padding[1])]
