"""Drawn radiographs that are no frontal chest: coarse, varied, and never of a patient.

They teach where bone, soft tissue and air lie in other views, not how a real film of them looks; no figure on them says
anything about real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from models.training.gate.drawing import (
    Picture,
    Rng,
    bent,
    blank,
    blurred,
    bone,
    cloud,
    developed,
    ellipse,
    line,
    polygon,
    thick,
)


def lateral_chest(rng: Rng) -> Picture:
    """A chest from the side: one lung field, the spine behind it, the heart in front, the arms above."""
    front = rng.uniform(0.12, 0.24)
    back = rng.uniform(0.76, 0.90)
    top, bottom = rng.uniform(0.02, 0.14), rng.uniform(0.72, 0.88)
    middle = (front + back) / 2
    body = polygon(
        [
            (middle - 0.14, 0.0), (middle + 0.12, 0.0), (back, top + 0.12), (back + 0.03, 0.5), (back - 0.02, 1.0),
            (front - 0.02, 1.0), (front - rng.uniform(0, 0.06), 0.62), (front + 0.04, top + 0.2),
        ],
        0.02,
    )  # fmt: skip
    film = thick(body) * rng.uniform(0.9, 1.4)
    lung = polygon(
        [
            (middle - 0.05, top + 0.06), (middle + 0.1, top + 0.04), (back - 0.09, top + 0.2),
            (back - 0.05, 0.5), (back - 0.08, bottom), (middle, bottom - rng.uniform(0.06, 0.14)),
            (front + 0.06, bottom - 0.04), (front + 0.05, 0.45),
        ],
        0.02,
    )  # fmt: skip
    film -= 0.75 * lung * film
    heart = ellipse(
        (front + 0.2, bottom - 0.17), (rng.uniform(0.10, 0.17), rng.uniform(0.12, 0.19)), rng.uniform(0, 40)
    )
    film += 0.5 * heart * lung
    column = bent((back - 0.20, 0.0), (back - rng.uniform(0.12, 0.2), 1.0), rng.uniform(-0.12, -0.04), 14)
    film += 0.35 * line(column, rng.uniform(0.06, 0.09))
    for x, y in column:
        film += 0.12 * line([(x - 0.04, y), (x + 0.04, y)], 0.012)
    film += rng.uniform(0.1, 0.3) * line(bent((front + 0.03, top + 0.2), (front + 0.07, bottom - 0.2), 0.06), 0.02)
    for height in np.arange(top + 0.15, bottom + 0.1, rng.uniform(0.07, 0.10)):
        film += 0.10 * line(
            bent((back - 0.05, height - 0.08), (front + 0.05, height + 0.1), rng.uniform(0, 0.1)), 0.018
        )
    if rng.random() < 0.7:
        film += 0.5 * thick(ellipse((middle + rng.uniform(-0.1, 0.15), 0.02), (0.12, rng.uniform(0.08, 0.2)), 20))
    film *= 1 + 0.05 * cloud(rng, 0.05)
    film = developed(np.maximum(film, 0), rng)
    return film[:, ::-1].copy() if rng.random() < 0.5 else film


def limb(rng: Rng) -> Picture:
    """A long bone or two with a joint, at any angle."""
    angle = rng.uniform(0, np.pi)
    way = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-way[1], way[0]])
    middle = 0.5 + rng.normal(0, 0.06, 2)
    flesh_width, bone_width = rng.uniform(0.16, 0.5), rng.uniform(0.05, 0.12)
    ends = [tuple(middle - way), tuple(middle + way)]
    flesh = line(bent(ends[0], ends[1], rng.normal(0, 0.04)), flesh_width, 0.02)
    film = thick(flesh) * rng.uniform(0.4, 0.8)
    offsets = (
        [0.0] if rng.random() < 0.4 else [-0.18 * flesh_width - bone_width / 3, 0.2 * flesh_width + bone_width / 3]
    )
    joint = middle + way * rng.uniform(-0.25, 0.25)
    has_joint = rng.random() < 0.65
    for offset in offsets:
        start, stop = ends[0] + offset * across, ends[1] + offset * across
        width = bone_width * rng.uniform(0.6, 1.2)
        if not has_joint:
            film += bone(bent(tuple(start), tuple(stop), rng.normal(0, 0.03)), width)
            continue
        gap = rng.uniform(0.006, 0.03)
        for end, sign in ((start, -1), (stop, 1)):
            head = joint + offset * across + sign * gap * way
            film += bone(bent(tuple(end), tuple(head), rng.normal(0, 0.03)), width)
            film += 0.8 * ellipse(tuple(head + sign * 0.04 * way), (width * 0.75, width * 0.65), np.rad2deg(angle))
    return _shown(film, rng)


def hand(rng: Rng) -> Picture:
    """Rays of small bones from a wrist, or a foot."""
    film = blank()
    wrist = np.array([0.5, 0.78]) + rng.normal(0, 0.03, 2)
    spread, reach = rng.uniform(0.35, 0.9), rng.uniform(0.5, 0.68)
    for share in np.linspace(-0.5, 0.5, 5):
        angle = -np.pi / 2 + share * spread + rng.normal(0, 0.03)
        way = np.array([np.cos(angle), np.sin(angle)])
        long = reach * (1 - 0.9 * abs(share) ** 1.5)
        film += 0.35 * line([tuple(wrist), tuple(wrist + way * long)], rng.uniform(0.07, 0.1), 0.015)
        stops = np.array([0.12, 0.48, 0.72, 0.88, 0.99]) * long
        for first, last in pairwise(stops):
            film += 0.8 * bone([tuple(wrist + way * (first + 0.012)), tuple(wrist + way * (last - 0.012))], 0.032)
    for _ in range(8):
        film += 0.45 * ellipse(tuple(wrist + rng.normal(0, 0.045, 2)), tuple(rng.uniform(0.02, 0.045, 2)), 0)
    film += 0.4 * line([tuple(wrist), (float(wrist[0]), 1.1)], rng.uniform(0.14, 0.2), 0.02)
    for offset in (-0.045, 0.045):
        film += 0.8 * bone([(wrist[0] + offset, wrist[1] + 0.06), (wrist[0] + offset, 1.1)], rng.uniform(0.05, 0.07))
    return _shown(film, rng)


def skull(rng: Rng) -> Picture:
    """A skull from the front or from the side."""
    wide, tall = rng.uniform(0.26, 0.36), rng.uniform(0.32, 0.42)
    side_view = rng.random() < 0.5
    centre = (0.5 + rng.normal(0, 0.03), 0.42 + rng.normal(0, 0.03))
    outer = ellipse(centre, (wide * (1.2 if side_view else 1.0), tall), rng.uniform(-8, 8))
    inner = ellipse(centre, (wide * (1.2 if side_view else 1.0) - 0.03, tall - 0.03))
    film = 0.5 * thick(outer) + 0.6 * (outer - 0.9 * inner)
    jaw = (centre[0] + (rng.uniform(0.12, 0.2) if side_view else 0.0), centre[1] + tall * 0.9)
    film += 0.5 * thick(ellipse(jaw, (wide * 0.6, 0.16)))
    for sign in (-1, 1):
        eye = (centre[0] + (0.26 if side_view else sign * wide * 0.45), centre[1] + 0.1)
        film -= 0.35 * ellipse(eye, (0.07, 0.06))
    film -= 0.3 * ellipse((jaw[0], jaw[1] - 0.12), (0.05, 0.07))
    for tooth in np.linspace(-0.09, 0.09, 8):
        film += 0.35 * ellipse((jaw[0] + tooth, jaw[1] - 0.01), (0.010, 0.03))
    film += 0.5 * line([(jaw[0] - 0.1 * side_view, jaw[1]), (jaw[0] - 0.1 * side_view, 1.1)], 0.26, 0.02)
    for height in np.arange(jaw[1], 1.02, 0.07):
        film += 0.3 * ellipse((jaw[0] - 0.1 * side_view, height), (0.05, 0.025))
    return _shown(film * (1 + 0.05 * cloud(rng, 0.04)), rng)


def abdomen(rng: Rng) -> Picture:
    """Spine, pelvis and bowel gas: the neighbour below, without lungs. Also a pelvis alone."""
    wide = rng.uniform(0.36, 0.48)
    body = polygon([(0.5 - wide, 0), (0.5 + wide, 0), (0.5 + wide * 0.9, 0.5), (0.5 + wide, 1), (0.5 - wide, 1),
                    (0.5 - wide * 0.9, 0.5)], 0.02)  # fmt: skip
    film = thick(body) * rng.uniform(0.8, 1.3)
    end = rng.uniform(0.5, 0.75)
    for height in np.arange(-0.05, end, rng.uniform(0.08, 0.11)):
        film += 0.35 * polygon([(0.44, height), (0.56, height), (0.56, height + 0.065), (0.44, height + 0.065)])
        film += 0.15 * line([(0.36, height + 0.03), (0.64, height + 0.03)], 0.02)
    for sign in (-1, 1):
        wing = ellipse((0.5 + sign * 0.22, end + 0.06), (0.17, 0.13), sign * 35)
        film += 0.30 * wing
        film += 0.4 * ellipse((0.5 + sign * 0.27, end + 0.3), (0.07, 0.07))
        film += 0.4 * bone([(0.5 + sign * 0.27, end + 0.3), (0.5 + sign * 0.36, 1.2)], 0.11)
        film -= 0.25 * ellipse((0.5 + sign * 0.09, end + 0.34), (0.06, 0.045), sign * 30)
    for _ in range(int(rng.integers(2, 14))):
        where = (0.5 + rng.normal(0, 0.18), rng.uniform(0.0, 0.75))
        film -= rng.uniform(0.1, 0.4) * ellipse(where, tuple(rng.uniform(0.02, 0.09, 2)), rng.uniform(0, 180), 0.02)
    if rng.random() < 0.3:  # the pelvis alone fills the film
        film = film[70:, 35:125]
    return _shown(_fitted(film), rng)


def spine(rng: Rng) -> Picture:
    """A column of vertebrae, from the front or from the side."""
    start, stop = (rng.uniform(0.3, 0.7), -0.05), (rng.uniform(0.3, 0.7), 1.05)
    column = bent(start, stop, rng.normal(0, 0.12), int(rng.integers(7, 13)))
    size = rng.uniform(0.06, 0.13)
    film = 0.6 * thick(line(column, rng.uniform(0.35, 0.9), 0.03))
    for first, last in pairwise(column):
        middle = (first + last) / 2
        film += rng.uniform(0.4, 0.6) * ellipse(tuple(middle), (size, 0.4 * float(np.linalg.norm(last - first))))
        film += 0.25 * line([tuple(middle), (middle[0] + 2.2 * size, middle[1] + 0.03)], 0.025)
    return _shown(film * (1 + 0.08 * cloud(rng, 0.05)), rng)


def breast(rng: Rng) -> Picture:
    """A mammogram: half an ellipse at one edge of an empty film."""
    tall, deep = rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.75)
    shape = ellipse((0.0, 0.5 + rng.normal(0, 0.05)), (deep, tall))
    strands = np.maximum(cloud(rng, 0.05) * 0.5 + cloud(rng, 0.12), 0)
    return _shown(shape * (0.25 + 0.35 * thick(shape) + 0.2 * blurred(strands, 0.01)), rng)


def teeth(rng: Rng) -> Picture:
    """A panoramic film: two rows of teeth, the jaw below, wide and flat."""
    film = 0.4 + 0.15 * cloud(rng, 0.15) + blank()
    bow = rng.uniform(0.02, 0.10)
    for x in np.linspace(0.1, 0.9, int(rng.integers(12, 18))):
        sag = bow * (1 - ((x - 0.5) / 0.4) ** 2)
        for y, sign in ((0.42, -1), (0.55, 1)):
            height = rng.uniform(0.06, 0.09)
            film += 0.6 * ellipse((x, y + sag + sign * height / 2), (0.02, height))
    film += 0.4 * line(bent((0.03, 0.3), (0.97, 0.3), -0.32), 0.06, 0.02)
    film -= 0.3 * line(bent((0.2, 0.28), (0.8, 0.28), -0.02), 0.12, 0.03)
    film += 0.35 * line([(0.5, 0.0), (0.5, 1.0)], rng.uniform(0.06, 0.16), 0.04)
    film = np.clip(film, 0, None)
    cut = int(rng.uniform(0.12, 0.26) * film.shape[0])
    flat = developed(film, rng)
    flat[:cut] = flat[-cut:] = 0
    return flat


def whole_body(rng: Rng) -> Picture:
    """A figure from head to foot, small in its film: a bone scan, a scout view."""
    height = rng.uniform(0.8, 0.98)
    unit = height / 7.5
    x, y = 0.5 + rng.normal(0, 0.12), 0.5 - height / 2
    broad = rng.uniform(0.8, 1.3) * unit
    body = ellipse((x, y + 0.5 * unit), (0.38 * unit, 0.5 * unit))
    body = np.maximum(body, ellipse((x, y + 2.3 * unit), (broad, 1.5 * unit)))
    for sign in (-1, 1):
        body = np.maximum(
            body, line([(x + sign * broad, y + 1.3 * unit), (x + sign * 1.4 * broad, y + 4 * unit)], 0.4 * unit)
        )
        body = np.maximum(
            body, line([(x + sign * 0.45 * unit, y + 3.5 * unit), (x + sign * 0.5 * unit, y + 7.4 * unit)], 0.7 * unit)
        )
    film = body * rng.uniform(0.1, 0.5) + rng.uniform(0.2, 0.6) * thick(body)
    film += 0.5 * line([(x, y + unit), (x, y + 3.9 * unit)], 0.18 * unit)
    film += 0.3 * np.maximum(cloud(rng, 0.03), 0) * body
    if rng.random() < 0.35:  # a scout of the trunk: neither head nor legs
        first = int((y + rng.uniform(0.4, 1.2) * unit) * film.shape[0])
        last = int((y + rng.uniform(3.8, 5.5) * unit) * film.shape[0])
        film = film[max(first, 0) : last]
    return _shown(_fitted(film), rng)


def animal(rng: Rng) -> Picture:
    """A four-legged trunk from the side: the spine runs across the film, the ribs down from it."""
    top = rng.uniform(0.22, 0.38)
    deep = rng.uniform(0.30, 0.5)
    body = line(bent((-0.1, top + deep / 2), (1.1, top + deep / 2 + rng.normal(0, 0.06)), rng.normal(0, 0.04)), deep)
    film = thick(body) * rng.uniform(0.8, 1.2)
    reach = rng.uniform(0.45, 0.65)
    lung = polygon([(0.2, top + 0.09), (reach, top + 0.08), (reach + 0.18, top + 0.1), (reach, top + deep * 0.8),
                    (0.32, top + deep * 0.85), (0.18, top + deep * 0.5)], 0.02)  # fmt: skip
    film -= 0.7 * lung * film
    film += 0.5 * ellipse((0.38, top + deep * 0.62), (0.1, deep * 0.27), rng.uniform(-40, 10)) * lung
    film += 0.4 * line([(-0.1, top + 0.06), (1.1, top + 0.06 + rng.normal(0, 0.02))], 0.06)
    for x in np.arange(0.12, reach + 0.25, rng.uniform(0.045, 0.07)):
        film += 0.14 * line(bent((x, top + 0.06), (x + rng.uniform(0.02, 0.1), top + deep * 0.9), -0.1), 0.014)
    for _ in range(2):
        start = (rng.uniform(0.02, 0.22), top + deep * 0.6)
        film += 0.7 * bone([start, (start[0] + rng.normal(0, 0.1), 1.1)], rng.uniform(0.04, 0.07))
    film = developed(np.maximum(film * (1 + 0.06 * cloud(rng, 0.04)), 0), rng)
    return film[:, ::-1].copy() if rng.random() < 0.5 else film


def axial_slice(rng: Rng) -> Picture:
    """A slice across the trunk or the head: an outline in the air, not a projection."""
    wide, tall = rng.uniform(0.34, 0.48), rng.uniform(0.24, 0.38)
    head = rng.random() < 0.35
    if head:
        wide, tall = rng.uniform(0.25, 0.38), rng.uniform(0.32, 0.45)
    body = ellipse((0.5, 0.5), (wide, tall), rng.normal(0, 3), 0.004)
    film = body * rng.uniform(0.35, 0.6)
    if head:
        film += 0.5 * (body - ellipse((0.5, 0.5), (wide - 0.03, tall - 0.03), 0, 0.004))
        film -= 0.1 * ellipse((0.5, 0.48), (0.05, 0.1))
    else:
        film += 0.2 * (body - ellipse((0.5, 0.5), (wide - 0.04, tall - 0.04), 0, 0.004)) * rng.choice([-1, 1])
        if rng.random() < 0.6:
            lung = rng.uniform(0.2, 0.55), rng.uniform(0.22, 0.36) * wide, rng.uniform(0.45, 0.75) * tall
            for sign in (-1, 1):
                film -= lung[0] * ellipse((0.5 + sign * wide * 0.5, 0.48), lung[1:], sign * rng.uniform(0, 25), 0.004)
        film += 0.45 * ellipse((0.5, 0.5 + tall * 0.55), (0.07, 0.06), 0, 0.004)
        film += 0.15 * ellipse((0.5 + rng.normal(0, 0.05), 0.42), (0.11, 0.10), 0, 0.004)
        for _ in range(9):
            angle = rng.uniform(0, 2 * np.pi)
            where = (0.5 + np.cos(angle) * (wide - 0.05), 0.5 + np.sin(angle) * (tall - 0.05))
            film += 0.4 * ellipse(where, (0.03, 0.012), np.rad2deg(angle) + 90, 0.004)
    film += 0.3 * line(bent((0.1, 0.5 + tall + 0.04), (0.9, 0.5 + tall + 0.04), 0.08), 0.01)
    film += 0.05 * cloud(rng, 0.01) * body
    return np.clip(film, 0, 1).astype(np.float32)


OTHERS: tuple[Callable[[Rng], Picture], ...] = (
    limb, limb, hand, skull, abdomen, spine, breast, teeth, whole_body, animal, animal, axial_slice, axial_slice,
)  # fmt: skip


def _shown(film: Picture, rng: Rng) -> Picture:
    """Developed, perhaps between blades: what they cover is black, or white where nobody darkened it."""
    picture = developed(np.maximum(film, 0), rng)
    if rng.random() < 0.3:
        left, right = (int(rng.uniform(0.0, 0.3) * picture.shape[1]) for _ in range(2))
        shade = float(rng.choice([0.0, 1.0]))
        picture[:, :left] = shade
        picture[:, picture.shape[1] - right :] = shade
    return picture


def _fitted(film: Picture) -> Picture:
    """Whatever its proportions, in the middle of a sheet."""
    sheet = blank()
    scale = sheet.shape[0] / max(film.shape)
    rows, columns = (max(1, round(side * scale)) for side in film.shape)
    top, left = (sheet.shape[0] - rows) // 2, (sheet.shape[1] - columns) // 2
    sheet[top : top + rows, left : left + columns] = cv2.resize(film.astype(np.float32), (columns, rows))
    return sheet
