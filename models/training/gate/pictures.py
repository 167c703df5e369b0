"""Pictures that are no radiographs at all: pages, patterns, noise, scenes."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from models.training.gate.drawing import SIDE, Picture, Rng, blank, blurred, cloud, ellipse, polygon


def page(rng: Rng) -> Picture:
    """Lines of text, dark on light or light on dark."""
    sheet = np.zeros((SIDE, SIDE), np.uint8)
    size = rng.uniform(0.25, 0.9)
    pitch = max(6, int(26 * size))
    letters = "abcdefghijklmnopqrstuvwxyz     ABCDEFG 0123456789.,"
    for y in range(int(rng.integers(4, 30)), SIDE, pitch):
        if rng.random() < 0.15:
            continue
        text = "".join(letters[int(n)] for n in rng.integers(0, len(letters), int(rng.integers(5, 40))))
        cv2.putText(sheet, text, (int(rng.integers(0, 25)), y), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_AA)
    picture = sheet.astype(np.float32) / 255
    return 1 - picture if rng.random() < 0.6 else picture


def pattern(rng: Rng) -> Picture:
    """A test pattern: bars, grid, steps or rings."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    kind = int(rng.integers(5))
    if kind == 0:
        picture = ((x * rng.integers(2, 20)).astype(int) + (y * rng.integers(1, 20)).astype(int)) % 2
    elif kind == 1:
        picture = np.floor(x * rng.integers(3, 16)) / 15
    elif kind == 2:
        picture = 0.5 + 0.5 * np.sin(np.hypot(x - rng.random(), y - rng.random()) * rng.uniform(10, 120))
    elif kind == 3:
        picture = 0.5 + 0.5 * np.sin((x * rng.normal() + y * rng.normal()) * rng.uniform(5, 100))
    else:
        cells = int(rng.integers(3, 9))
        coarse = rng.random((cells, cells)).astype(np.float32)
        picture = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return np.clip(np.asarray(picture, np.float32), 0, 1)


def noise(rng: Rng) -> Picture:
    """White or cloudy noise, or a ramp of grey."""
    kind = int(rng.integers(4))
    if kind == 0:
        return rng.random((SIDE, SIDE), dtype=np.float32)
    if kind == 1:
        y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
        ramp = x * rng.normal() + y * rng.normal()
        return np.asarray((ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-3), np.float32)
    picture = sum((cloud(rng, width) * width**0.7 for width in (0.4, 0.2, 0.1, 0.05, 0.02)), blank())
    if kind == 3:
        picture = np.abs(picture)
    return np.asarray(np.clip(0.5 + picture / (4 * max(float(picture.std()), 1e-3)), 0, 1), np.float32)


def scene(rng: Rng) -> Picture:
    """Things before and behind one another, each with its own grey and grain: how photographs are made up."""
    picture = np.full((SIDE, SIDE), rng.random(), np.float32)
    for size in np.sort(rng.uniform(0.02, 0.5, int(rng.integers(10, 60))))[::-1]:
        where = (float(rng.uniform(-0.1, 1.1)), float(rng.uniform(-0.1, 1.1)))
        if rng.random() < 0.5:
            shape = ellipse(where, (size, size * rng.uniform(0.3, 1)), rng.uniform(0, 180), 0.003)
        else:
            shape = polygon(np.array(where) + rng.uniform(-size, size, (int(rng.integers(3, 6)), 2)), 0.003)
        shade = rng.random() + rng.uniform(0, 0.15) * cloud(rng, 0.03)
        picture = picture * (1 - shape) + shape * shade
    return np.clip(blurred(picture, rng.uniform(0, 0.01)), 0, 1).astype(np.float32)


def tissue(rng: Rng) -> Picture:
    """Regions of different grain without the outline of a body: sections, magnetic resonance, ultrasound."""
    seeds = rng.random((int(rng.integers(5, 40)), 2)) * SIDE
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    warp = 12 * cloud(rng, 0.1)
    near = np.stack([np.hypot(x + warp - sx, y + warp - sy) for sx, sy in seeds])
    shades = rng.random(len(seeds)).astype(np.float32)
    order = np.partition(near, 1, axis=0)
    picture = shades[near.argmin(axis=0)] * 0.7 + 0.1 * cloud(rng, 0.02)
    picture = np.where(order[1] - order[0] < rng.uniform(0, 5), rng.random(), picture)
    if rng.random() < 0.3:
        wedge = polygon([(0.45, 0.02), (0.55, 0.02), (0.95, 0.9), (0.5, 1.0), (0.05, 0.9)], 0.005)
        picture = picture * wedge * rng.random((SIDE, SIDE))
    return np.clip(blurred(picture.astype(np.float32), rng.uniform(0, 0.01)), 0, 1).astype(np.float32)


PICTURES: tuple[Callable[[Rng], Picture], ...] = (page, pattern, noise, scene, tissue)
