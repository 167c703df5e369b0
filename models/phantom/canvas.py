"""Drawing in millimetres on the detector plane.

Coordinates are (x, y) in mm: x = 0 is the patient's midline, x grows towards the image's right (the patient's left in a
frontal radiograph), y = 0 is the level of the lung apices and y grows towards the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[Any]
"""Vertices (..., 2) in mm, float64."""
Plane = NDArray[Any]
"""One value per pixel, (rows, columns), float32."""
Mask = NDArray[np.bool_]

_SHIFT = 4  # OpenCV draws at 1/16 pixel


@dataclass(frozen=True, slots=True)
class Canvas:
    """The detector: its matrix, and where the patient lies on it.

    Attributes
    ----------
    rows, columns : int
        Matrix in pixels.
    spacing : float
        Pixel pitch in mm, square pixels.
    to_pixels : ndarray (2, 3)
        Affine map from mm to (column, row), pixel centres at integers.
    """

    rows: int
    columns: int
    spacing: float
    to_pixels: NDArray[np.float64]

    def pixels(self, points: Points) -> Points:
        """The points as (column, row)."""
        return points @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]

    def grid(self) -> tuple[Plane, Plane]:
        """x and y in mm of every pixel's centre."""
        inverse = cv2.invertAffineTransform(self.to_pixels).astype(np.float32)
        columns = np.arange(self.columns, dtype=np.float32)[None, :]
        rows = np.arange(self.rows, dtype=np.float32)[:, None]
        x = inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]
        y = inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]
        return x, y

    def fill(self, *outlines: Points) -> NDArray[np.uint8]:
        """The union of closed outlines as coverage 0..255, edges anti-aliased."""
        plane = np.zeros((self.rows, self.columns), np.uint8)
        for outline in outlines:
            cv2.fillPoly(plane, [self._fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
        return plane

    def stroke(self, plane: NDArray[np.uint8], curves: list[Points], width: float, value: float) -> None:
        """Draw open curves of a width in mm onto a plane; later strokes cover earlier ones."""
        thickness = max(1, round(width / self.spacing))
        fixed = [self._fixed(curve) for curve in curves]
        cv2.polylines(plane, fixed, False, int(np.clip(value, 0, 255)), thickness, cv2.LINE_AA, _SHIFT)

    def segments(self, plane: NDArray[np.uint8], ends: Points, width: float, value: float) -> None:
        """Draw many straight strokes at once, `ends` being (N, 2, 2) in mm."""
        thickness = max(1, round(width / self.spacing))
        level = int(np.clip(value, 0, 255))
        cv2.polylines(plane, list(self._fixed(ends)), False, level, thickness, cv2.LINE_AA, _SHIFT)

    def rounded(self, coverage: NDArray[np.uint8], radius: float) -> Plane:
        """Relative depth 0..1 of a body with round edges: the chord of a circle of `radius` mm at its border."""
        inside = cv2.distanceTransform((coverage > 127).astype(np.uint8), cv2.DIST_L2, 5)
        short = 1.0 - np.minimum(inside * np.float32(self.spacing / radius), 1.0)
        depth: Plane = np.sqrt(1.0 - short * short)
        return depth

    def blur(self, plane: Plane, sigma: float) -> Plane:
        """Gaussian blur, sigma in mm; wide ones are made on a smaller grid, which the eye cannot tell."""
        pixels = sigma / self.spacing
        if pixels < 0.3:
            return plane
        if pixels <= 4:
            return np.asarray(cv2.GaussianBlur(plane, (0, 0), pixels))
        step = int(pixels // 2)
        small = cv2.resize(plane, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), pixels / step)
        return np.asarray(cv2.resize(small, (self.columns, self.rows), interpolation=cv2.INTER_LINEAR))

    def noise(self, rng: np.random.Generator, scale: float) -> Plane:
        """Smooth noise, about standard normal, with structures of `scale` mm."""
        extent = max(self.rows, self.columns) * self.spacing
        cells = max(4, int(extent / scale))
        small = rng.standard_normal((cells, cells), dtype=np.float32)
        side = max(self.rows, self.columns)
        square = np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC))
        return square[: self.rows, : self.columns]

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        return np.round(self.pixels(points) * (1 << _SHIFT)).astype(np.int32)


def smooth(points: Points, *, closed: bool, per_segment: int = 10) -> Points:
    """A Catmull-Rom curve through the points (Catmull & Rom 1974)."""
    if closed:
        padded = np.vstack([points[-1:], points, points[:2]])
    else:
        padded = np.vstack([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    before, start, end, after = (padded[k : len(padded) - 3 + k, None, :] for k in range(4))
    t = np.linspace(0, 1, per_segment, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.vstack([flat, points[-1:]])


def mirrored(points: Points, side: int) -> Points:
    """Points given for the image's right (side +1), or their mirror image (side -1)."""
    flipped: Points = points * np.array([float(side), 1.0])
    return flipped


def shifted(points: Points, right: float) -> Points:
    """The points moved towards the image's right, mm."""
    moved: Points = points + np.array([right, 0.0])
    return moved
