"""What one sees inside the lungs: vessels, airways and the fine grain between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.phantom.anatomy import LEFT, RIGHT, Anatomy
from models.phantom.canvas import Canvas, Plane, Points

_LEVELS_PER_MM = 20.0


def vessels(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Plane:
    """Depth of blood in cm: trees that leave the hila, taper and fork (not yet clipped to the lungs)."""
    starts, directions, widths = [], [], []
    for side in (RIGHT, LEFT):
        count = 15
        fan = np.linspace(-1.40, 1.30, count) + rng.normal(0, 0.10, count)  # radians below the horizontal
        starts.append(anatomy.hilum(side) + np.column_stack([rng.normal(0, 5, count), 12 * fan]))
        directions.append(np.where(side > 0, fan, np.pi - fan))
        widths.append(rng.uniform(4.0, 9.5, count) * np.where(fan > 0.2, 1.15, 0.8))
    start, end, width = _trees(
        np.vstack(starts), np.concatenate(directions), np.concatenate(widths), rng, step=8.0, steps=17
    )
    return _tubes(canvas, start, end, width) * np.float32(anatomy.vessel_gain)


def airways(canvas: Canvas, origin: Points, centre: Points, rng: np.random.Generator) -> Plane:
    """Depth in cm of air-filled bronchi that run from a hilum through a region: the air bronchogram."""
    towards = np.arctan2(centre[1] - origin[1], centre[0] - origin[0])
    count = 5
    spread = towards + rng.normal(0, 0.30, count)
    start, end, width = _trees(
        np.tile(0.65 * origin + 0.35 * centre, (count, 1)),
        spread,
        rng.uniform(3.0, 4.6, count),
        rng,
        step=8.0,
        steps=11,
    )
    return _tubes(canvas, start, end, width)


def grain(canvas: Canvas, rng: np.random.Generator) -> Plane:
    """Relative variation of lung density, about ±1: small vessels and septa below the scale of the trees."""
    return 0.45 * canvas.noise(rng, 2.5) + 0.2 * canvas.noise(rng, 7.0) + 0.35 * canvas.noise(rng, 60.0)


def trachea(anatomy: Anatomy) -> tuple[list[Points], float]:
    """Centre lines of trachea and main bronchi, and their width in mm."""
    carina = np.array([anatomy.rotation * 0.8, 78.0 * anatomy.height / 215])
    tube = np.vstack([[0.0, -200], [anatomy.rotation * 0.3, -20], carina])
    right = np.vstack([carina, anatomy.hilum(RIGHT) + np.array([2.0, -4])])
    left = np.vstack([carina, anatomy.hilum(LEFT) + np.array([0.0, 4])])
    return [tube, right, left], 15.0


def _trees(
    position: Points,
    direction: NDArray[np.float64],
    width: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    step: float,
    steps: int,
) -> tuple[Points, Points, NDArray[np.float64]]:
    """Grow all branches at once; returns the starts, ends (N, 2) and widths (N,) of the segments, in mm."""
    starts, ends, widths = [], [], []
    for _ in range(steps):
        moved = position + step * np.column_stack([np.cos(direction), np.sin(direction)])
        starts.append(position)
        ends.append(moved)
        widths.append(width)
        fork = rng.random(len(width)) < 0.30
        turn = rng.uniform(0.35, 0.85, len(width)) * rng.choice([-1.0, 1.0], len(width))
        position = np.vstack([moved, moved[fork]])
        direction = np.concatenate(
            [direction + rng.normal(0, 0.10, len(width)) - 0.2 * turn * fork, (direction + turn)[fork]]
        )
        width = np.concatenate([width * np.where(fork, 0.82, 0.90), width[fork] * 0.66])
        alive = width > 0.55
        position, direction, width = position[alive], direction[alive], width[alive]
    return np.vstack(starts), np.vstack(ends), np.concatenate(widths)


def _tubes(canvas: Canvas, start: Points, end: Points, width: NDArray[np.float64]) -> Plane:
    plane = np.zeros((canvas.rows, canvas.columns), np.uint8)
    classes = np.maximum(1, np.round(width / 0.5)).astype(int)
    for size in np.unique(classes):  # thin first: where vessels cross, the thicker one shows
        chosen = classes == size
        ends = np.stack([start[chosen], end[chosen]], axis=1)
        # A stroke cannot be thinner than a pixel; thinner vessels are drawn fainter.
        drawn = max(size * 0.5, canvas.spacing)
        canvas.segments(plane, ends, drawn, _LEVELS_PER_MM * size * 0.5 * size * 0.5 / drawn)
    depth = plane.astype(np.float32) * np.float32(0.1 / _LEVELS_PER_MM)
    return canvas.blur(depth, 0.8)
