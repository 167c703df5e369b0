"""Does the score depend on what the map marks? Insertion and deletion curves (Petsiuk et al. 2018, RISE).

Deletion greys the image from the map's highest place downwards: a true map makes the score fall early, and the area
under the curve is small. Insertion begins with a blurred image and brings the real pixels back in the same order: the
area is large. Areas alone mean little, since they depend on the network; they are compared with those of a map of the
same values at random places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from models.explaining.activation import Float32
from models.explaining.localisation import over

STEPS = 10
BLUR = 1 / 16
"""Standard deviation of the blur, as a share of the longer side: a heart keeps its place and loses its edge."""

Scores = Callable[[Float32], Float32]
"""float32 (N, 1, H, W) → the score of the finding, float32 (N,)."""


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas under the two curves, both in the range of the score."""

    deletion: float
    insertion: float


def areas(scores: Scores, image: Float32, heat: Float32, *, rng: np.random.Generator, steps: int = STEPS) -> Areas:
    """Delete and insert along one map. Takes ``2 (steps + 1)`` forward passes in two batches.

    Parameters
    ----------
    image : ndarray
        float32 (1, H, W), the network's input.
    heat : ndarray
        float32 (h, w), spanning the input at any resolution.
    rng : Generator
        Decides the order where the map is equal.
    """
    grey = np.broadcast_to(image.mean(axis=(1, 2), keepdims=True), image.shape)
    blurred = np.stack([cv2.GaussianBlur(plane, (0, 0), max(image.shape) * BLUR) for plane in image])
    place = ranks(heat, image.shape[1:], rng)
    return Areas(
        deletion=_area(scores(_replaced(image, grey, place, steps))),
        insertion=_area(scores(_replaced(blurred, image, place, steps))),
    )


def shuffled(heat: Float32, rng: np.random.Generator) -> Float32:
    """The baseline: the same values in other cells."""
    return rng.permutation(heat.ravel()).reshape(heat.shape)


def ranks(heat: Float32, shape: tuple[int, ...], rng: np.random.Generator) -> Float32:
    """When each pixel's turn comes, float32 (H, W) in [0, 1), highest first, ties at random."""
    laid = over(heat, shape).ravel()
    order = np.lexsort((rng.random(laid.size), -laid))
    place = np.empty(laid.size, np.float32)
    place[order] = np.arange(laid.size, dtype=np.float32) / laid.size
    return place.reshape(shape)


def _replaced(start: Float32, end: Float32, place: Float32, steps: int) -> Float32:
    """``start`` turning into ``end``, float32 (steps + 1, 1, H, W)."""
    return np.stack([np.where(place < share, end, start) for share in np.linspace(0.0, 1.0, steps + 1)])


def _area(curve: Float32) -> float:
    return float(np.trapezoid(curve.astype(np.float64), dx=1.0 / (len(curve) - 1)))
