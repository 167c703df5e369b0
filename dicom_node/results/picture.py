"""The picture that goes with a report: the radiograph, where the network looked, and what it says, in one frame.

The image untouched where the network did not look; the legend beside it, or below a wide one, covers no anatomy and no
side marker. Without a positive finding there is no colour at all: colour means "look here".

The colours run from dark orange to yellow, growing lighter, and outlines are light blue: that is what readers of any
colour vision tell apart from grey and from each other. The usual maps (inferno, viridis, cividis) pass from blue to
yellow through a tone that is grey to protanopes and deuteranopes, who at half activation would see no overlay. Every
meaning of colour stands in words too.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.results.common import failures_named
from dicom_node.results.legend import BACKGROUND, Legend, outlined
from triage.errors import ResultError
from triage.findings import Algorithm, Finding, ImageResult

Rgb = npt.NDArray[np.uint8]

LEGEND_SHARE = 0.36
"""Of the picture's long side, for a legend beside the image: a finding has one line, in letters a phone still shows."""
_VISIBLE_FROM = 0.25
"""Activation below it leaves the image untouched: a class activation map is never zero anywhere."""
_STRONGEST = 0.38
"""Opacity at full activation: a pleural line, or the letter of a side marker, must stay visible underneath."""
_COLOURS = ((200, 70, 0), (255, 120, 0), (255, 200, 0))
"""From no to full activation, RGB."""
_MIDDLE_GREY = 112
_OUTLINE, _HALO = (110, 231, 255), (0, 0, 0)
_CORNER = 0.2
"""Share of each side that may hold a side marker: no number is written there."""


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
    _check(display, activation)
    with failures_named("The picture", cv2.error):
        colours = _bar() if _coloured(activation, marked) else None
        legend = Legend(image, algorithm, marked, colours, long_side / 1024)
        width = long_side - round(long_side * LEGEND_SHARE)
        if display.shape[1] > display.shape[0]:
            foot = legend.below(long_side)
            height = max(1, long_side - foot.shape[0])
            if _fit(display, long_side, height) > _fit(display, width, long_side):
                shown = draw_overlay(display, activation, image, marked=marked, width=long_side, height=height)
                return _above(shown, foot)
        shown = draw_overlay(display, activation, image, marked=marked, width=width, height=long_side)
        return _side_by_side(shown, legend.beside(long_side - width, shown.shape[0], long_side))


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
    _check(display, activation)
    with failures_named("The picture", cv2.error):
        rows, columns = display.shape
        scale = _fit(display, width, height)
        size = max(1, round(columns * scale)), max(1, round(rows * scale))
        shown = _overlay(_grey(display, size), activation if _coloured(activation, marked) else None)
        _draw_outlines(shown, image, marked, (size[0] / columns, size[1] / rows))
        return shown


def _check(display: npt.NDArray[np.float32], activation: npt.NDArray[np.float32] | None) -> None:
    if display.ndim != 2 or not display.size or (activation is not None and activation.ndim != 2):
        raise ResultError("A picture needs an image and an activation map of two dimensions.")


def _fit(display: npt.NDArray[np.float32], width: int, height: int) -> float:
    """The factor that makes the image as large as fits."""
    rows, columns = display.shape
    return float(min(width / columns, height / rows))


def _coloured(activation: npt.NDArray[np.float32] | None, marked: Finding | None) -> bool:
    return marked is not None and marked.positive and activation is not None


@cache
def palette() -> Rgb:
    """256 colours from no to full activation, shape (256, 3), RGB."""
    at = np.linspace(0, len(_COLOURS) - 1, 256)
    channels = [np.interp(at, range(len(_COLOURS)), channel) for channel in zip(*_COLOURS, strict=True)]
    colours = np.stack(channels, axis=-1).round().astype(np.uint8)
    colours.setflags(write=False)
    return colours


def opacity(activation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How much of the colour covers the image, by activation: nothing below a quarter, then rising smoothly."""
    rise = np.clip((activation - _VISIBLE_FROM) / (1 - _VISIBLE_FROM), 0, 1)
    result: npt.NDArray[np.float32] = (_STRONGEST * rise * (2 - rise)).astype(np.float32)
    return result


@cache
def _bar() -> Rgb:
    """The colours from no to full activation as they look over a middle grey, (256, 3): what the legend shows."""
    grey = np.full((1, 256), _MIDDLE_GREY, np.uint8)
    colours: Rgb = _overlay(grey, np.linspace(0, 1, 256, dtype=np.float32)[None])[0]
    colours.setflags(write=False)
    return colours


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

    The marked one is thicker; numbers, as in the legend, where there are several: above all outlines.
    """
    numbers: list[tuple[str, tuple[int, int]]] = []
    for finding, number in outlined(image):
        outline = finding.region.outline if finding.region is not None else ()
        # Coordinates in 1/16 pixel; the centre of a pixel is at +0.5 in DICOM and at 0 in OpenCV.
        points = ((np.array(outline) * scale - 0.5) * 16).round().astype(np.int32)
        thickness = 3 if finding == marked else 2
        for colour, width in ((_HALO, thickness + 3), (_OUTLINE, thickness)):
            cv2.polylines(shown, [points.reshape(-1, 1, 2)], True, colour, width, cv2.LINE_AA, 4)
        if number:
            numbers.append((str(number), _number_place(points // 16, shown.shape[:2])))
    for text, at in numbers:
        for colour, width in ((_HALO, 7), (_OUTLINE, 2)):
            cv2.putText(shown, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, width, cv2.LINE_AA)


def _number_place(points: npt.NDArray[np.int32], shape: tuple[int, int]) -> tuple[int, int]:
    """Where an outline's number begins (x, baseline): above it, below or beside, and in no corner."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    middle = points.mean(axis=0)
    rows, columns = shape
    over, under = points[points[:, 1].argmin(), 0], points[points[:, 1].argmax(), 0]
    corner = columns * _CORNER + 14
    centres = (
        (over, top - 18), (under, bottom + 18), (left - 16, middle[1]), (right + 16, middle[1]),
        (corner if middle[0] < columns / 2 else columns - corner, middle[1]),
    )  # fmt: skip
    inside = [(x, y) for x, y in centres if 12 <= x < columns - 12 and 14 <= y < rows - 14]
    free = [(x, y) for x, y in inside if not (_near_edge(x, columns) and _near_edge(y, rows))]
    x, y = next(iter(free or inside), (min(max(over, 12), columns - 12), min(max(top, 14), rows - 14)))
    return int(x) - 8, int(y) + 9


def _near_edge(position: float, length: int) -> bool:
    return min(position, length - position) < _CORNER * length


def _side_by_side(shown: Rgb, legend: Rgb) -> Rgb:
    """Image and legend; a legend that needs more height gets it, above and below the image."""
    missing = legend.shape[0] - shown.shape[0]
    if missing:
        above = missing // 2
        shown = np.pad(shown, ((above, missing - above), (0, 0), (0, 0)))
    return np.hstack((shown, legend))


def _above(shown: Rgb, legend: Rgb) -> Rgb:
    """Image over legend; an image that is narrower stands in the middle, on the legend's ground."""
    missing = legend.shape[1] - shown.shape[1]
    sides = [
        np.full((shown.shape[0], width, 3), BACKGROUND, np.uint8) for width in (missing // 2, missing - missing // 2)
    ]
    return np.vstack((np.hstack((sides[0], shown, sides[1])), legend))
