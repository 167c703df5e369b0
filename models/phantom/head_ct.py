"""One head-CT phantom: patient, bleedings and scanner put together, slice by slice."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.phantom.head_anatomy import Head, Mask, Plane, Point, draw_head, planes
from models.phantom.head_bleeding import KINDS, Bleeding, Section, draw_bleeding
from models.phantom.head_scanner import CtScanner, draw_scanner, expose, store

DRAWN = 256
"""The head is drawn at most this fine, pixels per side; blur and noise are made at the full matrix."""
_LOWEST, _HIGHEST = -52.0, 84.0
"""From the skull base to the crown, mm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadCt:
    """A synthetic head CT and the truth about it. No patient was ever involved.

    Attributes
    ----------
    pixels : ndarray of uint16 or int16, (slices, rows, columns)
        Stored values, from the skull base up.
    masks : dict of str to ndarray of bool, (slices, rows, columns)
        Where the blood of each kind lies.
    present : frozenset of str
        Kinds out of :data:`KINDS`; empty for a head without blood.
    positions : ndarray of float64, (slices, 3)
        Image Position (Patient): middle of the first pixel, mm, left, posterior, head.
    orientation : tuple of 6 floats
        Image Orientation (Patient).
    pitch : float
        Pixel spacing, mm.
    """

    pixels: NDArray[np.integer[Any]]
    masks: dict[str, Mask]
    present: frozenset[str]
    positions: NDArray[np.float64]
    orientation: tuple[float, ...]
    pitch: float
    head: Head
    scanner: CtScanner

    def __len__(self) -> int:
        return len(self.pixels)

    def hounsfield(self, number: int) -> Plane:
        """HU of a slice as a reader of its header gets them, padding as air: float32 (rows, columns)."""
        storage, stored = self.scanner.storage, self.pixels[number]
        hu: Plane = stored.astype(np.float32) * np.float32(storage.slope) + np.float32(storage.intercept)
        if storage.padding is not None:
            hu[stored == storage.padding] = -1024.0
        return hu

    def blood(self) -> Mask:
        """Blood of any kind, bool (slices, rows, columns)."""
        empty = np.zeros(self.pixels.shape, np.bool_)
        union: Mask = np.logical_or.reduce([empty, *self.masks.values()])
        return union


def generate_head_ct(
    seed: int, index: int, *, size: int = 512, kinds: Collection[str] | None = None, unseen: bool = False,
    slices: int | None = None, every: int = 1,
) -> HeadCt:  # fmt: skip
    """The head CT number `index` of the series `seed`: the same arguments always give the same pixels.

    Parameters
    ----------
    size : int
        Rows and columns, 64 to 1024.
    kinds : collection of str, optional
        Exactly the bleedings to show. By default 55 of 100 heads have none, the others one or two.
    unseen : bool
        The scanner that no training saw (:func:`models.phantom.head_scanner.draw_scanner`).
    slices : int, optional
        Exactly so many, 5 mm apart, from the skull base up; by default the whole head at the scanner's spacing.
    every : int
        Draw only each so many-th slice, where slices are wanted and no volume.

    Raises
    ------
    ValueError
        A size outside its range or a kind that no phantom can show.
    """
    if not 64 <= size <= 1024:
        raise ValueError(f"size is {size}, expected 64 to 1024 pixels")
    if kinds is not None and not set(kinds) <= set(KINDS):
        raise ValueError(f"unknown kinds {sorted(set(kinds) - set(KINDS))}; known are {', '.join(KINDS)}")
    patient, bleeding, machine, pose, grain = (np.random.default_rng(s) for s in _streams(seed, index)[1:])
    present = frozenset(kinds) if kinds is not None else draw_kinds(seed, index)
    head, scanner = draw_head(patient), draw_scanner(machine, unseen=unseen)
    bleedings = {kind: draw_bleeding(kind, head, bleeding) for kind in KINDS if kind in present}
    drawn = min(size, DRAWN)
    spacing = 5.0 if slices is not None else scanner.spacing
    heights = _LOWEST + spacing * np.arange(slices or int((_HIGHEST - _LOWEST) / spacing) + 1) + pose.uniform(-2, 2)
    heights = heights[int(pose.integers(every)) :: every]
    origins, orientation = _geometry(heights, scanner, drawn)
    turn, shift = _pose(pose)
    moving = int(grain.integers(len(heights))) if scanner.motion else -1
    stored: list[NDArray[np.integer[Any]]] = []
    masks: dict[str, list[Mask]] = {kind: [] for kind in bleedings}
    for number, origin in enumerate(origins):
        hu, found = _slice(head, bleedings, origin - shift, orientation, turn, drawn, scanner)
        low = float(np.clip((-20 - heights[number]) / 20, 0, 1))
        full = _enlarge(hu, size)
        pitch = scanner.field / size
        seen = expose(full, scanner, grain, pitch=pitch, low=low, moved=number == moving)
        stored.append(store(seen, scanner.storage))
        for kind, mask in found.items():
            masks[kind].append(_enlarge(mask.astype(np.float32), size) > 0.5)
    first = np.array([scanner.field / size, scanner.field / size]) / 2 - scanner.field / drawn / 2
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return HeadCt(
        pixels=np.stack(stored),
        masks={kind: np.stack(parts) for kind, parts in masks.items()},
        present=present,
        positions=origins + first[0] * row + first[1] * column,
        orientation=orientation,
        pitch=scanner.field / size,
        head=head,
        scanner=scanner,
    )


def draw_kinds(seed: int, index: int) -> frozenset[str]:
    """What :func:`generate_head_ct` shows when it is not told."""
    rng = np.random.default_rng(_streams(seed, index)[0])
    if rng.random() < 0.55:
        return frozenset()
    return frozenset(str(kind) for kind in rng.choice(KINDS, int(rng.choice([1, 1, 1, 2])), replace=False))


def _streams(seed: int, index: int) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence([seed, index, 2]).spawn(6)


def _geometry(heights: NDArray[Any], scanner: CtScanner, drawn: int) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """First pixels (slices, 3) and orientation: the gantry tilts about the x axis, the table moves along z."""
    cosine, sine = np.cos(scanner.tilt), np.sin(scanner.tilt)
    column = np.array([0.0, cosine, sine])
    half = scanner.field / 2 - scanner.field / drawn / 2
    centre = np.column_stack([np.zeros_like(heights), np.zeros_like(heights), heights])
    origins: NDArray[np.float64] = centre - half * np.array([1.0, 0.0, 0.0]) - half * column
    return origins, (1.0, 0.0, 0.0, 0.0, float(cosine), float(sine))


def _pose(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How the head lies: turned about z, bent to the side, and a little off the middle."""
    yaw, roll = np.deg2rad(rng.normal(0, 5)), np.deg2rad(rng.normal(0, 2.5))
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    turn: NDArray[np.float64] = about_z @ about_y
    return turn, np.array([*rng.normal(0, 4, 2), 0.0])


def _slice(
    head: Head,
    bleedings: dict[str, Bleeding],
    origin: NDArray[np.float64],
    orientation: tuple[float, ...],
    turn: NDArray[np.float64],
    side: int,
    scanner: CtScanner,
) -> tuple[Plane, dict[str, Mask]]:
    """The mean of two planes inside the slice: partial volume. Blood counts where either plane shows it."""
    pitch = scanner.field / side
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    total = np.zeros((side, side), np.float32)
    masks: dict[str, Mask] = {}
    for offset in (-0.25, 0.25):
        start = turn @ (origin + offset * scanner.thickness * normal)
        at = planes(start.tolist(), (turn @ row).tolist(), (turn @ column).tolist(), side, pitch)
        hu, found = _plane(head, bleedings, at)
        total += hu / 2
        masks = {kind: masks[kind] | mask if kind in masks else mask for kind, mask in found.items()}
    _holder(total, origin, pitch)
    return total, masks


def _plane(head: Head, bleedings: dict[str, Bleeding], at: Point) -> tuple[Plane, dict[str, Mask]]:
    depth = head.depth(at)
    hu, sulci = head.tissue(at, depth)
    section, masks = Section(at, depth, hu, sulci), {}
    for kind, bleeding in bleedings.items():
        mask = bleeding.fill(section)
        hu[mask] = np.float32(bleeding.value) + 6 * head.fold(at)[mask]
        masks[kind] = mask
    return hu, masks


def _holder(hu: Plane, origin: NDArray[np.float64], pitch: float) -> None:
    """The plastic shell that the head lies in."""
    side = hu.shape[0]
    x = origin[0] + np.arange(side, dtype=np.float32)[None, :] * pitch
    y = origin[1] + np.arange(side, dtype=np.float32)[:, None] * pitch
    radius = np.sqrt(x**2 + (y + 15) ** 2)
    shell = (np.abs(radius - 122) < 2.0) & (y > 45)
    hu[shell & (hu < -500)] = 90.0


def _enlarge(plane: Plane, size: int) -> Plane:
    if plane.shape[0] == size:
        return plane
    return np.asarray(cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR))
