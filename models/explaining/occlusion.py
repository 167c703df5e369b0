"""What covering a part of the image does to a score (Zeiler & Fergus 2014): slow, and true of any network.

A square is moved over the input in steps of half its side; where the logit falls when it lies there, the image said
something for the finding. The number of forward passes is bounded, and one set of passes explains every finding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.explaining.activation import Float32

MOST_PASSES = 144
"""A map of 13 x 13 cells under squares of 2 x 2, somewhat finer than a feature map of stride 32."""
BATCH = 8

Logits = Callable[[Float32], Float32]
"""float32 (N, C, H, W) → logits float32 (N, K): :meth:`models.inference.Predictor.predict` and the like."""


def occlusion_maps(logits: Logits, image: Float32, *, passes: int = MOST_PASSES, batch: int = BATCH) -> Float32:
    """How much each cell of the image holds up each logit.

    Parameters
    ----------
    image : ndarray
        float32 (C, H, W), the network's input.
    passes : int
        At most so many covered images go through the network, and one that is whole; at least 9.
    batch : int
        Images per call of ``logits``.

    Returns
    -------
    ndarray
        float32 (K, n, n), signed, in units of the logit: the mean fall under the squares that cover a cell. The cells
        span the whole input.

    Raises
    ------
    ValueError
        Fewer than 9 passes.
    """
    if passes < 9:
        raise ValueError(f"{passes} passes make no map")
    side = int(np.sqrt(passes))  # positions of the square along each axis; it covers two cells
    cells = side + 1
    whole = logits(image[None])[0]
    falls = np.zeros((len(whole), cells, cells), np.float64)
    covers = np.zeros((cells, cells), np.float64)
    places = [(row, column) for row in range(side) for column in range(side)]
    for start in range(0, len(places), batch):
        some = places[start : start + batch]
        scores = logits(np.stack([covered(image, row, column, cells) for row, column in some]))
        for (row, column), score in zip(some, scores, strict=True):
            square = slice(row, row + 2), slice(column, column + 2)
            falls[:, *square] += (whole - score)[:, None, None]
            covers[square] += 1
    return (falls / covers).astype(np.float32)


def covered(image: Float32, row: int, column: int, cells: int) -> Float32:
    """The image with each channel's mean in place of the 2 x 2 cells from (row, column) on in a grid of ``cells``."""
    height, width = image.shape[1:]
    copy = image.copy()
    top, bottom = row * height // cells, (row + 2) * height // cells
    left, right = column * width // cells, (column + 2) * width // cells
    copy[:, top:bottom, left:right] = image.mean(axis=(1, 2), keepdims=True)
    return copy
