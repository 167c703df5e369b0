"""One phantom: patient, findings and scanner put together in a single path integral."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.phantom import lesions
from models.phantom.anatomy import LEFT, RIGHT, Anatomy, draw_patient
from models.phantom.canvas import Canvas, Mask, Plane
from models.phantom.exposure import Scanner, develop, draw_scanner, show, store
from models.phantom.lesions import FINDINGS, Chest
from models.phantom.lungs import grain, trachea, vessels
from models.phantom.skeleton import bone

SOFT_TISSUE = 0.185
"""Linear attenuation of water for a filtered 120 kVp beam, 1/cm (about 65 keV, NIST XCOM)."""
BONE = 0.42
"""What a centimetre of cortical bone adds to that, 1/cm."""
DRAWN_ROWS = 1024
"""Anatomy is drawn at most this fine and enlarged to the matrix; noise is made at full resolution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phantom:
    """A synthetic frontal chest radiograph and the truth about it. No patient was ever involved.

    Attributes
    ----------
    pixels : ndarray of uint16, (rows, columns)
        Stored values as the scanner of :attr:`scanner` would send them.
    masks : dict of str to ndarray of bool, (rows, columns)
        Where each present finding lies.
    present : frozenset of str
        Keys out of :data:`~models.phantom.lesions.FINDINGS`; empty for a normal chest.
    spacing : float
        Pixel pitch in mm at the detector.
    """

    pixels: NDArray[np.uint16]
    masks: dict[str, Mask]
    present: frozenset[str]
    spacing: float
    anatomy: Anatomy
    scanner: Scanner

    def display(self) -> Plane:
        """The picture as a viewer shows it: float32 in [0, 1], bones bright."""
        return show(self.pixels, self.scanner)


def generate(
    seed: int, index: int, *, size: int, findings: Collection[str] | None = None, unseen: bool = False
) -> Phantom:
    """The phantom number `index` of the series `seed`: the same arguments always give the same pixels.

    Parameters
    ----------
    size : int
        Longer side of the matrix in pixels, 128 to 4096.
    findings : collection of str, optional
        Exactly the findings to show. By default 45 of 100 chests are normal, the others have one to three.
    unseen : bool
        The same patient on the scanner that no training saw (:func:`models.phantom.exposure.draw_scanner`).

    Raises
    ------
    ValueError
        A size outside its range or a finding that no phantom can show.
    """
    if not 128 <= size <= 4096:
        raise ValueError(f"size is {size}, expected 128 to 4096 pixels")
    if findings is not None and not set(findings) <= set(FINDINGS):
        raise ValueError(f"unknown findings {sorted(set(findings) - set(FINDINGS))}; known are {', '.join(FINDINGS)}")
    streams = np.random.SeedSequence([seed, index]).spawn(5)
    patient_rng, anatomy_rng, lesion_rng, scanner_rng = (np.random.default_rng(s) for s in streams[1:])
    present = frozenset(findings) if findings is not None else draw_findings(seed, index)
    anatomy = draw_patient(patient_rng, enlarged_heart="cardiomegaly" in present)
    scanner = draw_scanner(scanner_rng, anteroposterior=anatomy.anteroposterior, unseen=unseen)
    canvas, matrix = _position(anatomy, size, scanner_rng)

    attenuation, lungs, masks = _attenuation(canvas, anatomy, present, anatomy_rng, lesion_rng)
    picture = develop(canvas, attenuation, lungs, scanner, scanner_rng, matrix)
    rows, columns = matrix
    return Phantom(
        pixels=store(picture, scanner),
        masks={key: _enlarge(mask, rows, columns) for key, mask in masks.items()},
        present=present,
        spacing=canvas.spacing * canvas.rows / rows,
        anatomy=anatomy,
        scanner=scanner,
    )


def draw_findings(seed: int, index: int) -> frozenset[str]:
    """What :func:`generate` shows when it is not told."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]).spawn(1)[0])
    if rng.random() < 0.45:
        return frozenset()
    count = int(rng.choice([1, 1, 1, 1, 1, 1, 2, 2, 2, 3]))
    return frozenset(str(key) for key in rng.choice(FINDINGS, count, replace=False))


def _position(anatomy: Anatomy, size: int, rng: np.random.Generator) -> tuple[Canvas, tuple[int, int]]:
    """Lay the patient on a detector of 35 x 43, 43 x 43 or 43 x 35 cm."""
    portrait = rng.random()
    wide, tall = (350.0, 430.0) if portrait < 0.45 else (430.0, 430.0) if portrait < 0.8 else (430.0, 350.0)
    needed = 2 * (anatomy.width + 22)
    magnification = rng.uniform(0.96, 1.06) * min(1.0, wide / needed)
    rows, columns = round(size * tall / max(wide, tall)), round(size * wide / max(wide, tall))
    drawn = min(1.0, DRAWN_ROWS / max(rows, columns))
    draw_rows, draw_columns = round(rows * drawn), round(columns * drawn)
    spacing = max(wide, tall) / max(draw_rows, draw_columns)
    tilt = np.deg2rad(rng.normal(0, 1.6))
    scale = magnification / spacing
    middle = np.array([rng.normal(0, 5), 0.56 * anatomy.height + rng.normal(0, 10)])
    turn = scale * np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    centre = np.array([draw_columns / 2 - 0.5, draw_rows / 2 - 0.5])
    shift = centre - turn @ middle
    canvas = Canvas(draw_rows, draw_columns, spacing / magnification, np.column_stack([turn, shift]))
    return canvas, (rows, columns)


def _attenuation(
    canvas: Canvas, anatomy: Anatomy, present: frozenset[str], rng: np.random.Generator, lesion_rng: np.random.Generator
) -> tuple[Plane, Mask, dict[str, Mask]]:
    """The path integral of attenuation, the visible lung fields, and the masks of the findings."""
    x, y = canvas.grid()
    stature = np.clip((y + 90) / 260, 0, 1)
    trunk = canvas.rounded(canvas.fill(anatomy.body()), 46.0) * np.float32(anatomy.depth) * (0.76 + 0.24 * stature)
    arms = canvas.rounded(canvas.fill(anatomy.arm(RIGHT), anatomy.arm(LEFT)), 45.0) * np.float32(9.0)
    tissue = np.maximum(trunk, arms)

    chest, heart = _thorax(canvas, anatomy, x, y)
    if anatomy.breast:
        for side in (RIGHT, LEFT):
            hang = np.clip((y / np.float32(anatomy.height) - 0.45) / 0.5, 0, 1)
            tissue += canvas.rounded(canvas.fill(anatomy.breasts(side)), 40.0) * hang * np.float32(anatomy.breast)
    for key in FINDINGS:
        if key in present and key != "cardiomegaly":
            getattr(lesions, key)(chest, anatomy, lesion_rng)
    if "cardiomegaly" in present:
        lesions.cardiomegaly(chest, heart)

    aerated = np.clip(chest.air / 6, 0, 1) * chest.vessel_share
    blood = vessels(canvas, anatomy, rng) * aerated * np.float32(2.3)
    density = np.float32(anatomy.lung_density) * (1 + np.float32(0.10) * grain(canvas, rng))
    removed = chest.air * (1 - density) + chest.free_air - chest.solid + _airways(canvas, anatomy)
    if anatomy.stomach_gas:
        removed += _stomach_gas(anatomy, x, y, rng)
    water = np.maximum(tissue - removed + blood, 0)
    fat = 1 + 0.02 * canvas.noise(rng, 30.0)
    attenuation = SOFT_TISSUE * water * fat + BONE * bone(canvas, anatomy, rng)
    visible = (chest.air > 2.0) & (chest.lungs[RIGHT] | chest.lungs[LEFT])
    return attenuation, visible, chest.masks


def _thorax(canvas: Canvas, anatomy: Anatomy, x: Plane, y: Plane) -> tuple[Chest, Mask]:
    """Aerated lung: the cavities, less heart, great vessels and diaphragm where these stand in the beam."""
    room = np.clip(0.45 + 0.55 * y / (0.75 * anatomy.height), 0.3, 1.0) * np.float32(anatomy.depth * 0.74)
    cavity = {side: canvas.fill(anatomy.cavity(side)) for side in (RIGHT, LEFT)}
    air = (canvas.rounded(cavity[RIGHT], 52.0) + canvas.rounded(cavity[LEFT], 52.0)) * room
    heart = canvas.fill(anatomy.heart())
    solid = canvas.rounded(heart, 42.0) * np.float32(0.62) * room
    solid += canvas.rounded(canvas.fill(anatomy.mediastinum()), 15.0) * room * np.float32(0.9)
    lungs = {}
    for side in (RIGHT, LEFT):
        abdomen = canvas.fill(anatomy.diaphragm(side))
        solid += canvas.rounded(abdomen, 40.0) * room * ((side * x > -8) * np.float32(1.0))
        lungs[side] = (cavity[side] > 127) & (abdomen < 128)
    zero = np.zeros_like(air)
    chest = Chest(
        canvas=canvas,
        x=x,
        y=y,
        air=canvas.blur(np.maximum(air - solid, 0), 0.7),
        solid=zero,
        free_air=zero.copy(),
        vessel_share=zero + 1,
        lungs=lungs,
        hemithorax={side: cavity[side] > 127 for side in (RIGHT, LEFT)},
    )
    return chest, heart > 127


def _airways(canvas: Canvas, anatomy: Anatomy) -> Plane:
    curves, width = trachea(anatomy)
    plane = np.zeros((canvas.rows, canvas.columns), np.uint8)
    canvas.stroke(plane, curves[1:], width * 0.72, 170)
    canvas.stroke(plane, curves[:1], width, 255)
    return canvas.blur(plane.astype(np.float32) * np.float32(1.5 / 255), 1.8)


def _stomach_gas(anatomy: Anatomy, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """The bubble under the left dome."""
    centre = (rng.uniform(0.35, 0.6) * anatomy.width, anatomy.dome(LEFT) + rng.uniform(24, 36))
    wide, tall = rng.uniform(18, 38), rng.uniform(9, 17)
    bubble = 1 - ((x - np.float32(centre[0])) / wide) ** 2 - ((y - np.float32(centre[1])) / tall) ** 2
    return np.sqrt(np.maximum(bubble, 0)) * np.float32(rng.uniform(2.5, 5.0))


def _enlarge(mask: Mask, rows: int, columns: int) -> Mask:
    if mask.shape == (rows, columns):
        return mask
    large = cv2.resize(mask.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large, dtype=np.bool_)
