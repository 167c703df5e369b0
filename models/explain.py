"""Where the network looked: class activation maps, and the region they mark on the source image.

Target layer: the last feature map after ReLU, the one that global average pooling sees. There the class
activation map relu(sum_c w[k, c] features[c]) equals Grad-CAM (Zhou et al. 2016; Selvaraju et al. 2017), so one
forward pass explains every finding and no gradient is needed. Fine detail does not exist at this layer: one
cell of a 7 x 7 map covers a seventh of the image. An activation region is not the outline of a lesion.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.preprocessing import Placement
from triage.findings import Region

TARGET_LAYER = "last feature map after ReLU, input of the global average pooling"
REGION_LEVEL = 0.5
"""The region is where the map reaches this share of its maximum."""

Float32 = NDArray[np.float32]
_SIMPLIFY = 0.004
"""Tolerance of the polygon, as a share of the longer side of the matrix it is drawn on."""


def class_activation_map(features: Float32, class_weights: Float32) -> Float32:
    """What speaks for a class, cell by cell.

    Parameters
    ----------
    features : ndarray
        float32 (C, h, w) >= 0: one image of :attr:`models.inference.Prediction.features`.
    class_weights : ndarray
        float32 (C,): one row of the weight of :meth:`models.bundle.Bundle.head`.

    Returns
    -------
    ndarray
        float32 (h, w) in [0, 1]: negative evidence is cut off, then the map is divided by its own maximum. All zero
        where nothing speaks for the class. Maps of two images or classes cannot be compared by their values.
    """
    raw = np.maximum(np.tensordot(class_weights, features, axes=1), 0.0)
    peak = float(raw.max())
    return np.asarray(raw / peak if peak > 0.0 else raw, dtype=np.float32)


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


def region(
    cam: Float32, placement: Placement, *, level: float = REGION_LEVEL, longest_side: int = 512
) -> Region | None:
    """Outline the part of the map around its peak.

    The map is laid over the source image (:func:`upscale`, at most ``longest_side`` pixels), cut at ``level`` of its
    maximum there, and the connected part that holds the maximum is outlined and simplified.

    Returns
    -------
    Region or None
        On the source's own matrix; None where the map is zero all over the image.
    """
    shrink = min(1.0, longest_side / max(placement.rows, placement.columns))
    rows, columns = max(1, round(placement.rows * shrink)), max(1, round(placement.columns * shrink))
    laid = upscale(cam, placement, rows, columns)
    peak_row, peak_column = np.unravel_index(int(np.argmax(laid)), laid.shape)
    highest = float(laid[peak_row, peak_column])
    if highest <= 0.0:
        return None
    _, labels = cv2.connectedComponents((laid >= level * highest).astype(np.uint8), connectivity=4)
    part = (labels == labels[peak_row, peak_column]).astype(np.uint8)
    scale = placement.columns / columns, placement.rows / rows
    outline = tuple(
        (min(column * scale[0], float(placement.columns)), min(row * scale[1], float(placement.rows)))
        for column, row in _outline(part)
    )
    peak = (float(peak_column) + 0.5) * scale[0], (float(peak_row) + 0.5) * scale[1]
    return Region(outline=outline, peak=peak)


def _outline(part: NDArray[np.uint8]) -> tuple[tuple[float, float], ...]:
    """Closed polygon (column, row) along the outer edges of the pixels of ``part``."""
    # findContours runs through pixel centres. On a doubled grid it runs through the halves that lie at the edge:
    # even coordinates are left or upper edges (2c → c), odd ones right or lower edges (2c + 1 → c + 1).
    rows, columns = part.shape
    doubled = cv2.resize(part, (2 * columns, 2 * rows), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    simple = cv2.approxPolyDP(contour, _SIMPLIFY * 2 * max(rows, columns), closed=True)
    points = (simple if len(simple) >= 3 else contour).reshape(-1, 2)
    edges = ((points + 1) // 2).tolist()
    if len({tuple(edge) for edge in edges}) < 3:
        (left, top), (right, bottom) = np.min(edges, axis=0), np.max(edges, axis=0)
        edges = [[left, top], [right, top], [right, bottom], [left, bottom]]
    polygon = tuple((float(column), float(row)) for column, row in edges)
    return (*polygon, polygon[0])
