"""How alike two maps are: by the order of their values, and by their structure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.explaining.activation import Float32
from models.explaining.localisation import over

_SIDE = 64
"""Maps are compared on a grid of this side, where a map of few cells has a structure at all."""
_WINDOW = 1.5  # standard deviation in pixels, Wang et al. 2004
_C1, _C2 = 0.01**2, 0.03**2


def rank_correlation(one: Float32, other: Float32) -> float:
    """Spearman's rho of the values of two maps (h, w), ties sharing their rank; in [-1, 1].

    A map that is the same everywhere has no order: 1 beside another such map, else 0.
    """
    first, second = _midranks(one.ravel()), _midranks(other.ravel())
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if scale == 0.0:
        return float(np.ptp(first) == np.ptp(second))
    return float(np.clip((first * second).sum() / scale, -1.0, 1.0))


def structural_similarity(one: Float32, other: Float32) -> float:
    """Mean SSIM of two maps in [0, 1] (Wang et al. 2004, Gaussian window, dynamic range 1); 1 for equal maps."""
    x, y = (over(heat, (_SIDE, _SIDE)).astype(np.float64) for heat in (one, other))
    mean_x, mean_y = _local(x), _local(y)
    var_x, var_y = _local(x * x) - mean_x**2, _local(y * y) - mean_y**2
    covariance = _local(x * y) - mean_x * mean_y
    likeness = ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    )
    return float(likeness.mean())


def _local(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), _WINDOW))


def _midranks(values: Float32) -> NDArray[np.float64]:
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    middle: NDArray[np.float64] = (last - (count - 1) / 2)[inverse]
    return middle
