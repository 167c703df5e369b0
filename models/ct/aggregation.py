"""From slices to the series: a finding's logit, and the slice that speaks loudest for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def series_logits(logits: Float32, top: int) -> Float32:
    """The mean of each finding's highest slices.

    A bleeding fills a few slices of thirty: the mean of all would drown it, the maximum alone believes every artefact.
    More slices can only raise it when they speak for the finding, and the order of the slices does not matter.

    Parameters
    ----------
    logits : ndarray
        float32 (N, K), one row per slice, N >= 1.
    top : int
        How many; all where there are fewer.

    Returns
    -------
    ndarray
        float32 (K,), before calibration.
    """
    count = min(top, len(logits))
    highest = np.partition(logits, len(logits) - count, axis=0)[-count:]
    return np.asarray(highest.mean(axis=0), dtype=np.float32)


def key_slices(logits: Float32) -> tuple[int, ...]:
    """For each finding the index of the slice with the highest logit; the first among equals."""
    return tuple(int(index) for index in np.argmax(logits, axis=0))
