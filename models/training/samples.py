"""Prepared images, in memory or mapped from disk: what a training step, a calibration or an evaluation reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.metadata import InputSpec
from models.preprocessing import network_input, normalise

MASK_STEP = 4
"""Masks are kept at a quarter of the input's resolution."""

Report = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event ("epoch", "generated", ...) and its figures; ``done`` ``of`` so many for a bar."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredImages:
    """Some rows of an array that may lie on disk; only what is asked for is read.

    Attributes
    ----------
    base : ndarray
        uint8 or uint16 (M, height, width), perhaps mapped.
    rows : ndarray
        int (N,): which of them these are.
    """

    base: NDArray[np.uint8] | NDArray[np.uint16]
    rows: NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """A copy of one image or of several, as an array would give them."""
        return np.asarray(self.base[self.rows[index]])

    def take(self, index: NDArray[Any]) -> StoredImages:
        return StoredImages(self.base, self.rows[index])


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """N images with their truth.

    Attributes
    ----------
    images : ndarray or StoredImages
        uint8 or uint16 (N, height, width): display 0..1 in as many steps, fitted into the network's input. Figures
        that are told of a bundle need 16 bits: in 256 steps a network does not see quite what it sees in service.
    labels : ndarray
        float32 (N, K) of 0, 1, or NaN where nobody knows.
    masks : ndarray or None
        uint8 (N, height / 4, width / 4); bit k is set where finding k lies.
    """

    images: NDArray[np.uint8] | NDArray[np.uint16] | StoredImages
    labels: NDArray[np.float32]
    masks: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: NDArray[Any]) -> Samples:
        """The chosen samples."""
        images = self.images.take(index) if isinstance(self.images, StoredImages) else self.images[index]
        return Samples(images, self.labels[index], None if self.masks is None else self.masks[index])

    def network_images(self, index: NDArray[Any] | slice, spec: InputSpec) -> NDArray[np.float32]:
        """float32 (n, channels, height, width) as the network takes them."""
        images = self.images[index]
        return normalise(images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max), spec)


def fitted(display: NDArray[np.float32], spec: InputSpec) -> NDArray[np.uint8]:
    """The picture as the network will see it, in 256 steps: uint8 (height, width)."""
    image, _ = network_input(display, spec.as_display())
    steps: NDArray[np.uint8] = np.round(image[0] * 255).astype(np.uint8)
    return steps


def finely_fitted(display: NDArray[np.float32], spec: InputSpec, *, pixel_aspect: float = 1.0) -> NDArray[np.uint16]:
    """The same in 65536 steps: uint16 (height, width)."""
    image, _ = network_input(display, spec.as_display(), pixel_aspect=pixel_aspect)
    steps: NDArray[np.uint16] = np.round(image[0] * 65535).astype(np.uint16)
    return steps


def in_256_steps(image: NDArray[Any]) -> NDArray[np.uint8]:
    """A fitted picture as augmentation takes it."""
    return image if image.dtype == np.uint8 else np.round(image / np.float32(257)).astype(np.uint8)


def fitted_masks(masks: Sequence[NDArray[np.bool_] | None], spec: InputSpec) -> NDArray[np.uint8]:
    """Masks of one image, in the order of the findings, as bits on the coarse grid."""
    small = spec.as_display(step=MASK_STEP)
    bits = np.zeros((small.height, small.width), np.uint8)
    for number, mask in enumerate(masks):
        if mask is not None:
            coverage, _ = network_input(mask.astype(np.float32), small)
            bits |= (coverage[0] > min(0.4, 0.99 * float(coverage.max()))).astype(np.uint8) << number
    return bits
