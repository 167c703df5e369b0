"""The scanner: from attenuation to stored pixels, with the variety of makers, settings and displays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.phantom.canvas import Canvas, Mask, Plane


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanner:
    """How a radiograph was taken and stored.

    Attributes
    ----------
    modality : str
        "DX" or "CR".
    bits_stored : int
        10, 12, 14 or 16 in words of 16.
    photometric : str
        "MONOCHROME1" (high is black) or "MONOCHROME2".
    window : (float, float) or None
        Center and width in stored values (PS3.3 C.11.2.1.2); None where a VOI LUT or nothing is given.
    voi_lut : ndarray or None
        Full-range look-up table of uint16 (PS3.3 C.11.2.1.1), 12 bit entries.
    gamma : float
        Of the display curve.
    film : float
        Steepness of a curve with toe and shoulder, as film has it; 0 for a plain one.
    unseen : bool
        The scanner that no training saw.
    """

    modality: str
    bits_stored: int
    photometric: str
    window: tuple[float, float] | None
    voi_lut: NDArray[np.uint16] | None
    gamma: float
    noise: float
    blur: float
    scatter: float
    equalisation: float
    enhancement: float
    dark: float
    bright: float
    marker: str
    border: tuple[int, int, int, int]
    kvp: float
    film: float = 0.0
    unseen: bool = False


def draw_scanner(rng: np.random.Generator, *, anteroposterior: bool, unseen: bool = False) -> Scanner:
    """Invent an acquisition; ``unseen`` is a scanner that no training saw (:func:`_another_maker`)."""
    bits = int(rng.choice([10, 12, 12, 12, 14]))
    photometric = "MONOCHROME1" if rng.random() < 0.35 else "MONOCHROME2"
    modality = "CR" if rng.random() < (0.5 if anteroposterior else 0.2) else "DX"
    maximum = (1 << bits) - 1
    window, voi_lut = None, None
    if rng.random() < 0.7 or modality == "CR":
        width = maximum * rng.uniform(0.55, 0.95)
        window = (round(maximum / 2 + rng.uniform(-0.1, 0.1) * (maximum - width)), round(width))
    else:
        ramp = np.linspace(-1, 1, maximum + 1)
        curve = np.tanh(ramp * rng.uniform(0.9, 1.5))
        voi_lut = np.round((curve - curve[0]) / (curve[-1] - curve[0]) * 4095).astype(np.uint16)
    scanner = Scanner(
        modality=modality,
        bits_stored=bits,
        photometric=photometric,
        window=window,
        voi_lut=voi_lut,
        gamma=rng.uniform(0.8, 1.25),
        noise=rng.uniform(0.002, 0.008),
        blur=rng.uniform(0.12, 0.40),
        scatter=rng.uniform(0.15, 0.6) + (0.3 if anteroposterior else 0.0),
        equalisation=rng.uniform(0.15, 0.50),
        enhancement=rng.uniform(0.3, 1.3),
        dark=rng.uniform(0.16, 0.32),
        bright=rng.uniform(0.82, 0.95),
        marker=str(rng.choice(["L", "L", "R", ""])),
        border=tuple(int(v) for v in np.maximum(0, rng.normal(-6, 9, 4))),  # type: ignore[arg-type]
        kvp=float(rng.choice([85, 90, 110, 120, 125])) if anteroposterior else float(rng.choice([110, 120, 125, 133])),
    )
    return _another_maker(scanner, rng.spawn(1)[0]) if unseen else scanner


def _another_maker(scanner: Scanner, rng: np.random.Generator) -> Scanner:
    """The same exposure on a machine whose every figure lies outside what :func:`draw_scanner` draws for training.

    It stores 16 bits behind a narrow window, presses the grey scale into the curve of a film, sharpens and equalises
    harder, has a coarser detector, more noise and no grid against scatter. The patient stands as before: what differs
    between the two pictures is the machine.
    """
    maximum = (1 << 16) - 1
    width = round(maximum * rng.uniform(0.22, 0.40))
    return replace(
        scanner,
        bits_stored=16,
        window=(round(maximum / 2 + rng.uniform(-0.2, 0.2) * (maximum - width)), width),
        voi_lut=None,
        gamma=rng.uniform(1.3, 1.55),
        film=rng.uniform(1.6, 2.4),
        noise=rng.uniform(0.009, 0.013),
        blur=rng.uniform(0.45, 0.60),
        scatter=rng.uniform(0.95, 1.25),
        equalisation=rng.uniform(0.55, 0.70),
        enhancement=rng.uniform(1.5, 2.2),
        dark=rng.uniform(0.34, 0.40),
        bright=rng.uniform(0.72, 0.80),
        kvp=float(rng.choice([70, 77, 140])),
        unseen=True,
    )


def develop(
    canvas: Canvas,
    attenuation: Plane,
    lungs: Mask,
    scanner: Scanner,
    rng: np.random.Generator,
    size: tuple[int, int],
) -> Plane:
    """Brightness of the displayed picture, dark lungs about 0.2 and dense parts about 0.9, not yet clipped.

    Beer-Lambert, scatter as a wide blur of the primary beam (Boone & Cooper 1986), logarithmic detector,
    multi-scale equalisation as makers do it, quantum noise that grows where little arrives.
    """
    primary = np.exp(-attenuation)
    arrived = primary + np.float32(scanner.scatter) * canvas.blur(primary, 28.0)
    density: NDArray[Any] = -np.log(np.maximum(arrived, 1e-6))
    density -= np.float32(scanner.equalisation) * canvas.blur(density, 22.0)
    density += np.float32(scanner.enhancement) * (density - canvas.blur(density, 5.0))
    small = density[::4, ::4]
    field = lungs[::4, ::4]
    low = float(np.median(small[field])) if field.any() else float(np.percentile(small, 20))
    high = float(np.percentile(small, 97))
    scale = (scanner.bright - scanner.dark) / max(high - low, 1e-3)
    rows, columns = size
    if density.shape != size:
        density = cv2.resize(density, (columns, rows), interpolation=cv2.INTER_CUBIC)
        arrived = cv2.resize(arrived, (columns, rows), interpolation=cv2.INTER_LINEAR)
    spacing = canvas.spacing * canvas.rows / rows
    pixels = scanner.blur / spacing
    if pixels > 0.25:
        density = cv2.GaussianBlur(density, (0, 0), pixels)
    quanta = rng.standard_normal(size, dtype=np.float32)
    quanta = cv2.GaussianBlur(quanta, (3, 3), 0.5)
    density += quanta / np.sqrt(arrived) * np.float32(scanner.noise * 0.2 / spacing)
    picture = (density - low) * scale + scanner.dark
    return _marker(picture, scanner, spacing)


def _marker(picture: Plane, scanner: Scanner, spacing: float) -> Plane:
    """The technologist's lead letter and the collimator's edge."""
    rows, columns = picture.shape
    if scanner.marker:
        side = 0.90 if scanner.marker == "L" else 0.05
        place = (int(side * columns), int(0.13 * rows))
        lead = np.zeros(picture.shape, np.uint8)
        scale = 9.0 / spacing / 22.0
        cv2.putText(
            lead, scanner.marker, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, int(2.2 / spacing)), cv2.LINE_AA
        )
        weight = lead.astype(np.float32) / 255
        picture = picture * (1 - weight) + 1.15 * weight
    for edge, width in enumerate(scanner.border):
        count = int(width / spacing)
        if count > 0:
            stripe = [np.s_[:count, :], np.s_[-count:, :], np.s_[:, :count], np.s_[:, -count:]][edge]
            picture[stripe] = -1.0
    return picture


def store(picture: Plane, scanner: Scanner) -> NDArray[np.uint16]:
    """Stored values such that the scanner's own VOI and photometric interpretation show the picture again."""
    maximum = (1 << scanner.bits_stored) - 1
    curve = np.sign(picture) * np.abs(picture) ** np.float32(scanner.gamma)
    if scanner.film:
        curve = 0.5 + 0.5 * np.tanh(np.float32(scanner.film) * (curve - 0.5)) / np.tanh(np.float32(scanner.film / 2))
    if scanner.photometric == "MONOCHROME1":
        curve = 1 - curve
    if scanner.window is not None:
        center, width = scanner.window
        curve = (curve - 0.5) * np.float32(width - 1) + np.float32(center - 0.5)
    else:
        curve = curve * np.float32(0.9 * maximum) + np.float32(0.05 * maximum)
    return np.clip(np.round(curve), 0, maximum).astype(np.uint16)


def show(pixels: NDArray[np.uint16], scanner: Scanner) -> Plane:
    """What a viewer shows: VOI and photometric interpretation applied, float32 in [0, 1], high is bright."""
    maximum = (1 << scanner.bits_stored) - 1
    if scanner.window is not None:
        center, width = scanner.window
        shown = (pixels.astype(np.float32) - np.float32(center - 0.5)) / np.float32(width - 1) + np.float32(0.5)
        shown = np.clip(shown, 0, 1)
    elif scanner.voi_lut is not None:
        shown = (scanner.voi_lut.astype(np.float32) / 4095)[pixels]
    else:
        shown = pixels.astype(np.float32) / maximum
    return 1 - shown if scanner.photometric == "MONOCHROME1" else shown
