"""What the gate learns from: chests of two kinds, what is made of them, and everything else that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.gate.appearance import Appearance
from models.gate.view import gate_view
from models.phantom import generate, generate_head_ct
from models.training.gate import bodies, chests, pictures
from models.training.gate.drawing import SIDE, Picture, Rng

_SHARES = {
    Appearance.FRONTAL_CHEST: 0.40,
    Appearance.LATERAL_CHEST: 0.12,
    Appearance.OTHER: 0.24,
    Appearance.INVERTED: 0.13,
    Appearance.ROTATED: 0.11,
}
_PHANTOM_SIZE = 256
_HEADS = 24
_REAL = 0.65
"""Share of real chests where one is varied; the others are phantoms."""
_GREY = 255


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Views with their classes.

    Attributes
    ----------
    views : ndarray
        uint8 (N, 2, 96, 96): 0..1 as 0..255.
    classes : ndarray
        int64 (N,), places in :class:`~models.gate.appearance.Appearance`.
    """

    views: NDArray[np.uint8]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """Pictures that samples are made of, float32 (160, 160) in [0, 1]."""

    real: Sequence[Picture]
    phantoms: Sequence[Picture]
    heads: Sequence[Picture]


def sheet(display: Picture) -> Picture:
    """A display picture of any size on a square sheet of the size that samples are drawn at."""
    scale = SIDE / max(display.shape)
    rows, columns = (max(1, round(side * scale)) for side in display.shape)
    square = np.zeros((SIDE, SIDE), np.float32)
    top, left = (SIDE - rows) // 2, (SIDE - columns) // 2
    small = cv2.resize(display, (columns, rows), interpolation=cv2.INTER_AREA)
    square[top : top + rows, left : left + columns] = small
    return square


def draw_phantoms(seed: int, count: int) -> list[Picture]:
    return [sheet(generate(seed, index, size=_PHANTOM_SIZE).display()) for index in range(count)]


def draw_heads(seed: int) -> list[Picture]:
    """Slices of head phantoms, in a wide and in a brain window."""
    slices = []
    for index in range(_HEADS):
        head = generate_head_ct(seed, index, size=SIDE, every=6)
        centre, width = ((40.0, 80.0), (300.0, 1500.0))[index % 2]
        for number in range(len(head)):
            slices.append(np.clip((head.hounsfield(number) - centre) / width + 0.5, 0, 1).astype(np.float32))
    return slices


def make(sources: Sources, count: int, seed: int) -> Views:
    """Draw samples in the shares of the classes; the same arguments give the same samples."""
    names = list(Appearance)
    views = np.empty((count, *gate_view(np.zeros((SIDE, SIDE), np.float32)).shape), np.uint8)
    classes = np.empty(count, np.int64)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        classes[number] = rng.choice(len(names), p=[_SHARES[name] for name in names])
        picture = _picture(names[classes[number]], sources, rng)
        views[number] = np.round(gate_view(picture) * _GREY)
    return Views(views, classes)


def _picture(name: Appearance, sources: Sources, rng: Rng) -> Picture:
    if name is Appearance.OTHER:
        return _other(sources, rng)
    chest = _chest(sources, rng)
    if name is Appearance.FRONTAL_CHEST:
        return chests.varied(chest, rng)
    if name is Appearance.INVERTED:
        return chests.inverted(chest, rng)
    if name is Appearance.ROTATED:
        return chests.turned(chest, rng)
    return bodies.lateral_chest(rng) if rng.random() < 0.6 else chests.half(chest, rng)


def _other(sources: Sources, rng: Rng) -> Picture:
    kind = rng.random()
    if kind < 0.40:
        return chests.SPOILT[int(rng.integers(len(chests.SPOILT)))](_chest(sources, rng), rng)
    if kind < 0.80:
        picture = bodies.OTHERS[int(rng.integers(len(bodies.OTHERS)))](rng)
    elif kind < 0.85:
        picture = _any(sources.heads, rng)
    else:
        picture = pictures.PICTURES[int(rng.integers(len(pictures.PICTURES)))](rng)
    if rng.random() < 0.3:
        picture = 1 - picture
    turns = int(rng.integers(4)) if rng.random() < 0.3 else 0
    return np.ascontiguousarray(np.rot90(picture, turns))


def _chest(sources: Sources, rng: Rng) -> Picture:
    return _any(sources.real if sources.real and rng.random() < _REAL else sources.phantoms, rng)


def _any(many: Sequence[Picture], rng: Rng) -> Picture:
    return many[int(rng.integers(len(many)))]
