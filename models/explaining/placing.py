"""A map of the network's input laid over the source image, where the network saw it."""

from __future__ import annotations

import cv2
import numpy as np

from models.explaining.activation import Float32
from models.preprocessing import Placement


def upscale(cam: Float32, placement: Placement, rows: int | None = None, columns: int | None = None) -> Float32:
    """Lay a map over the source image, bilinearly, with the letterbox taken away.

    Parameters
    ----------
    cam : ndarray
        float32 (h, w), spanning the whole network input.
    placement : Placement
        Of the image in the input.
    rows, columns : int, optional
        Size of the result, which spans the whole source image; its own size by default. A smaller matrix is enough
        for a picture and much faster.

    Returns
    -------
    ndarray
        float32 (rows, columns), values between those of ``cam``; 0 where the fit left the source out.
    """
    rows, columns = rows or placement.rows, columns or placement.columns
    height, width = cam.shape
    # Result pixel (i, j) → source → input → map, in continuous coordinates; warpAffine wants them at pixel centres.
    per_column = placement.columns / columns * placement.scale_column * width / placement.width
    per_row = placement.rows / rows * placement.scale_row * height / placement.height
    first_column = placement.offset_column * width / placement.width
    first_row = placement.offset_row * height / placement.height
    matrix = np.array(
        [
            [per_column, 0.0, first_column + 0.5 * per_column - 0.5],
            [0.0, per_row, first_row + 0.5 * per_row - 0.5],
        ]
    )
    laid = cv2.warpAffine(
        cam,
        matrix,
        (columns, rows),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return _blank_unseen(np.asarray(laid, dtype=np.float32), placement)


def _blank_unseen(laid: Float32, placement: Placement) -> Float32:
    """Nothing was looked at outside a centre crop: there the map says nothing."""
    for axis, (part, source) in enumerate(zip(placement.seen, (placement.rows, placement.columns), strict=True)):
        side = laid.shape[axis]
        along = np.moveaxis(laid, axis, 0)
        along[: part.start * side // source] = 0.0
        along[-(-part.stop * side // source) :] = 0.0
    return laid
