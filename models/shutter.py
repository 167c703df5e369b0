"""What a Display Shutter leaves to be seen (PS3.3 C.7.6.11): a rectangle, a circle, a polygon, or what they share.

Rows and columns count from 1; edges and vertices themselves still belong to the image. A shape that makes no sense
(edges crossed, no radius, fewer than three corners), and shapes that leave nothing, hide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.header_values import usable_number, values_of

_FAR: Final = 1 << 15
"""Pixels: corners further away than any image is large are moved here; OpenCV counts in 32 bits with a fraction."""
_EDGES: Final = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)

Box = tuple[slice, slice]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Shutter:
    """The part of an image that is to be seen.

    Attributes
    ----------
    box : (slice, slice)
        Rows and columns outside which nothing is seen.
    mask : ndarray or None
        bool (rows, columns) of the whole image, True where it is seen; None where all of the box is.
    """

    box: Box
    mask: Mask | None = None

    def blank(self, image: NDArray[Any]) -> None:
        """Make what is not seen of (rows, columns, …) zero, in place."""
        rows, columns = self.box
        image[: rows.start] = 0
        image[rows.stop :] = 0
        image[:, : columns.start] = 0
        image[:, columns.stop :] = 0
        if self.mask is not None:
            image[~self.mask] = 0

    def seen(self, image: NDArray[Any], step: int = 1) -> NDArray[Any]:
        """What is seen of (rows, columns), every ``step``-th row and column of it, flat."""
        rows, columns = self.box
        thinned = slice(rows.start, rows.stop, step), slice(columns.start, columns.stop, step)
        values = image[thinned]
        return values.ravel() if self.mask is None else values[self.mask[thinned]]


def shutter_of(dataset: Dataset, rows: int, columns: int, *, pixel_aspect: float = 1.0) -> Shutter:
    """The shutter of an image of so many rows and columns.

    Parameters
    ----------
    pixel_aspect : float
        Height of a pixel divided by its width: a circle's radius is in pixels along a row.
    """
    whole = slice(0, rows), slice(0, columns)
    shapes = {str(value).strip().upper() for value in values_of(dataset, "ShutterShape")}
    box = (_rectangle(dataset, rows, columns) if "RECTANGULAR" in shapes else None) or whole
    masks = [
        made
        for shape, draw in _DRAWN.items()
        if shape in shapes and (made := draw(dataset, rows, columns, pixel_aspect)) is not None
    ]
    if not masks:
        return Shutter(box)
    mask = np.logical_and.reduce(masks)
    # Nothing left: the shapes contradict each other or lie beside the image.
    return Shutter(box, mask) if mask[box].any() else Shutter(whole)


def _rectangle(dataset: Dataset, rows: int, columns: int) -> Box | None:
    edges = [usable_number(next(iter(values_of(dataset, keyword)), None)) for keyword in _EDGES]
    if any(edge is None for edge in edges):
        return None
    upper, lower, left, right = (int(edge) for edge in edges if edge is not None)
    inside = slice(max(0, upper - 1), min(rows, lower)), slice(max(0, left - 1), min(columns, right))
    empty = inside[0].start >= inside[0].stop or inside[1].start >= inside[1].stop
    return None if empty else inside


def _circle(dataset: Dataset, rows: int, columns: int, pixel_aspect: float) -> Mask | None:
    centre = [usable_number(value) for value in values_of(dataset, "CenterOfCircularShutter")]
    radius = usable_number(next(iter(values_of(dataset, "RadiusOfCircularShutter")), None))
    if len(centre) != 2 or centre[0] is None or centre[1] is None or radius is None or radius <= 0:
        return None
    down = (np.arange(1, rows + 1) - centre[0]) * pixel_aspect
    across = np.arange(1, columns + 1) - centre[1]
    mask: Mask = down[:, None] ** 2 + across**2 <= radius**2
    return mask if mask.any() else None


def _polygon(dataset: Dataset, rows: int, columns: int, _: float) -> Mask | None:
    numbers = [usable_number(value) for value in values_of(dataset, "VerticesOfThePolygonalShutter")]
    if len(numbers) < 6 or len(numbers) % 2 or None in numbers:
        return None
    corners = np.clip(np.array(numbers, dtype=np.float64).reshape(-1, 2) - 1, -_FAR, _FAR)
    points = np.rint(corners[:, ::-1]).astype(np.int32)  # row, column → x, y
    if cv2.contourArea(points) <= 0:
        return None
    drawn = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(drawn, [points], 1)
    return drawn.astype(np.bool_) if drawn.any() else None


_DRAWN: Final[Mapping[str, Callable[[Dataset, int, int, float], Mask | None]]] = {
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}
