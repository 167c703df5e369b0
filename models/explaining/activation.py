"""Class activation maps in closed form: where global average pooling looked, without a gradient.

Target layer: the last feature map after ReLU, the one that global average pooling sees. There the class
activation map relu(sum_c w[k, c] features[c]) equals Grad-CAM (Zhou et al. 2016; Selvaraju et al. 2017), so one
forward pass explains every finding and no gradient is needed. Fine detail does not exist at this layer: one
cell of a 7 x 7 map covers a seventh of the image. An activation region is not the outline of a lesion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TARGET_LAYER = "last feature map after ReLU, input of the global average pooling"

Float32 = NDArray[np.float32]


def class_activation_map(features: Float32, class_weights: Float32) -> Float32:
    """What speaks for a class, cell by cell.

    Parameters
    ----------
    features : ndarray
        float32 (C, h, w) >= 0: one image of :attr:`models.inference.Prediction.features`.
    class_weights : ndarray
        float32 (C,): one row of the weight of :meth:`models.bundle.Bundle.head`; or (K, C) for K maps at the price of
        one matrix product.

    Returns
    -------
    ndarray
        float32 (h, w), or (K, h, w), as of :func:`to_peak`.
    """
    return to_peak(np.tensordot(class_weights, features, axes=1))


def to_peak(evidence: Float32) -> Float32:
    """Signed evidence as a map: what speaks against is cut off, the rest divided by its own maximum.

    Parameters
    ----------
    evidence : ndarray
        float (..., h, w), finite.

    Returns
    -------
    ndarray
        float32 (..., h, w) in [0, 1]; each reaches 1, or is all zero where nothing speaks for the class. Maps of two
        images or classes cannot be compared by their values.
    """
    positive = np.maximum(evidence, 0.0)
    peak = positive.max(axis=(-2, -1), keepdims=True)
    return np.asarray(np.divide(positive, peak, out=np.zeros_like(positive), where=peak > 0.0), dtype=np.float32)
