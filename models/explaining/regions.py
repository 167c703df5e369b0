"""What a map marks, outlined on the source image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.explaining.activation import Float32
from models.explaining.placing import upscale
from models.preprocessing import Placement
from triage.findings import Region

REGION_LEVEL = 0.5
"""A region is where the map reaches this share of its maximum."""
SMALLEST_SHARE = 5e-4
"""Of the image's area: a spot of less than 1 cm x 1 cm on a chest of 43 cm x 43 cm is the noise of a fine map."""

_SIMPLIFY = 0.004
"""Tolerance of the polygon, as a share of the longer side of the matrix it is drawn on."""


def region(
    cam: Float32, placement: Placement, *, level: float = REGION_LEVEL, longest_side: int = 512
) -> Region | None:
    """The first of :func:`regions`: the part around the map's peak. None where the map marks nothing in the image."""
    return next(iter(regions(cam, placement, level=level, longest_side=longest_side, most=1)), None)


def regions(
    cam: Float32,
    placement: Placement,
    *,
    level: float = REGION_LEVEL,
    smallest: float = SMALLEST_SHARE,
    longest_side: int = 512,
    most: int = 8,
) -> tuple[Region, ...]:
    """Outline the parts that a map marks.

    The map is laid over the source image (:func:`~models.explaining.placing.upscale`, at most ``longest_side`` pixels)
    and cut at ``level`` of its maximum there. Each connected part (4-neighbours) that is large enough is outlined along
    its outer edge and simplified; a hole in it is not cut out.

    Parameters
    ----------
    cam : ndarray
        float32 (h, w) >= 0, spanning the whole network input.
    level : float
        In (0, 1].
    smallest : float
        Share of the image's area that a part must cover; smaller ones are noise and left out.
    most : int
        At most so many regions.

    Returns
    -------
    tuple of Region
        On the source's own matrix, the one with the highest peak first. Empty where the map is zero all over the image
        or marks nothing large enough.
    """
    shrink = min(1.0, longest_side / max(placement.rows, placement.columns))
    rows, columns = max(1, round(placement.rows * shrink)), max(1, round(placement.columns * shrink))
    laid = upscale(cam, placement, rows, columns)
    highest = float(laid.max())
    if highest <= 0.0:
        return ()
    marked = (laid >= level * highest).astype(np.uint8)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(marked, connectivity=4)
    large = np.flatnonzero(boxes[:, cv2.CC_STAT_AREA] >= smallest * rows * columns)
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, labels.ravel(), laid.ravel())
    found = sorted((label for label in large if label != 0), key=lambda label: -peaks[label])[:most]
    scale = placement.columns / columns, placement.rows / rows
    return tuple(_outlined(np.where(labels == label, laid, np.float32(-1)), placement, scale) for label in found)


def _outlined(part: Float32, placement: Placement, scale: tuple[float, float]) -> Region:
    """One connected part: the map where it lies, negative elsewhere."""
    row, column = np.unravel_index(int(np.argmax(part)), part.shape)
    outline = tuple(
        (min(x * scale[0], float(placement.columns)), min(y * scale[1], float(placement.rows)))
        for x, y in _outline((part >= 0).astype(np.uint8))
    )
    return Region(outline=outline, peak=((float(column) + 0.5) * scale[0], (float(row) + 0.5) * scale[1]))


def _outline(part: NDArray[np.uint8]) -> tuple[tuple[float, float], ...]:
    """Closed polygon (column, row) along the outer edges of the pixels of ``part``."""
    # findContours runs through pixel centres. On a doubled grid it runs through the halves that lie at the edge:
    # even coordinates are left or upper edges (2c → c), odd ones right or lower edges (2c + 1 → c + 1).
    rows, columns = part.shape
    doubled = cv2.resize(part, (2 * columns, 2 * rows), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    simple = cv2.approxPolyDP(contour, _SIMPLIFY * 2 * max(rows, columns), closed=True)
    points = (simple if len(simple) >= 3 else contour).reshape(-1, 2)
    edges = ((points + 1) // 2).tolist()
    if len({tuple(edge) for edge in edges}) < 3:
        (left, top), (right, bottom) = np.min(edges, axis=0), np.max(edges, axis=0)
        edges = [[left, top], [right, top], [right, bottom], [left, bottom]]
    polygon = tuple((float(column), float(row)) for column, row in edges)
    return (*polygon, polygon[0])
