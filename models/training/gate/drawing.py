"""A small sheet of film on which drawings of bodies add up: numpy and OpenCV, coordinates in shares of its side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 160
"""Rows and columns, pixels: enough for a view of 96."""

Picture = NDArray[Any]
"""float32 (160, 160); as a finished picture in [0, 1], 1 is white."""
Rng = np.random.Generator
Point = tuple[float, float]
"""(x, y), shares of the side from the upper left corner."""


def blank() -> Picture:
    return np.zeros((SIDE, SIDE), np.float32)


def polygon(points: Sequence[Point] | Picture, soft: float = 0.012) -> Picture:
    """0 outside, 1 inside, with an edge of ``soft`` shares of the side."""
    plane = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(plane, [_fixed(np.asarray(points))], 255, cv2.LINE_AA, 4)
    return blurred(plane.astype(np.float32) / 255, soft)


def ellipse(centre: Point, axes: Point, turn: float = 0.0, soft: float = 0.012) -> Picture:
    """A filled ellipse; ``turn`` in degrees, clockwise."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    round_ = np.column_stack([np.cos(angles) * axes[0], np.sin(angles) * axes[1]])
    sine, cosine = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
    return polygon(round_ @ np.array([[cosine, sine], [-sine, cosine]]) + np.array(centre), soft)


def line(points: Sequence[Point] | Picture, width: float, soft: float = 0.006) -> Picture:
    """An open curve of a width in shares of the side."""
    plane = np.zeros((SIDE, SIDE), np.uint8)
    thick = max(1, round(width * SIDE))
    cv2.polylines(plane, [_fixed(np.asarray(points))], False, 255, thick, cv2.LINE_AA, 4)
    return blurred(plane.astype(np.float32) / 255, soft)


def bone(points: Sequence[Point] | Picture, width: float) -> Picture:
    """A long bone: cortex brighter than marrow."""
    whole, marrow = line(points, width), line(points, 0.55 * width)
    return whole - 0.45 * marrow


def thick(shape: Picture) -> Picture:
    """How thick a round body of that outline is: 0 at its edge, 1 where it is thickest."""
    inside = cv2.distanceTransform((shape > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    deep = inside / max(float(inside.max()), 1.0)
    depth: Picture = np.sqrt(1.0 - (1.0 - deep) ** 2).astype(np.float32)
    return depth


def resized(picture: Picture, columns: int, rows: int, way: int = cv2.INTER_LINEAR) -> Picture:
    """The picture on a grid of that size."""
    other: Picture = cv2.resize(np.ascontiguousarray(picture), (columns, rows), interpolation=way)
    return other


def blurred(plane: Picture, width: float) -> Picture:
    """Gaussian blur of a width in shares of the side."""
    if width <= 0:
        return plane
    sigma = max(0.3, width * SIDE)
    size = 2 * round(2.5 * sigma) + 1
    smooth: Picture = cv2.GaussianBlur(plane, (size, size), sigma)
    return smooth


def cloud(rng: Rng, width: float) -> Picture:
    """Smooth noise of mean 0 and deviation 1; structures of ``width`` shares of the side."""
    cells = max(2, round(1 / max(width, 1.0 / SIDE)))
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    fine = resized(coarse, SIDE, SIDE, cv2.INTER_CUBIC)
    return np.asarray((fine - fine.mean()) / max(float(fine.std()), 1e-3))


def bent(start: Point, end: Point, bow: float, count: int = 12) -> Picture:
    """Points from start to end along an arc; ``bow`` is its height as a share of the chord."""
    way = np.linspace(0, 1, count)[:, None]
    first, last = np.array(start), np.array(end)
    across = np.array([first[1] - last[1], last[0] - first[0]])
    points: Picture = first + way * (last - first) + 4 * bow * way * (1 - way) * across
    return points


def developed(attenuation: Picture, rng: Rng) -> Picture:
    """A film of a path integral: what nothing covers is black, thick and dense parts are white."""
    exposed = attenuation > 0.02
    values = attenuation[exposed] if exposed.any() else attenuation.ravel()
    low, high = np.percentile(values, (rng.uniform(0, 8), rng.uniform(92, 100)))
    film = np.clip((attenuation - low) / max(float(high - low), 1e-3), 0, 1) ** rng.uniform(0.6, 1.5)
    film = film * np.where(exposed, 1.0, rng.uniform(0.3, 1.0))
    film = film + rng.standard_normal(film.shape) * rng.uniform(0.0, 0.04)
    return np.asarray(np.clip(film, 0, 1), np.float32)


def _fixed(points: Picture) -> NDArray[np.int32]:
    return np.asarray(np.round(points * SIDE * 16), dtype=np.int32).reshape(-1, 1, 2)
