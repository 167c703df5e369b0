"""Another picture of the same chest, as another day or another machine would have taken it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.plan import Augmentation
from models.training.samples import MASK_STEP

_WIDEST_BORDER = 0.08
"""Of a side: a collimator blade that hides more hides anatomy."""

_USUAL = Augmentation()

Image = NDArray[Any]


def augment(
    image: Image, bits: Image | None, rng: np.random.Generator, how: Augmentation = _USUAL
) -> tuple[Image, Image | None]:
    """Vary one image within what :class:`~models.training.plan.Augmentation` allows.

    Everything happens in display space, after Modality LUT, VOI LUT and presentation sense: there a window that was
    set otherwise is a curve over 0 to 1, whatever the detector stored.

    Parameters
    ----------
    image : ndarray
        uint8 (height, width).
    bits : ndarray or None
        uint8 masks on the coarse grid.

    Returns
    -------
    image : ndarray
        uint8, same shape.
    bits : ndarray or None
        The masks, moved along.
    """
    image, bits = _moved(image, bits, rng, how)
    if how.collimation and rng.random() < how.collimation:
        image, bits = _collimated(image, bits, rng)
    image = _rewindowed(image, rng, how)
    if rng.random() < how.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1))
    if rng.random() < how.noise:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(1, 8))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image, bits


def _moved(image: Image, bits: Image | None, rng: np.random.Generator, how: Augmentation) -> tuple[Image, Image | None]:
    rows, columns = image.shape
    turn: Image = cv2.getRotationMatrix2D(
        (columns / 2, rows / 2), rng.normal(0, how.turn), float(np.exp(rng.normal(0, how.zoom)))
    )
    turn[:, 2] += rng.normal(0, how.shift, 2) * [columns, rows]
    if how.mirror and rng.random() < 0.5:
        turn = turn @ np.array([[-1.0, 0.0, columns - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    image = cv2.warpAffine(image, turn, (columns, rows), flags=cv2.INTER_LINEAR)
    if bits is not None:
        coarse = turn.copy()
        coarse[:, 2] /= MASK_STEP
        bits = cv2.warpAffine(bits, coarse, (bits.shape[1], bits.shape[0]), flags=cv2.INTER_NEAREST)
    return image, bits


def _rewindowed(image: Image, rng: np.random.Generator, how: Augmentation) -> Image:
    ramp = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, how.gamma))
    ramp = (ramp - 0.5) * np.exp(rng.normal(0, how.contrast)) + 0.5 + rng.normal(0, how.brightness)
    changed: Image = cv2.LUT(image, np.round(np.clip(ramp, 0, 1) * 255).astype(np.uint8))
    return changed


def _collimated(image: Image, bits: Image | None, rng: np.random.Generator) -> tuple[Image, Image | None]:
    """Borders of one shade: a digital shutter is black, the unexposed edge behind a blade is white."""
    rows, columns = image.shape
    top, bottom = (rng.uniform(0, _WIDEST_BORDER, 2) * rows).astype(int)
    left, right = (rng.uniform(0, _WIDEST_BORDER, 2) * columns).astype(int)
    framed = np.full_like(image, rng.choice([0, 255]))
    inside = slice(top, rows - bottom), slice(left, columns - right)
    framed[inside] = image[inside]
    if bits is not None:
        seen = np.zeros_like(bits)
        coarse = tuple(slice(-(-part.start // MASK_STEP), part.stop // MASK_STEP) for part in inside)
        seen[coarse] = bits[coarse]
        bits = seen
    return framed, bits
