"""Frontal chests as other days, machines and patients would show them, and what is made of them to be refused."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from models.training.gate.drawing import (
    SIDE,
    Picture,
    Rng,
    bent,
    blank,
    blurred,
    cloud,
    ellipse,
    line,
    polygon,
    resized,
)


def varied(chest: Picture, rng: Rng) -> Picture:
    """Another frontal film: moved, exposed otherwise, with disease, cables, letters and borders.

    Disease matters most: a chest with a white lung is a chest, and the one that must not be refused.

    Parameters
    ----------
    chest : ndarray
        float32 (160, 160) in [0, 1].
    """
    picture = chest
    if rng.random() < 0.35:
        picture = _opacified(picture, rng)
    if rng.random() < 0.25:
        picture = _with_cables(picture, rng)
    picture = _moved(picture, rng)
    if rng.random() < 0.35:
        picture = _locally_equalised(picture, rng)
    picture = _exposed(picture, rng)
    if rng.random() < 0.3:
        picture = _lettered(picture, rng)
    if rng.random() < 0.3:
        picture = _framed(picture, rng)
    if rng.random() < 0.3:
        picture = blurred(picture, rng.uniform(0.002, 0.010))
    if rng.random() < 0.3:
        picture = picture + rng.standard_normal(picture.shape).astype(np.float32) * np.float32(rng.uniform(0.0, 0.05))
    return np.clip(picture, 0, 1).astype(np.float32)


def inverted(chest: Picture, rng: Rng) -> Picture:
    """Black is white: Photometric Interpretation or Presentation LUT Shape is wrong. Turned or not."""
    picture = 1 - varied(chest, rng)
    return np.rot90(picture, int(rng.integers(4))).copy() if rng.random() < 0.15 else picture


def turned(chest: Picture, rng: Rng) -> Picture:
    """Lying on its side or upside down, perhaps mirrored."""
    picture = np.rot90(varied(chest, rng), int(rng.integers(1, 4)))
    return np.ascontiguousarray(picture)


def half(chest: Picture, rng: Rng) -> Picture:
    """One side of a chest spread over the film: one lung field beside a spine, as a lateral view has it."""
    picture = varied(chest, rng)
    edge = int(rng.uniform(0.46, 0.58) * SIDE)
    part = picture[:, :edge] if rng.random() < 0.5 else picture[:, SIDE - edge :]
    wide = int(rng.uniform(0.6, 1.0) * SIDE)
    spread = resized(part, wide, SIDE)
    if wide == SIDE or rng.random() < 0.5:
        return resized(spread, SIDE, SIDE)
    sheet = blank()
    left = (SIDE - wide) // 2
    sheet[:, left : left + wide] = spread
    return sheet


def piece(chest: Picture, rng: Rng) -> Picture:
    """A small part, enlarged."""
    side = int(rng.uniform(0.12, 0.42) * SIDE)
    top, left = (int(v) for v in rng.integers(0, SIDE - side, 2))
    part = varied(chest, rng)[top : top + side, left : left + side]
    return resized(part, SIDE, SIDE, cv2.INTER_CUBIC).clip(0, 1)


def shuffled(chest: Picture, rng: Rng) -> Picture:
    """Its parts in another order: all that a chest has, and no chest."""
    picture = varied(chest, rng)
    count = int(rng.integers(2, 5))
    step = SIDE // count
    tiles = [picture[r * step : (r + 1) * step, c * step : (c + 1) * step] for r in range(count) for c in range(count)]
    order = rng.permutation(len(tiles))
    while np.mean(order == np.arange(len(tiles))) > 0.3:
        order = rng.permutation(len(tiles))
    rows = [np.hstack([tiles[i] for i in order[r * count : (r + 1) * count]]) for r in range(count)]
    return resized(np.vstack(rows), SIDE, SIDE)


def squeezed(chest: Picture, rng: Rng) -> Picture:
    """Far too narrow, too flat or too small."""
    picture = varied(chest, rng)
    kind = rng.random()
    small = rng.uniform(0.15, 0.38)
    wide, tall = (small, 1.0) if kind < 0.3 else (1.0, small) if kind < 0.6 else (small, small)
    columns, rows = max(4, int(wide * SIDE)), max(4, int(tall * SIDE))
    sheet = blank() + np.float32(rng.choice([0.0, 0.0, 1.0, 0.5]))
    top, left = (int(rng.integers(0, SIDE - side + 1)) for side in (rows, columns))
    sheet[top : top + rows, left : left + columns] = resized(picture, columns, rows, cv2.INTER_AREA)
    return sheet


def tiled(chest: Picture, rng: Rng) -> Picture:
    """Two or four on one film: a printed sheet, a comparison."""
    small = resized(varied(chest, rng), SIDE // 2, SIDE // 2, cv2.INTER_AREA)
    other = small if rng.random() < 0.5 else small[:, ::-1]
    if rng.random() < 0.5:
        return np.vstack([np.hstack([small, other]), np.hstack([other, small])])
    return resized(np.hstack([small, other]), SIDE, SIDE)


def scrambled(chest: Picture, rng: Rng) -> Picture:
    """The same spectrum with other phases: the grain of a chest and none of its shape."""
    spectrum = np.fft.rfft2(varied(chest, rng))
    phases = np.exp(1j * rng.uniform(0, 2 * np.pi, spectrum.shape))
    picture = np.fft.irfft2(np.abs(spectrum) * phases, s=(SIDE, SIDE)).astype(np.float32)
    low, high = np.percentile(picture, (0.5, 99.5))
    clipped: Picture = np.clip((picture - low) / max(float(high - low), 1e-3), 0, 1)
    return clipped


def swirled(chest: Picture, rng: Rng) -> Picture:
    """Wound up or folded along a line."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE - 0.5
    if rng.random() < 0.5:
        turn = rng.choice([-1, 1]) * rng.uniform(2.5, 6.0) * np.exp(-np.hypot(x, y) * rng.uniform(2, 5))
        x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    else:
        x, y = np.hypot(x, y) * 1.3 - 0.5, np.arctan2(y, x) / (2 * np.pi)
    picture = varied(chest, rng)
    along, down = ((axis + 0.5) * SIDE for axis in (x, y))
    wound: Picture = cv2.remap(
        picture, along.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return wound


SPOILT: tuple[Callable[[Picture, Rng], Picture], ...] = (
    piece, piece, shuffled, shuffled, squeezed, tiled, scrambled, swirled,
)  # fmt: skip


# --- what makes another film of a chest ---


def _moved(picture: Picture, rng: Rng) -> Picture:
    middle = (SIDE - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), float(np.clip(rng.normal(0, 4), -12, 12)), 1.0)
    zoom = float(np.clip(np.exp(rng.normal(0.0, 0.15)), 0.6, 1.45))
    aspect = float(np.exp(rng.normal(0, 0.07)))
    stretch = np.diag([zoom * aspect, zoom / aspect])
    turn[:, :2] = stretch @ turn[:, :2]
    turn[:, 2] = middle - turn[:, :2] @ [middle, middle] + rng.normal(0, 0.055 * SIDE, 2)
    if rng.random() < 0.5:  # the heart may lie on either side
        turn = turn @ np.array([[-1.0, 0.0, SIDE - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    return np.asarray(cv2.warpAffine(picture, turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=border))


def _exposed(picture: Picture, rng: Rng) -> Picture:
    picture = np.clip(picture, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.3:  # part of the range is lost in black or white
        low, high = rng.uniform(-0.1, 0.12), rng.uniform(0.8, 1.1)
        picture = (picture - np.float32(low)) / np.float32(high - low)
    if rng.random() < 0.5:  # a pale picture
        span = rng.uniform(0.15, 0.9)
        picture = rng.uniform(0, 1 - span) + span * np.clip(picture, 0, 1)
    return np.clip(picture, 0, 1).astype(np.float32)


def _opacified(picture: Picture, rng: Rng) -> Picture:
    """Fluid, consolidation or a white lung on one side or both."""
    bright = float(np.percentile(picture, rng.uniform(60, 92)))
    veil = blank()
    for side in rng.choice([0.3, 0.7], int(rng.integers(1, 3)), replace=False):
        kind = rng.random()
        if kind < 0.35:
            level = rng.uniform(0.2, 0.7)
            reach = 0.22
            outline = [(side - reach, level - 0.05), (side, level + 0.04), (side + reach, level - 0.05),
                       (side + reach, 1.0), (side - reach, 1.0)]  # fmt: skip
            veil = np.maximum(veil, polygon(outline, 0.03))
        elif kind < 0.6:
            veil = np.maximum(veil, ellipse((side, 0.45), (0.2, 0.36), 0, 0.03))
        else:
            for _ in range(int(rng.integers(1, 5))):
                where = (side + rng.normal(0, 0.08), rng.uniform(0.2, 0.75))
                veil = np.maximum(veil, ellipse(where, tuple(rng.uniform(0.04, 0.16, 2)), rng.uniform(0, 180), 0.03))
    veil = veil * np.float32(rng.uniform(0.4, 1.0)) * (1 + np.float32(0.1) * cloud(rng, 0.06))
    return np.asarray(picture + np.clip(veil, 0, 1) * (np.maximum(bright, picture) - picture), np.float32)


def _with_cables(picture: Picture, rng: Rng) -> Picture:
    for _ in range(int(rng.integers(1, 6))):
        ends = rng.uniform(0.05, 0.95, (2, 2))
        cable = line(bent(tuple(ends[0]), tuple(ends[1]), rng.normal(0, 0.25)), rng.uniform(0.006, 0.014), 0.002)
        picture = np.maximum(picture, cable * np.float32(rng.uniform(0.6, 1.0)))
    if rng.random() < 0.4:
        picture = np.maximum(picture, ellipse(tuple(rng.uniform(0.15, 0.5, 2)), (0.05, 0.04), 0, 0.003))
    return picture


def _locally_equalised(picture: Picture, rng: Rng) -> Picture:
    """As makers' processing does it: contrast in small neighbourhoods."""
    tiles = int(rng.integers(2, 7))
    way = cv2.createCLAHE(clipLimit=float(rng.uniform(1.5, 6.0)), tileGridSize=(tiles, tiles))
    strong = way.apply(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)).astype(np.float32) / 255
    share = np.float32(rng.uniform(0.3, 1.0))
    mixed: Picture = (1 - share) * picture + share * strong
    return mixed


def _lettered(picture: Picture, rng: Rng) -> Picture:
    letters = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        text = str(rng.choice(["L", "R", "PA", "AP", "L SITZEND", "PORTABLE", "12:30"]))
        where = int(rng.choice([4, 20, 120])), int(rng.choice([14, 30, 150]))
        cv2.putText(letters, text, where, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.25, 0.6), 255, 1, cv2.LINE_AA)
    return np.maximum(picture, letters.astype(np.float32) / 255)


def _framed(picture: Picture, rng: Rng) -> Picture:
    """Blades, a shutter, or the rim of a copied film."""
    widest = 0.13 if rng.random() < 0.8 else 0.28
    widths = (np.maximum(rng.uniform(-0.08, widest, 4), 0) * SIDE).astype(int)
    top, bottom, left, right = widths
    framed = np.full_like(picture, rng.choice([0.0, 0.0, 0.0, 1.0]))
    inside = slice(top, SIDE - bottom), slice(left, SIDE - right)
    framed[inside] = picture[inside]
    return framed
