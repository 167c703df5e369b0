"""Does a map lie on what it claims to show? Maps against true masks.

The pointing game is :func:`models.evaluation.pointing_hit`. None of these figures says whether the *network* looked
there; that is asked in :mod:`models.explaining.deletion` and :mod:`models.explaining.randomisation`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.explaining.activation import Float32
from models.explaining.regions import REGION_LEVEL

Mask = NDArray[np.bool_]


def overlap(heat: Float32, mask: Mask, *, level: float = REGION_LEVEL) -> float:
    """Intersection over union of the mask and the map cut at ``level`` of its maximum.

    Parameters
    ----------
    heat : ndarray
        float32 (h, w) >= 0, over the same field as the mask at any resolution.
    mask : ndarray of bool
        (H, W), not empty.

    Returns
    -------
    float
        In [0, 1]. A map of few cells cannot reach 1: it is as coarse as its cells.
    """
    laid = over(heat, mask.shape)
    marked = laid >= level * laid.max() if laid.max() > 0.0 else np.zeros(mask.shape, np.bool_)
    return float((marked & mask).sum() / (marked | mask).sum())


def energy_share(heat: Float32, mask: Mask) -> float:
    """How much of the map lies inside the mask: the energy-based pointing game (Wang et al. 2020).

    Returns
    -------
    float
        In [0, 1]; 0 for a map that is zero everywhere. A map that knows nothing gives the mask's share of the area.
    """
    laid = over(heat, mask.shape)
    total = float(laid.sum(dtype=np.float64))
    return float(laid[mask].sum(dtype=np.float64)) / total if total > 0.0 else 0.0


def chance_of_hit(mask: Mask, *, tolerance: float) -> float:
    """Share of the field in which a peak put at random wins the pointing game with this tolerance, in mask pixels."""
    outside: NDArray[Any] = (~mask).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance <= tolerance + 0.5).mean()) if mask.any() else 0.0


def over(heat: Float32, shape: tuple[int, ...]) -> Float32:
    """The map on a grid of ``shape`` (H, W) over the same field, bilinearly."""
    return np.asarray(cv2.resize(heat, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
