"""The head that a CT phantom cuts into slices: scalp, skull, brain, fluid, and what imitates blood.

Coordinates are (x, y, z) in mm about the middle of the head: x to the patient's left, y to the back, z to the crown.
Values are Hounsfield units as a scanner shows them at 120 kVp: fluid 8, white matter 29, grey matter 37, fresh blood
50 to 85, calcification above 100.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
"""One value per pixel, float32 (rows, columns)."""
Mask = NDArray[np.bool_]

AIR, FAT, SKIN, BONE, DIPLOE, FLUID, WHITE, GREY = -1000.0, -95.0, 45.0, 1150.0, 620.0, 8.0, 29.0, 37.0
_KNOT = 11.0
"""Distance of the planes between which the texture of the brain is interpolated, mm."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """A body at ``centre`` with half axes ``radii`` in mm, turned by ``turn`` radians about the z axis."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: float = 0.0

    def level(self, at: Point) -> Plane | None:
        """Below 1 inside, 1 on the surface; None where the plane does not come near it."""
        z = at.z - np.float32(self.centre[2])
        if float(np.abs(z).min()) > 1.6 * self.radii[2]:
            return None
        x, y = at.x - np.float32(self.centre[0]), at.y - np.float32(self.centre[1])
        cosine, sine = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        along, across = cosine * x + sine * y, cosine * y - sine * x
        rx, ry, rz = (np.float32(r) for r in self.radii)
        level: Plane = (along / rx) ** 2 + (across / ry) ** 2 + (z / rz) ** 2
        return level


@dataclass(frozen=True, slots=True)
class Point:
    """Where the pixels of a plane lie in the head, mm, each float32 (rows, columns)."""

    x: Plane
    y: Plane
    z: Plane


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """One invented patient's head.

    Attributes
    ----------
    half : (float, float, float)
        Half axes of the skin, mm.
    scalp, skull, cleft : float
        Thickness of scalp and skull and of the fluid over the brain, mm.
    ventricles : tuple of Ellipsoid
        Filled with fluid.
    calcified : tuple of (Ellipsoid, float)
        Calcifications with their HU: blood's imitators.
    falx, sinus : float
        HU of the falx and of the sagittal sinus.
    texture : ndarray
        float32 (knots, 24, 24): coarse noise that sulci and grey matter follow.
    """

    half: tuple[float, float, float]
    egg: float
    ripple: tuple[float, float, float]
    scalp: float
    skull: float
    cleft: float
    sulcus: float
    ventricles: tuple[Ellipsoid, ...]
    calcified: tuple[tuple[Ellipsoid, float], ...]
    falx: float
    sinus: float
    texture: NDArray[np.float32]
    age: int
    sex: str

    def depth(self, at: Point) -> Plane:
        """Distance from the inside of the skull towards the middle of the head, mm; negative in bone and outside."""
        a, b, c = (np.float32(h) for h in self.half)
        below = np.where(at.z < 0, np.float32(1.5), np.float32(1.0))
        width = a * (1 + np.float32(self.egg) * at.y / b)
        q = np.sqrt((at.x / width) ** 2 + (at.y / b) ** 2 + (at.z / (c * below)) ** 2)
        radius = np.sqrt(at.x**2 + at.y**2 + at.z**2)
        skin = radius * (1 / np.maximum(q, np.float32(0.05)) - 1)
        angle = np.arctan2(at.y, at.x)
        waves = sum(np.float32(w) * np.sin(n * angle + n) for n, w in zip((2, 3, 5), self.ripple, strict=True))
        inside: Plane = skin + waves - np.float32(self.scalp + self.skull)
        return inside

    def tissue(self, at: Point, depth: Plane) -> tuple[Plane, Mask]:
        """HU of the healthy head, and where fluid stands in the sulci.

        Returns
        -------
        hu : ndarray
            float32 (rows, columns).
        sulci : ndarray of bool
            Subarachnoid space, where a bleeding can spread.
        """
        fold = self.fold(at)
        bone = (depth <= 0) & (depth > -self.skull)
        marrow = bone & (np.abs(depth + np.float32(0.5 * self.skull)) < np.float32(0.22 * self.skull))
        hu = np.where(depth > 0, np.float32(WHITE), np.float32(AIR))
        hu[(depth <= -self.skull) & (depth > -self.skull - self.scalp)] = FAT
        hu[(depth <= -self.skull - self.scalp + 1.6) & (depth > -self.skull - self.scalp)] = SKIN
        hu[bone], hu[marrow] = BONE, DIPLOE
        brain = depth > self.cleft
        cortex = brain & (depth < self.cleft + 3.5 + 2.0 * fold)
        hu[cortex] = GREY
        for nucleus in _NUCLEI:
            level = nucleus.level(at)
            if level is not None:
                hu[brain & (level < 1)] = GREY
        reach = np.float32(self.cleft + 13.0)
        sulci = (depth > 0) & ((depth <= self.cleft) | ((np.abs(fold) < self.sulcus) & (depth < reach)))
        sulci |= (depth > 0) & (np.abs(at.x) < 1.6) & (at.z > -20) & (np.abs(at.y) > 42)
        hu[sulci] = FLUID
        self._base(at, depth, hu)
        for body in self.ventricles:
            level = body.level(at)
            if level is not None:
                hu[(level < 1) & (depth > 6)] = FLUID
        falx = (np.abs(at.x) < 0.9) & (depth > 0) & (at.z > -5) & ((np.abs(at.y) > 45) | (at.z > 45))
        hu[falx] = self.falx
        crest = (np.abs(at.x) < 4.0 - 0.5 * depth) & (depth > 0) & (depth < 7) & (at.y > 20)
        hu[crest] = self.sinus
        for body, value in self.calcified:
            level = body.level(at)
            if level is not None:
                hu[(level < 1) & (depth > 3)] = value
        return hu, sulci

    def fold(self, at: Point) -> Plane:
        """Smooth noise, about standard normal, that the folds of the cortex follow."""
        rows, columns = at.x.shape
        place = float(np.clip((at.z.mean() + 90) / _KNOT, 0, len(self.texture) - 1.001))
        knot, share = int(place), np.float32(place - int(place))
        mixed = (1 - share) * self.texture[knot] + share * self.texture[knot + 1]
        return np.asarray(cv2.resize(mixed, (columns, rows), interpolation=cv2.INTER_CUBIC))

    def _base(self, at: Point, depth: Plane, hu: Plane) -> None:
        """Petrous bone, orbits and sinuses: low slices are full of bone and air."""
        if float(at.z.min()) > -26:
            return
        for side in (-1.0, 1.0):
            ridge = Ellipsoid((side * 34, 12, -46), (26, 7, 14), -side * 0.6).level(at)
            if ridge is not None:
                hu[(ridge < 1) & (depth > 0)] = 950.0
        front = (at.y < -48 - 0.35 * (at.z + 40)) & (depth > -2) & (at.z < -30)
        hu[front] = 40.0
        for side in (-1.0, 1.0):
            orbit = Ellipsoid((side * 30, -70, -48), (17, 20, 14)).level(at)
            if orbit is not None:
                hu[(orbit < 1) & front] = FAT
        cells = Ellipsoid((0, -72, -50), (11, 16, 16)).level(at)
        if cells is not None:
            hu[(cells < 1) & front] = AIR


_NUCLEI = tuple(Ellipsoid((side * 22, -8, 6), (9, 15, 12), side * 0.35) for side in (-1.0, 1.0)) + tuple(
    Ellipsoid((side * 11, 8, 8), (7, 12, 9), side * 0.2) for side in (-1.0, 1.0)
)


def draw_head(rng: np.random.Generator) -> Head:
    """Invent a patient."""
    age = int(rng.integers(19, 93))
    old = (age - 18) / 75
    half = (rng.uniform(72, 82), rng.uniform(88, 100), rng.uniform(84, 96))
    return Head(
        half=half,
        egg=rng.uniform(0.02, 0.10),
        ripple=tuple(float(v) for v in rng.normal(0, (0.8, 0.6, 0.4))),  # type: ignore[arg-type]
        scalp=rng.uniform(4.0, 7.0),
        skull=rng.uniform(5.0, 8.5),
        cleft=0.6 + 2.2 * old * rng.uniform(0.4, 1.2),
        sulcus=0.05 + 0.14 * old * rng.uniform(0.5, 1.2),
        ventricles=tuple(_ventricles(0.65 + 0.6 * old * rng.uniform(0.6, 1.3), rng)),
        calcified=tuple(_calcifications(old, rng)),
        falx=rng.uniform(40, 62) if rng.random() < 0.9 else rng.uniform(90, 260),
        sinus=rng.uniform(42, 60),
        texture=_texture(rng),
        age=age,
        sex=str(rng.choice(["F", "M"])),
    )


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    noise = rng.standard_normal((19, 26, 26), dtype=np.float32)
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 0.7) for plane in noise])
    scaled: NDArray[np.float32] = (soft / soft.std()).astype(np.float32)
    return scaled


def _ventricles(size: float, rng: np.random.Generator) -> Iterator[Ellipsoid]:
    for side in (-1.0, 1.0):
        one = size * rng.uniform(0.85, 1.15)
        yield Ellipsoid((side * (9 + 3 * one), -28, 14), (5.0 * one, 14, 9 * one), side * 0.45)
        yield Ellipsoid((side * (10 + 3 * one), 2, 22), (6.0 * one, 26, 8 * one), side * 0.1)
        yield Ellipsoid((side * (20 + 4 * one), 34, 12), (6.5 * one, 15, 10 * one), -side * 0.35)
    yield Ellipsoid((0, -2, 4), (1.8 * size, 13, 9))
    yield Ellipsoid((0, 38, -28), (6 * size, 6 * size, 9))


def _calcifications(old: float, rng: np.random.Generator) -> Iterator[tuple[Ellipsoid, float]]:
    """Plexus, pineal gland and basal ganglia calcify with age; a few plaques are dense."""
    if rng.random() < 0.35 + 0.5 * old:
        for side in (-1.0, 1.0):
            size = rng.uniform(1.8, 4.2)
            yield (
                Ellipsoid((side * rng.uniform(20, 26), 33, 10 + rng.uniform(-3, 3)), (size, size * 1.3, size)),
                rng.uniform(110, 420),
            )
    if rng.random() < 0.5:
        size = rng.uniform(1.5, 3.5)
        yield Ellipsoid((0, 22, 4), (size, size, size)), rng.uniform(110, 400)
    if rng.random() < 0.25 * old + 0.05:
        value = rng.uniform(95, 260)
        for side in (-1.0, 1.0):
            yield Ellipsoid((side * 20, -8, 5), (rng.uniform(2, 5), rng.uniform(4, 8), 4), side * 0.35), value


def planes(origin: Sequence[float], row: Sequence[float], column: Sequence[float], side: int, pitch: float) -> Point:
    """Head coordinates of a square picture's pixels.

    Parameters
    ----------
    origin : 3 floats
        Of the first pixel's centre, mm.
    row, column : 3 floats
        Directions in which columns, and rows, are counted (PS3.3 C.7.6.2.1.1), unit vectors.
    side : int
        Pixels per side.
    pitch : float
        Pixel spacing, mm.
    """
    steps = np.arange(side, dtype=np.float32) * np.float32(pitch)
    x, y, z = (
        np.float32(origin[k]) + steps[None, :] * np.float32(row[k]) + steps[:, None] * np.float32(column[k])
        for k in range(3)
    )
    return Point(x, y, z)
