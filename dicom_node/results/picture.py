"""The picture that goes with a report: the radiograph, where the network looked, and what it says, in one frame.

Left the image, untouched where the network did not look; right a legend that covers no anatomy and no side marker.
Without a positive finding there is no colour at all: colour means "look here". The palette is inferno, whose lightness
rises evenly and which readers with any colour vision can order; every meaning of colour stands in words too.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.results.common import failures_named
from dicom_node.results.legend import draw_legend, outlined
from triage.errors import ResultError
from triage.findings import Algorithm, Finding, ImageResult

Rgb = npt.NDArray[np.uint8]

LEGEND_SHARE = 0.32
"""Of the picture's long side: 328 of 1024 pixels hold 24 letters at a size that a phone still shows."""
_VISIBLE_FROM = 0.25
"""Activation below it leaves the image untouched: a class activation map is never zero anywhere."""
_STRONGEST = 0.38
"""Opacity at full activation: a pleural line must stay visible underneath."""
_DARKEST, _LIGHTEST = 60, 215
"""Colours of inferno used, of 256: the black end would read as lung, the white end as bone."""
_OUTLINE, _HALO = (110, 231, 255), (0, 0, 0)


def compose_heat_map(
    display: npt.NDArray[np.float32],
    activation: npt.NDArray[np.float32] | None,
    image: ImageResult,
    algorithm: Algorithm,
    *,
    marked: Finding | None,
    long_side: int = 1024,
) -> Rgb:
    """Compose the picture of one analysed image.

    Parameters
    ----------
    display : ndarray of float32, shape (H, W), range [0, 1]
        The image as it is shown, 1 is white, on the source's pixel matrix: regions are drawn in its coordinates.
    activation : ndarray of float32, shape (h, w), range [0, 1], or None
        Activation map of ``marked`` over the whole image, of any size.
    marked : Finding or None
        The positive finding that the colours explain; None draws no colour.
    long_side : int
        Longest side of the picture in pixels, legend included; a legend that does not fit makes it higher.

    Returns
    -------
    ndarray of uint8, shape (h', w', 3)
        RGB.

    Raises
    ------
    ResultError
        The arrays are not of the shapes above.
    """
    legend_width = round(long_side * LEGEND_SHARE)
    shown = draw_overlay(display, activation, image, marked=marked, width=long_side - legend_width, height=long_side)
    with failures_named("The picture", cv2.error):
        legend = draw_legend(
            image, algorithm, marked=marked, palette=palette() if _coloured(activation, marked) else None,
            width=legend_width, height=shown.shape[0], unit=long_side / 1024,
        )  # fmt: skip
        return _side_by_side(shown, legend)


def draw_overlay(
    display: npt.NDArray[np.float32],
    activation: npt.NDArray[np.float32] | None,
    image: ImageResult,
    *,
    marked: Finding | None,
    width: int,
    height: int,
) -> Rgb:
    """The image with colours and outlines and nothing beside it, as large as fits into ``width`` and ``height``.

    Parameters and errors as of :func:`compose_heat_map`.

    Returns
    -------
    ndarray of uint8, shape (h', w', 3)
        RGB, in the image's own proportions.
    """
    if display.ndim != 2 or not display.size or (activation is not None and activation.ndim != 2):
        raise ResultError("A picture needs an image and an activation map of two dimensions.")
    with failures_named("The picture", cv2.error):
        rows, columns = display.shape
        scale = min(width / columns, height / rows)
        size = max(1, round(columns * scale)), max(1, round(rows * scale))
        shown = _overlay(_grey(display, size), activation if _coloured(activation, marked) else None)
        _draw_outlines(shown, image, marked, (size[0] / columns, size[1] / rows))
        return shown


def _coloured(activation: npt.NDArray[np.float32] | None, marked: Finding | None) -> bool:
    return marked is not None and marked.positive and activation is not None


@cache
def palette() -> Rgb:
    """256 colours from no to full activation, shape (256, 3), RGB."""
    levels = np.linspace(_DARKEST, _LIGHTEST, 256).round().astype(np.uint8)
    colours = np.array(cv2.applyColorMap(levels[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1], np.uint8)
    colours.setflags(write=False)
    return colours


def opacity(activation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How much of the colour covers the image, by activation: nothing below a quarter, then rising smoothly."""
    rise = np.clip((activation - _VISIBLE_FROM) / (1 - _VISIBLE_FROM), 0, 1)
    result: npt.NDArray[np.float32] = (_STRONGEST * rise * (2 - rise)).astype(np.float32)
    return result


@cache
def _blend_tables() -> tuple[Rgb, Rgb]:
    """For each of 256 activations: the share of grey that stays, shape (256,), and the colour added, (1, 256, 3)."""
    alpha = opacity(np.linspace(0, 1, 256, dtype=np.float32))
    stays, added = (1 - alpha) * 255, palette() * alpha[:, None]
    return stays.round().astype(np.uint8), added.round().astype(np.uint8)[None]


def _grey(display: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The image at the size it is shown, (h, w) uint8; area averaging when it shrinks, so that no line is lost.

    Halving first is three times as fast on a full radiograph; an odd last row or column is left out for it.
    """
    rows, columns = display.shape[0] // 2, display.shape[1] // 2
    if columns >= size[0] and rows >= size[1]:
        display = cv2.resize(display[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
    shrinks = display.shape[1] >= size[0]
    return _bytes(cv2.resize(display, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


def _overlay(grey: npt.NDArray[np.uint8], activation: npt.NDArray[np.float32] | None) -> Rgb:
    """The grey image with the activation, if any, in colour over it, (h, w, 3)."""
    if activation is None:
        return np.asarray(cv2.merge((grey, grey, grey)), np.uint8)
    levels = cv2.resize(_bytes(activation), grey.shape[::-1], interpolation=cv2.INTER_CUBIC)
    stays, added = _blend_tables()
    kept = cv2.multiply(grey, cv2.LUT(levels, stays), scale=1 / 255)
    colours = cv2.LUT(cv2.merge((levels, levels, levels)), added)
    return np.asarray(cv2.add(cv2.merge((kept, kept, kept)), colours), np.uint8)


def _bytes(unit: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Values from 0 to 1 as 0 to 255; what is not a number is black."""
    values = np.asarray(unit, np.float32)
    if not np.isfinite(values.sum()):
        values = np.nan_to_num(values, posinf=1.0)
    return np.asarray(cv2.convertScaleAbs(np.clip(values, 0, 1), alpha=255), np.uint8)


def _draw_outlines(shown: Rgb, image: ImageResult, marked: Finding | None, scale: tuple[float, float]) -> None:
    """Every region's outline in light blue with a dark rim, visible on bone, on lung and on the colours.

    The marked one is thicker; numbers, as in the legend, where there are several.
    """
    for finding, number in outlined(image):
        outline = finding.region.outline if finding.region is not None else ()
        # Coordinates in 1/16 pixel; the centre of a pixel is at +0.5 in DICOM and at 0 in OpenCV.
        points = ((np.array(outline) * scale - 0.5) * 16).round().astype(np.int32)
        thickness = 2 if finding == marked else 1
        for colour, width in ((_HALO, thickness + 3), (_OUTLINE, thickness)):
            cv2.polylines(shown, [points.reshape(-1, 1, 2)], True, colour, width, cv2.LINE_AA, 4)
        if number:
            top = points[points[:, 1].argmin()] // 16
            at = min(max(int(top[0]) - 8, 2), shown.shape[1] - 20), max(int(top[1]) - 8, 24)
            for colour, width in ((_HALO, 6), (_OUTLINE, 2)):
                cv2.putText(shown, str(number), at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, colour, width, cv2.LINE_AA)


def _side_by_side(shown: Rgb, legend: Rgb) -> Rgb:
    """Image and legend; a legend that needs more height gets it, above and below the image."""
    missing = legend.shape[0] - shown.shape[0]
    if missing:
        above = missing // 2
        shown = np.pad(shown, ((above, missing - above), (0, 0), (0, 0)))
    return np.hstack((shown, legend))
