"""The CT scanner of a head phantom: geometry, noise, artefacts, and how it stores Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.phantom.head_anatomy import Plane

_WIDTHS = ((2.5, 2.5), (3.0, 3.0), (3.75, 3.75), (5.0, 5.0), (5.0, 4.5), (4.0, 4.0))
"""(slice thickness, distance of slices), mm."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How HU become stored values: HU = stored * slope + intercept (PS3.3 C.11.1.1.2).

    Attributes
    ----------
    padding : int or None
        Stored value outside the circle of reconstruction.
    """

    signed: bool
    bits_stored: int
    slope: float
    intercept: float
    padding: int | None


STORAGES = (
    Storage(False, 12, 1.0, -1024.0, None),
    Storage(False, 16, 1.0, -1024.0, 0),
    Storage(True, 16, 1.0, 0.0, -2000),
    Storage(True, 16, 1.0, -1024.0, -2000),
)
UNSEEN_STORAGE = Storage(False, 16, 0.5, -1024.0, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class CtScanner:
    """How a series was taken and stored.

    Attributes
    ----------
    thickness, spacing : float
        Of slices, and between their middles along the table, mm.
    tilt : float
        Gantry, radians; the table does not follow, so tilted slices are shifted against each other.
    field : float
        Side of the reconstructed square, mm.
    noise : float
        Standard deviation in HU at 5 mm.
    kernel : float
        Standard deviation of the point spread, mm.
    streaks, rings, cupping : float
        Strength of beam hardening, of a bad detector cell, and of what is left of the bowl, HU.
    motion : float
        How far the head moved during one of the slices, mm.
    unseen : bool
        The scanner that no training saw.
    """

    thickness: float
    spacing: float
    tilt: float
    field: float
    noise: float
    kernel: float
    streaks: float
    rings: float
    cupping: float
    motion: float
    storage: Storage
    kvp: int
    unseen: bool = False


def draw_scanner(rng: np.random.Generator, *, unseen: bool = False) -> CtScanner:
    """Invent an acquisition; ``unseen`` is a scanner that no training saw: sharper, noisier, wider, tilted more."""
    thickness, spacing = _WIDTHS[int(rng.integers(len(_WIDTHS)))]
    storage = STORAGES[int(rng.integers(len(STORAGES)))]
    return CtScanner(
        thickness=thickness,
        spacing=spacing,
        tilt=rng.uniform(0.26, 0.38) if unseen else float(rng.choice([0.0, 0.0, rng.uniform(0.05, 0.26)])),
        field=rng.uniform(258, 285) if unseen else rng.uniform(214, 252),
        noise=rng.uniform(5.5, 7.5) if unseen else rng.uniform(2.0, 5.0),
        kernel=rng.uniform(0.30, 0.42) if unseen else rng.uniform(0.5, 0.95),
        streaks=rng.uniform(4, 16),
        rings=rng.uniform(3, 9) if rng.random() < 0.15 else 0.0,
        cupping=rng.uniform(0, 5),
        motion=rng.uniform(2, 6) if rng.random() < 0.12 else 0.0,
        storage=UNSEEN_STORAGE if unseen and rng.random() < 0.5 else storage,
        kvp=140 if unseen else int(rng.choice([100, 120, 120, 130])),
        unseen=unseen,
    )


def expose(hu: Plane, scanner: CtScanner, rng: np.random.Generator, *, pitch: float, low: float, moved: bool) -> Plane:
    """One slice as the scanner sees it.

    Parameters
    ----------
    hu : ndarray
        float32 (rows, columns), HU of the head, averaged over the slice's thickness.
    pitch : float
        Pixel spacing, mm.
    low : float
        From 0 (no skull base in the slice) to 1: how much bone hardens the beam.
    moved : bool
        The head moved during this slice.
    """
    side = hu.shape[0]
    if moved:
        shift = np.array([[1, 0, scanner.motion / pitch], [0, 1, 0.5 * scanner.motion / pitch]], np.float32)
        hu = 0.55 * hu + 0.45 * np.asarray(cv2.warpAffine(hu, shift, (side, side), borderValue=-1000.0))
    picture = np.asarray(cv2.GaussianBlur(hu, (0, 0), max(0.35, scanner.kernel / pitch)))
    axis = (np.arange(side, dtype=np.float32) - side / 2) * np.float32(pitch)
    squared = axis[None, :] ** 2 + axis[:, None] ** 2
    head = picture > -400
    picture += head * np.float32(scanner.cupping) * (squared / np.float32(80.0**2) - np.float32(0.5))
    if low > 0:
        band = np.exp(-((axis[:, None] - 12) ** 2) / np.float32(2 * 9.0**2))
        wave = np.sin(axis[:, None] * np.float32(rng.uniform(0.35, 0.6)) + np.float32(rng.uniform(0, 6)))
        picture += head * (np.float32(low * scanner.streaks) * band * wave)
    if scanner.rings:
        radius = np.float32(rng.uniform(15, 70))
        picture += head * (np.abs(np.sqrt(squared) - radius) < pitch) * np.float32(scanner.rings)
    grain = rng.standard_normal(hu.shape, dtype=np.float32)
    grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), max(0.3, 0.6 * scanner.kernel / pitch)))
    strength = scanner.noise * np.sqrt(5.0 / scanner.thickness)
    picture += grain * np.float32(strength / max(float(grain.std()), 1e-6))
    clipped: Plane = np.clip(picture, -1024, 3071)
    return clipped


def store(hu: Plane, storage: Storage) -> NDArray[np.integer[Any]]:
    """HU → stored values; the padding lies outside the circle that the picture is reconstructed in."""
    stored = np.round((hu - storage.intercept) / storage.slope)
    lowest, highest = (-32768, 32767) if storage.signed else (0, (1 << storage.bits_stored) - 1)
    values: NDArray[np.integer[Any]] = np.clip(stored, lowest, highest).astype(
        np.int16 if storage.signed else np.uint16
    )
    if storage.padding is not None:
        side = hu.shape[0]
        axis = np.arange(side, dtype=np.float32) - (side - 1) / 2
        values[axis[None, :] ** 2 + axis[:, None] ** 2 > (side / 2) ** 2] = storage.padding
    return values
