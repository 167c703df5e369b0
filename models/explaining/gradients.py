"""Grad-CAM and its kin: a feature map weighed by the gradients of a score with respect to it.

For a network that ends in global average pooling and one linear layer these gradients are the constant
``weight[k] / (h w)``: :func:`pooled_linear_gradients` states them, no torch is needed, and Grad-CAM and HiResCAM both
equal CAM (Selvaraju et al. 2017, appendix A; Draelos & Carin 2020, section 3.2). For another head
:func:`head_gradients` differentiates that head alone: the one forward pass that gave the score gave its feature map
too, and the layers below it are not run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from models.explaining.activation import Float32, to_peak
from triage.errors import ExplanationError

if TYPE_CHECKING:
    from torch import Tensor

Weigh = Callable[[Float32, Float32], Float32]
"""(features, gradients), both float32 (C, h, w) → map float32 (h, w) in [0, 1]."""


def grad_cam(features: Float32, gradients: Float32) -> Float32:
    """Each channel counts as much as its gradient does on average (Selvaraju et al. 2017, equations 1 and 2).

    Parameters
    ----------
    features, gradients : ndarray
        float32 (C, h, w): of one image, and of one logit with respect to it.

    Returns
    -------
    ndarray
        float32 (h, w) in [0, 1], as of :func:`models.explaining.activation.to_peak`.
    """
    return to_peak(np.tensordot(gradients.mean(axis=(1, 2)), features, axes=1))


def grad_cam_plus_plus(features: Float32, gradients: Float32) -> Float32:
    """Channels with a small bright spot count like those with a large one (Chattopadhay et al. 2018, equations 10, 19).

    The score behind it is exp(logit), whose second and third derivatives are powers of the first; the common factor
    exp(logit) falls away with the division by the maximum. Channels that speak against the class are left out.
    Parameters and result as of :func:`grad_cam`.
    """
    squared = gradients.astype(np.float64) ** 2
    below = 2.0 * squared + features.sum(axis=(1, 2), dtype=np.float64)[:, None, None] * squared * gradients
    # With features >= 0 it is zero or less only where the gradient is: such a cell adds nothing (relu below).
    alpha = np.divide(squared, below, out=np.zeros_like(squared), where=below > 0.0)
    weights = (alpha * np.maximum(gradients, 0.0)).sum(axis=(1, 2))
    return to_peak(np.tensordot(weights, features, axes=1).astype(np.float32))


def hirescam(features: Float32, gradients: Float32) -> Float32:
    """Each cell counts with its own gradient, so nothing is blurred by an average (Draelos & Carin 2020, equation 3).

    Parameters and result as of :func:`grad_cam`.
    """
    return to_peak((features * gradients).sum(axis=0))


def pooled_linear_gradients(class_weights: Float32, height: int, width: int) -> Float32:
    """Gradients of a logit where the head is global average pooling and one linear layer.

    Parameters
    ----------
    class_weights : ndarray
        float32 (C,).

    Returns
    -------
    ndarray
        float32 (C, height, width), a read-only view.
    """
    each = class_weights / np.float32(height * width)
    return np.broadcast_to(each[:, None, None], (len(each), height, width))


def head_gradients(head: Callable[[Tensor], Tensor], features: Float32, row: int) -> Float32:
    """Gradients of a logit by automatic differentiation of the head alone. Needs torch.

    Parameters
    ----------
    head : callable
        Tensor (1, C, h, w) → logits (1, K); in evaluation mode, on the CPU.
    features : ndarray
        float32 (C, h, w), as the forward pass gave them.
    row : int
        Which logit.

    Returns
    -------
    ndarray
        float32 (C, h, w).

    Raises
    ------
    ExplanationError
        The gradients are not finite.
    """
    import torch  # noqa: PLC0415 - a CPU worker does without, unless a bundle's head asks for it

    with torch.enable_grad():
        leaf = torch.from_numpy(np.ascontiguousarray(features))[None].requires_grad_()
        (gradient,) = torch.autograd.grad(head(leaf)[0, row], leaf)
    found: Float32 = gradient[0].numpy()
    if not np.isfinite(found).all():
        raise ExplanationError("the gradients of the score are not finite.")
    return found
