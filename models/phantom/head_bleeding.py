"""Bleedings inside the skull, each with the shape that its place gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.phantom.head_anatomy import Ellipsoid, Head, Mask, Plane, Point

KINDS = ("epidural", "subdural", "intraparenchymal", "subarachnoid", "intraventricular")


@dataclass(frozen=True, slots=True)
class Section:
    """A plane through the head as a bleeding finds it: HU of healthy tissue, and where fluid stands in the sulci."""

    at: Point
    depth: Plane
    hu: Plane
    sulci: Mask


class Bleeding(Protocol):
    """Fresh blood somewhere in the head."""

    @property
    def value(self) -> float:
        """HU."""

    def fill(self, section: Section) -> Mask:
        """Where the blood lies on a plane; what it does to its surroundings is written into the section's HU."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Blood between skull and brain: a lens (epidural, bound by sutures) or a crescent (subdural).

    At ``reach`` mm from its middle, measured straight, the sheet ends; ``power`` 2 makes a lens, more a crescent.
    """

    middle: tuple[float, float, float]
    reach: float
    thickness: float
    power: float
    side: float
    value: float

    def fill(self, section: Section) -> Mask:
        at, depth = section.at, section.depth
        x, y, z = (np.float32(m) for m in self.middle)
        away = np.sqrt((at.x - x) ** 2 + (at.y - y) ** 2 + (at.z - z) ** 2) / np.float32(self.reach)
        profile = np.float32(self.thickness) * (1 - np.minimum(away, 1) ** np.float32(self.power))
        found: Mask = (depth > 0) & (depth < profile) & (at.x * np.float32(self.side) > 3)
        return found


@dataclass(frozen=True, slots=True)
class Clot:
    """Blood in the brain with a rim of oedema."""

    body: Ellipsoid
    value: float
    oedema: float

    def fill(self, section: Section) -> Mask:
        at, depth = section.at, section.depth
        level = self.body.level(at)
        if level is None:
            return np.zeros(at.x.shape, np.bool_)
        uneven = level * (1 + np.float32(0.25) * np.sin(at.x * 0.5) * np.sin(at.y * 0.4 + at.z * 0.3))
        inside = depth > 3
        hu = section.hu
        hu[inside & (uneven < np.float32((1 + self.oedema) ** 2)) & (hu > 15) & (hu < 60)] = 20.0
        found: Mask = inside & (uneven < 1)
        return found


@dataclass(frozen=True, slots=True)
class Spread:
    """Blood in the sulci and fissures around a place."""

    middle: tuple[float, float, float]
    reach: float
    value: float

    def fill(self, section: Section) -> Mask:
        at, depth = section.at, section.depth
        x, y, z = (np.float32(m) for m in self.middle)
        away = (at.x - x) ** 2 + (at.y - y) ** 2 + (at.z - z) ** 2
        fissure = Ellipsoid(self.middle, (4.0, 0.7 * self.reach, 0.5 * self.reach), 0.4).level(at)
        near: Mask = section.sulci & (away < np.float32(self.reach**2))
        return near if fissure is None else near | ((fissure < 1) & (depth > 2))


@dataclass(frozen=True, slots=True)
class Layer:
    """Blood that has sunk to the back of the ventricles."""

    head: Head
    level: float
    value: float

    def fill(self, section: Section) -> Mask:
        at, depth = section.at, section.depth
        found = np.zeros(at.x.shape, np.bool_)
        for body in self.head.ventricles[:6]:
            level = body.level(at)
            if level is not None:
                found |= (level < 1) & (at.y > np.float32(self.level)) & (depth > 6)
        return found


def draw_bleeding(kind: str, head: Head, rng: np.random.Generator) -> Bleeding:
    """Invent a bleeding of a kind out of :data:`KINDS`."""
    side, value = float(rng.choice([-1.0, 1.0])), float(rng.uniform(52, 82))
    a, b, c = (h - head.scalp - head.skull for h in head.half)
    if kind in ("epidural", "subdural"):
        angle, height = rng.uniform(-1.0, 1.0), rng.uniform(-0.1, 0.65)
        ring = np.sqrt(1 - height**2)
        middle = (side * a * ring * np.cos(angle), b * ring * np.sin(angle), c * height)
        if kind == "epidural":
            return Sheet(middle, rng.uniform(24, 46), rng.uniform(8, 24), 2.0, side, value)
        return Sheet(middle, rng.uniform(50, 85), rng.uniform(4.5, 13), 5.0, side, value)
    if kind == "intraparenchymal":
        deep = rng.random() < 0.5
        place = (side * rng.uniform(16, 28), rng.uniform(-22, 16), rng.uniform(-4, 20))
        if not deep:
            place = (side * rng.uniform(22, 42), rng.uniform(-48, 48), rng.uniform(5, 50))
        radii = rng.uniform(6, 19) * rng.uniform(0.8, 1.25, 3)
        body = Ellipsoid(place, (float(radii[0]), float(radii[1]), float(radii[2])), rng.uniform(-1, 1))
        return Clot(body, value, rng.uniform(0.15, 0.5))
    if kind == "subarachnoid":
        middle = (side * rng.uniform(28, 46), rng.uniform(-30, 25), rng.uniform(-8, 35))
        return Spread(middle, rng.uniform(24, 44), float(rng.uniform(48, 70)))
    return Layer(head, rng.uniform(24, 36), value)
