"""One invented patient: sizes in mm and the outlines that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.phantom.canvas import Points, mirrored, shifted, smooth

RIGHT, LEFT = -1, +1
"""The patient's right lung lies on the image's left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """What differs between patients; lengths in mm at the detector.

    Attributes
    ----------
    sex : str
        "F" or "M"; breasts and build follow.
    age : int
        Years.
    anteroposterior : bool
        AP (bedside) projection: larger heart shadow, less inspiration, scapulae over the lungs.
    width : float
        Inner half width of the thorax at its widest.
    height : float
        From the lung apices to the right dome of the diaphragm.
    depth : float
        Of the body, front to back, in cm of water at the level of the heart.
    wall : float
        Soft tissue outside the ribs.
    domes : (float, float)
        Level y of the right and left dome.
    cardiothoracic_ratio : float
        Widest heart over widest inner thorax; above 0.5 counts as enlarged (Danzer 1919).
    rotation : float
        Shift of the mediastinum to the image's right where the patient stands turned.
    breast : float
        Depth of a breast in cm, 0 for none to see.
    lung_density : float
        Of aerated lung, relative to water.
    """

    sex: str
    age: int
    anteroposterior: bool
    width: float
    height: float
    depth: float
    wall: float
    domes: tuple[float, float]
    cardiothoracic_ratio: float
    rotation: float
    breast: float
    lung_density: float
    slope: float
    rib_pitch: float
    vessel_gain: float
    aorta: float
    stomach_gas: bool

    def dome(self, side: int) -> float:
        """Level of the diaphragm's dome on a side."""
        return self.domes[0] if side == RIGHT else self.domes[1]

    def lateral(self, y: Points | float) -> Any:
        """Inner half width of the thorax at level y."""
        levels = np.array([-6, 0, 8, 22, 50, 100, 150, 200, 260, 330]) * (self.height / 215)
        widths = np.array([0.34, 0.50, 0.60, 0.70, 0.82, 0.93, 0.98, 1.0, 0.99, 0.95]) * self.width
        return np.interp(y, levels, widths)

    def cavity(self, side: int) -> Points:
        """Outline of one hemithorax, recess behind the diaphragm included."""
        low = self.dome(side) + 48
        levels = np.linspace(8, low - 14, 14)
        wall = np.column_stack([self.lateral(levels), levels])
        wall[-1, 0] -= 2
        top = np.array([[0.14, 22], [0.22, 4], [0.36, -4], [0.50, -1]]) * [self.width, self.height / 215]
        floor = np.array([[0.88 * self.width, low], [0.45 * self.width, low + 2], [0.12 * self.width, low - 8]])
        return mirrored(smooth(np.vstack([top, wall, floor]), closed=True), side)

    def diaphragm(self, side: int) -> Points:
        """Outline of the abdomen's upper border on a side, closed far below the image."""
        top = self.dome(side)
        outer = float(self.lateral(top + 30))
        arch = np.array(
            [
                [-8, top + 14],
                [0.22 * outer, top + 7],
                [0.45 * outer, top],
                [0.66 * outer, top + 5],
                [0.85 * outer, top + 18],
            ]
        )
        edge = np.array([[0.96 * outer, top + 33], [outer + 2, top + 46]])
        curve = smooth(np.vstack([arch, edge]), closed=False)
        return mirrored(np.vstack([curve, [[outer + 60, 700], [-8, 700]]]), side)

    def heart(self) -> Points:
        """Outline of the heart; its width is the cardiothoracic ratio's share of the inner thorax."""
        total = 2.0 * self.width * self.cardiothoracic_ratio
        right, left = 0.32 * total, 0.68 * total
        floor = max(self.domes) + 6
        tall = 104 + 0.25 * (total - 110)
        top = floor - tall
        outline = np.array(
            [
                [-0.55 * right, top + 4],
                [-0.90 * right, top + 0.34 * tall],
                [-1.00 * right, top + 0.58 * tall],
                [-0.88 * right, top + 0.84 * tall],
                [-0.50 * right, floor],
                [0.20 * left, floor + 5],
                [0.72 * left, floor + 1],
                [0.96 * left, top + 0.88 * tall],
                [1.00 * left, top + 0.74 * tall],
                [0.86 * left, top + 0.48 * tall],
                [0.62 * left, top + 0.20 * tall],
                [0.42 * left, top - 2],
            ]
        )
        return shifted(smooth(outline, closed=True), self.rotation)

    def mediastinum(self) -> Points:
        """Outline of the great vessels above the heart, aortic knob on the image's right."""
        knob = self.aorta
        h = self.height / 215
        outline = np.array(
            [
                [-22, -70], [-23, -10], [-27, 18], [-30, 50], [-31, 85], [-33, 130], [0, 190], [33, 135],
                [42, 112], [40, 96], [knob - 3, 82], [knob, 67], [knob - 5, 53], [30, 40], [27, 15], [23, -10],
                [22, -70],
            ],
            dtype=np.float64,
        ) * [1.0, h]  # fmt: skip
        return shifted(smooth(outline, closed=True), self.rotation)

    def hilum(self, side: int) -> Points:
        """Where the vessels of a lung begin."""
        level = (104 if side == RIGHT else 97) * self.height / 215
        return np.array([side * 30.0 + self.rotation, level])

    def body(self) -> Points:
        """Silhouette of trunk and neck."""
        chest = self.width + self.wall
        half = np.array(
            [
                [54, -260], [54, -70], [66, -45], [110, -30], [160, -14], [chest + 38, 8], [chest + 34, 60],
                [chest + 6, 95], [chest, 140], [chest + 2, 220], [chest + 6, 300], [chest + 12, 420], [chest + 12, 700],
            ]
        )  # fmt: skip
        curve = smooth(half, closed=False)
        return np.vstack([curve, mirrored(curve, -1)[::-1]])

    def arm(self, side: int) -> Points:
        """Silhouette of the upper arm, beside the trunk in an AP image and turned out in a PA one."""
        chest = self.width + self.wall
        out = 25.0 if self.anteroposterior else 62.0
        outline = np.array(
            [[chest - 8, -8], [chest + 42, 8], [chest + 62, 60], [chest + 60 + out, 260], [chest + 62 + out, 480],
             [chest - 8 + out, 480], [chest - 4 + out * 0.9, 260], [chest - 6, 80]]
        )  # fmt: skip
        return mirrored(smooth(outline, closed=True), side)

    def breasts(self, side: int) -> Points:
        """Outline of one breast."""
        centre = np.array([0.60 * self.width, self.height * 0.86])
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        size = np.array([0.47 * self.width, 52 + 4 * self.breast])
        ring = np.column_stack([np.cos(angle), np.sin(angle)])
        ring[:, 1] = np.where(ring[:, 1] < 0, ring[:, 1] * 1.5, ring[:, 1])
        return mirrored(centre + ring * size, side)


def draw_patient(rng: np.random.Generator, *, enlarged_heart: bool) -> Anatomy:
    """Invent a patient."""
    sex = "F" if rng.random() < 0.48 else "M"
    anteroposterior = bool(rng.random() < 0.3)
    inspiration = rng.normal(0.0, 1.0)
    width = (126 if sex == "F" else 138) + rng.normal(0, 5.5)
    height = (206 if sex == "F" else 219) + 10 * inspiration - (16 if anteroposterior else 0)
    ratio = rng.uniform(0.535, 0.68) if enlarged_heart else rng.uniform(0.40, 0.478)
    right = height + rng.normal(0, 3)
    return Anatomy(
        sex=sex,
        age=int(rng.integers(19, 92)),
        anteroposterior=anteroposterior,
        width=width,
        height=height,
        depth=rng.uniform(18.5, 26.0),
        wall=rng.uniform(18, 42),
        domes=(right, right + rng.uniform(2, 16)),
        cardiothoracic_ratio=float(ratio),
        rotation=float(np.clip(rng.normal(0, 4.0), -9, 9)),
        breast=float(rng.uniform(1.2, 4.2)) if sex == "F" else 0.0,
        lung_density=rng.uniform(0.20, 0.34),
        slope=rng.uniform(0.75, 1.3),
        rib_pitch=rng.uniform(22.0, 26.0) * height / 215,
        vessel_gain=rng.uniform(0.7, 1.25),
        aorta=rng.uniform(34, 46),
        stomach_gas=bool(rng.random() < 0.6),
    )
