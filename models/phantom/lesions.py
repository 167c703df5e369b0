"""Findings: where they lie, what they do to the beam, and the mask that is the truth about them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.phantom.anatomy import LEFT, RIGHT, Anatomy
from models.phantom.canvas import Canvas, Mask, Plane, Points
from models.phantom.lungs import airways

FINDINGS = ("pneumothorax", "pleural_effusion", "consolidation", "cardiomegaly", "nodule_mass")
"""Keys of the findings a phantom can show, in the order of every table and every network output."""


@dataclass(slots=True)
class Chest:
    """The parts of the path integral that findings change; planes are (rows, columns).

    Attributes
    ----------
    air : Plane
        Depth of aerated lung in cm.
    solid : Plane
        Tissue in the lung's place in cm: nodules, the pleural line.
    free_air : Plane
        Depth of air outside the lung, in cm.
    vessel_share : Plane
        0 to 1: where lung, and so its vessels and grain, is present.
    lungs : dict
        Visible lung field of each side.
    hemithorax : dict
        Each side's whole cavity, recess included.
    masks : dict
        The truth, filled by the findings.
    """

    canvas: Canvas
    x: Plane
    y: Plane
    air: Plane
    solid: Plane
    free_air: Plane
    vessel_share: Plane
    lungs: dict[int, Mask]
    hemithorax: dict[int, Mask]
    masks: dict[str, Mask] = field(default_factory=dict)

    def mark(self, key: str, mask: Mask) -> None:
        """Add pixels to a finding's mask."""
        self.masks[key] = self.masks[key] | mask if key in self.masks else mask

    def replace(self, share: Plane) -> None:
        """Fill a share 0..1 of the aerated lung with water: what the body loses in air it keeps as tissue."""
        self.air *= 1 - share


def pneumothorax(chest: Chest, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Air between chest wall and lung, widest at the apex of an upright patient; a thin line borders the lung."""
    side = int(rng.choice([RIGHT, LEFT]))
    apex = rng.uniform(15, 75)
    lateral = rng.uniform(6, 30) * (0.6 + apex / 110)
    outward = side * chest.x
    # The lung recoils towards its hilum: undo that shift for every pixel and ask whether it fell on lung.
    height = np.clip(1 - chest.y / (0.95 * anatomy.height), 0, 1)
    wave = 1 + 0.12 * np.sin(chest.y / rng.uniform(18, 32) + rng.uniform(0, 6))
    ripple = 3.0 * np.sin(outward / rng.uniform(14, 24) + rng.uniform(0, 6))
    lateral_border = anatomy.lateral(chest.y - apex * height).astype(np.float32) - lateral * wave * (
        0.25 + 0.9 * height
    )
    top_border = apex + 0.020 * (outward - 0.48 * anatomy.width) ** 2 / (1 + apex / 40) + ripple
    collapsed = (outward < lateral_border) & (chest.y > top_border)
    lung = chest.lungs[side]
    rim = lung & ~collapsed & (chest.y < 0.92 * anatomy.height) & (outward > 12)
    soft = chest.canvas.blur(rim.astype(np.float32), 0.5)
    border = chest.canvas.blur((lung & collapsed).astype(np.float32), 0.6)
    line = np.clip(4 * border * (1 - border), 0, 1) * (chest.canvas.blur(rim.astype(np.float32), 2.5) > 0.05)
    chest.free_air += chest.air * soft
    chest.solid += line * np.float32(rng.uniform(0.22, 0.5)) + chest.air * border * np.float32(rng.uniform(0.02, 0.10))
    chest.vessel_share *= 1 - soft
    chest.air *= 1 - soft
    chest.mark("pneumothorax", rim)


def pleural_effusion(chest: Chest, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Fluid that gathers at the base and climbs the lateral wall as a meniscus."""
    sides = (RIGHT, LEFT) if rng.random() < 0.25 else (int(rng.choice([RIGHT, LEFT])),)
    for side in sides:
        climb = float(np.exp(rng.uniform(np.log(22), np.log(130))))
        angle = anatomy.dome(side) + 36  # level of the costophrenic angle
        outward = np.clip(side * chest.x / anatomy.lateral(chest.y).astype(np.float32), 0, 1.05)
        level = angle - climb * (0.42 + 0.58 * outward**3) - 6
        share = 1 / (1 + np.exp(np.clip((level - chest.y) / np.float32(rng.uniform(2.5, 6.0)), -30, 30)))
        share = share * chest.hemithorax[side] * np.float32(rng.uniform(0.82, 0.97))
        chest.replace(share)
        chest.vessel_share *= 1 - 0.9 * share
        fluid = (share > 0.4) & chest.hemithorax[side] & (chest.y < angle + 6)
        chest.mark("pleural_effusion", fluid)


def consolidation(chest: Chest, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Alveoli full of fluid: a cloudy opacity without sharp borders, air-filled bronchi visible in it."""
    side = int(rng.choice([RIGHT, LEFT]))
    centre = _place(anatomy, side, rng)
    size = rng.uniform(24, 52)
    cloud = np.zeros_like(chest.air)
    for _ in range(int(rng.integers(3, 6))):
        middle = centre + rng.normal(0, 0.40 * size, 2) * [0.8, 1.0]
        wide, tall = size * rng.uniform(0.45, 0.85, 2)
        cloud = np.maximum(
            cloud, np.exp(-0.5 * (((chest.x - middle[0]) / wide) ** 2 + ((chest.y - middle[1]) / tall) ** 2))
        )
    cloud *= 1 + 0.28 * chest.canvas.noise(rng, 14.0) + 0.12 * chest.canvas.noise(rng, 6.0)
    strength = rng.uniform(0.38, 0.85)
    share = np.clip(1.7 * cloud - 0.55, 0, 1) * np.float32(strength) * chest.lungs[side]
    share = chest.canvas.blur(share.astype(np.float32), 1.2)
    bronchi = airways(chest.canvas, anatomy.hilum(side), centre, rng)
    chest.free_air += np.minimum(bronchi, chest.air) * share
    chest.replace(share)
    chest.vessel_share *= 1 - share
    chest.mark("consolidation", (share > 0.30 * strength) & chest.lungs[side])


def nodule_mass(chest: Chest, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """One to three round opacities of 8 to 45 mm, slightly lobulated."""
    count = int(rng.choice([1, 1, 1, 2, 3]))
    for _ in range(count):
        side = int(rng.choice([RIGHT, LEFT]))
        radius = 0.5 * rng.uniform(8, 45)
        centre = _place(anatomy, side, rng, margin=radius)
        dx, dy = chest.x - np.float32(centre[0]), chest.y - np.float32(centre[1])
        bearing = np.arctan2(dy, dx)
        shape = 1 + sum(rng.uniform(0, 0.07) * np.cos(k * bearing + rng.uniform(0, 6.3)) for k in (2, 3, 5))
        distance = np.hypot(dx, dy) / (radius * shape)
        chord = 0.2 * radius * np.sqrt(np.clip(1 - distance**2, 0, 1))  # cm
        # A small nodule that one can see is dense: it is calcified or it would be missed by everyone.
        density = rng.uniform(1.0, 1.4) * (1 + 6.0 / radius)
        chest.solid += chest.canvas.blur(chord.astype(np.float32), 0.8) * np.float32(density)
        chest.mark("nodule_mass", distance < 1)


def cardiomegaly(chest: Chest, heart: Mask) -> None:
    """The heart itself is the finding; its size was drawn with the patient."""
    chest.mark("cardiomegaly", heart)


def _place(anatomy: Anatomy, side: int, rng: np.random.Generator, margin: float = 12.0) -> Points:
    """A point in the visible lung field, off its borders."""
    y = rng.uniform(30 + margin, anatomy.dome(side) - 12 - 0.5 * margin)
    outer = float(anatomy.lateral(y)) - 5 - margin
    heart = 2 * anatomy.width * anatomy.cardiothoracic_ratio * (0.68 if side == LEFT else 0.32)
    inner = 36 + 0.5 * margin if y < anatomy.dome(side) - 85 else max(36.0, heart) + 6 + 0.3 * margin
    return np.array([side * rng.uniform(min(inner, outer - 4), outer), y])
