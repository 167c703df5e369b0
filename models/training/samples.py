"""Prepared images in memory: what a training step, a calibration or an evaluation reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.metadata import InputSpec
from models.preprocessing import network_input, normalise

MASK_STEP = 4
"""Masks are kept at a quarter of the input's resolution."""

Report = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event ("epoch", "generated", ...) and its figures."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """N images with their truth.

    Attributes
    ----------
    images : ndarray
        uint8 (N, height, width): display 0..1 as 0..255, fitted into the network's input.
    labels : ndarray
        float32 (N, K) of 0, 1, or NaN where nobody knows.
    masks : ndarray or None
        uint8 (N, height / 4, width / 4); bit k is set where finding k lies.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.float32]
    masks: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: NDArray[Any]) -> Samples:
        """The chosen samples."""
        return Samples(self.images[index], self.labels[index], None if self.masks is None else self.masks[index])

    def network_images(self, index: NDArray[Any] | slice, spec: InputSpec) -> NDArray[np.float32]:
        """float32 (n, channels, height, width) as the network takes them."""
        return normalise(self.images[index].astype(np.float32) / np.float32(255), spec)


def fitted(display: NDArray[np.float32], spec: InputSpec, *, pixel_aspect: float = 1.0) -> NDArray[np.uint8]:
    """The picture as the network will see it, in 256 steps: uint8 (height, width)."""
    image, _ = network_input(display, spec.as_display(), pixel_aspect=pixel_aspect)
    steps: NDArray[np.uint8] = np.round(image[0] * 255).astype(np.uint8)
    return steps


def fitted_masks(masks: Sequence[NDArray[np.bool_] | None], spec: InputSpec) -> NDArray[np.uint8]:
    """Masks of one image, in the order of the findings, as bits on the coarse grid."""
    small = spec.as_display(step=MASK_STEP)
    bits = np.zeros((small.height, small.width), np.uint8)
    for number, mask in enumerate(masks):
        if mask is not None:
            coverage, _ = network_input(mask.astype(np.float32), small)
            bits |= (coverage[0] > min(0.4, 0.99 * float(coverage.max()))).astype(np.uint8) << number
    return bits


def augment(
    image: NDArray[Any], bits: NDArray[Any] | None, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Another picture of the same chest: small turn, shift, zoom; other window and sharpness. Never mirrored.

    Returns
    -------
    image : ndarray
        uint8, same shape.
    bits : ndarray or None
        The masks, moved along.
    """
    rows, columns = image.shape
    turn: NDArray[Any] = cv2.getRotationMatrix2D(
        (columns / 2, rows / 2), rng.normal(0, 3.0), float(np.exp(rng.normal(0, 0.05)))
    )
    turn[:, 2] += rng.normal(0, 0.025, 2) * [columns, rows]
    image = cv2.warpAffine(image, turn, (columns, rows), flags=cv2.INTER_LINEAR)
    if bits is not None:
        coarse = turn.copy()
        coarse[:, 2] /= MASK_STEP
        bits = cv2.warpAffine(bits, coarse, (bits.shape[1], bits.shape[0]), flags=cv2.INTER_NEAREST)
    ramp = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.22))
    ramp = (ramp - 0.5) * np.exp(rng.normal(0, 0.12)) + 0.5 + rng.normal(0, 0.05)
    image = cv2.LUT(image, np.round(np.clip(ramp, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1))
    if rng.random() < 0.35:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(1, 8))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image, bits
