"""The small picture that the gate looks at: one rule for training and service."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

SIDE = 96
"""Rows and columns of the view, pixels."""
CHANNELS = 2
_GRID = 4 * SIDE
"""A large radiograph is thinned to about so many pixels across before it is averaged: the rest would cost time only."""
_LEVELS = 256


def gate_view(display: Float32, *, pixel_aspect: float = 1.0) -> Float32:
    """What the gate's network sees of a picture.

    The whole picture, letterboxed on black, twice: its grey values between their 1st and 99th percentile, and their
    ranks. The ranks do not depend on exposure or window, and show what a pale picture hides; both keep the sense of the
    grey scale, so that an inverted picture stays one.

    Parameters
    ----------
    display : ndarray
        float32 (rows, columns) in [0, 1], as :func:`models.preprocessing.display_image` gives it.
    pixel_aspect : float
        Height of a source pixel divided by its width.

    Returns
    -------
    ndarray
        float32 (2, 96, 96) in [0, 1].
    """
    step = max(1, min(display.shape) // _GRID)
    thinned = display[::step, ::step]
    height, width = thinned.shape[0] * pixel_aspect, float(thinned.shape[1])
    scale = SIDE / max(height, width)
    rows, columns = (min(SIDE, max(1, round(side * scale))) for side in (height, width))
    smaller = rows <= thinned.shape[0] and columns <= thinned.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(thinned), (columns, rows), interpolation=way)
    view = np.zeros((CHANNELS, SIDE, SIDE), np.float32)
    top, left = (SIDE - rows) // 2, (SIDE - columns) // 2
    view[0, top : top + rows, left : left + columns] = _stretched(small)
    view[1, top : top + rows, left : left + columns] = _ranked(small)
    return view


def _stretched(picture: Float32) -> Float32:
    low, high = np.percentile(picture, (1.0, 99.0))
    return np.asarray(np.clip((picture - low) / max(float(high - low), 1e-3), 0.0, 1.0), np.float32)


def _ranked(picture: Float32) -> Float32:
    """Each value's place among all, 0 to 1; equal values share the middle of their places."""
    levels = np.minimum((picture * (_LEVELS * 8)).astype(np.int64), _LEVELS * 8 - 1)
    counts = np.bincount(levels.ravel(), minlength=_LEVELS * 8)
    places = (np.cumsum(counts) - counts / 2) / levels.size
    return np.asarray(places[levels], np.float32)
