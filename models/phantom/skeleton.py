"""Bones: what they add to the beam's path, as cm of cortical bone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.phantom.anatomy import LEFT, RIGHT, Anatomy
from models.phantom.canvas import Canvas, Plane, Points, mirrored, smooth

_CORTEX, _MARROW = 200.0, 120.0


def bone(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Plane:
    """Thickness of bone in cm for every pixel."""
    layers = [
        _posterior_ribs(canvas, anatomy),
        _anterior_ribs(canvas, anatomy),
        _girdle(canvas, anatomy, rng),
    ]
    total = np.zeros((canvas.rows, canvas.columns), np.float32)
    for layer, thickness in zip(layers, (0.60, 0.40, 0.85), strict=True):
        total += layer.astype(np.float32) * np.float32(thickness / 255)
    total += _scapulae(canvas, anatomy, rng) + _spine(canvas, anatomy)
    mottle = 1 + 0.10 * canvas.noise(rng, 5.0)  # trabeculae
    return canvas.blur(total, 0.7) * mottle


def _posterior_ribs(canvas: Canvas, anatomy: Anatomy) -> NDArray[np.uint8]:
    plane = np.zeros((canvas.rows, canvas.columns), np.uint8)
    for number in range(1, 12):
        for side in (RIGHT, LEFT):
            _tube(canvas, plane, mirrored(_posterior(anatomy, number), side), 6.5 + 3.5 * min(number, 5) / 5)
    return plane


def _posterior(anatomy: Anatomy, number: int) -> Points:
    """From the spine over the back to the axillary line."""
    y = -14 + anatomy.rib_pitch * (number - 0.4)
    drop = anatomy.slope * (14 + 6.5 * number)
    outer = float(anatomy.lateral(y + drop)) + 4
    return smooth(
        np.array(
            [
                [16.0, y],
                [0.30 * outer, y - 7],
                [0.62 * outer, y - 2 + 0.10 * drop],
                [0.86 * outer, y + 0.42 * drop],
                [0.98 * outer, y + 0.80 * drop],
                [outer, y + drop + 6],
            ]
        ),
        closed=False,
    )


def _anterior_ribs(canvas: Canvas, anatomy: Anatomy) -> NDArray[np.uint8]:
    plane = np.zeros((canvas.rows, canvas.columns), np.uint8)
    for number in range(1, 8):
        y = -14 + anatomy.rib_pitch * (number - 0.4)
        start = y + anatomy.slope * (14 + 6.5 * number)
        outer = float(anatomy.lateral(start)) + 4
        reach = 0.36 + 0.035 * number
        fall = anatomy.slope * (24 + 4.0 * number)
        curve = np.array(
            [
                [outer, start + 2],
                [0.96 * outer, start + 0.32 * fall],
                [0.80 * outer, start + 0.68 * fall],
                [0.60 * outer, start + 0.93 * fall],
                [reach * outer, start + 1.08 * fall],
            ]
        )
        for side in (RIGHT, LEFT):
            _tube(canvas, plane, mirrored(smooth(curve, closed=False), side), 9.0 + 0.4 * number)
    return plane


def _girdle(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Clavicles and upper arms."""
    plane = np.zeros((canvas.rows, canvas.columns), np.uint8)
    chest = anatomy.width + anatomy.wall
    lift = rng.normal(0, 6) - (10 if anatomy.anteroposterior else 0)
    for side in (RIGHT, LEFT):
        joint = 21 + side * anatomy.rotation * 0.8
        clavicle = np.array(
            [
                [joint, 34 + lift],
                [joint + 24, 27 + lift],
                [70, 15 + lift],
                [108, 4 + lift],
                [138, 4 + lift],
                [chest + 12, 0 + lift],
            ]
        )
        curve = mirrored(smooth(clavicle, closed=False), side)
        _tube(canvas, plane, curve, 10.5)
        _tube(canvas, plane, curve[:9], 15)
        out = 20.0 if anatomy.anteroposterior else 55.0
        shaft = np.array([[chest + 30, 26.0], [chest + 38, 70], [chest + 34 + out, 250], [chest + 36 + out, 460]])
        head = mirrored(np.array([[chest + 24.0, 22], [chest + 30.0, 34]]), side)
        _tube(canvas, plane, mirrored(smooth(shaft, closed=False), side), 24)
        _tube(canvas, plane, head, 42)
    return plane


def _scapulae(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Plane:
    chest = anatomy.width + anatomy.wall
    inward = 26.0 if anatomy.anteroposterior else 4.0
    inward += rng.uniform(-6, 10)
    plates, edges = [], []
    for side in (RIGHT, LEFT):
        outline = np.array(
            [[chest + 14, 8], [chest - 20 - inward, 6], [chest - 42 - inward, 30], [chest - 34 - inward, 90],
             [chest - 14 - inward, 142], [chest - 4 - inward, 146], [chest + 2, 95], [chest + 16, 45]]
        )  # fmt: skip
        plates.append(mirrored(smooth(outline, closed=True), side))
        edges.append(mirrored(smooth(outline[4:], closed=False), side))
    plane = canvas.fill(*plates).astype(np.float32) * np.float32(0.10 / 255)
    rim = np.zeros((canvas.rows, canvas.columns), np.uint8)
    canvas.stroke(rim, edges, 4.5, 255)
    return plane + rim.astype(np.float32) * np.float32(0.30 / 255)


def _spine(canvas: Canvas, anatomy: Anatomy) -> Plane:
    """Vertebral bodies with pedicles and discs, and the manubrium before them."""
    plane = np.zeros((canvas.rows, canvas.columns), np.uint8)
    canvas.stroke(plane, [np.array([[0.0, -260], [0.0, 700]])], 30, 120)
    for number in range(-8, 24):
        y = -14 + anatomy.rib_pitch * (number - 0.4)
        half = 14 + 0.35 * max(number, 0)
        body = np.array([[-half, y + 3], [half, y + 3], [half - 2, y + 20], [-half + 2, y + 20]])
        canvas.stroke(plane, [np.vstack([body, body[:1]])], 2.5, 215)
        for side in (RIGHT, LEFT):
            pedicle = np.array([[side * (half - 6), y + 7], [side * (half - 6), y + 10.0]])
            canvas.stroke(plane, [pedicle], 5, 235)
    return plane.astype(np.float32) * np.float32(0.52 / 255)


def _tube(canvas: Canvas, plane: NDArray[np.uint8], curve: Points, width: float) -> None:
    """A long bone in projection: its cortex is crossed lengthwise at the borders and shows brighter there."""
    canvas.stroke(plane, [curve], width, _CORTEX)
    canvas.stroke(plane, [curve], width * 0.66, _MARROW)
