"""What a step of training makes smaller. Needs torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_MAX_POSITIVE_WEIGHT = 8.0
_CONTRAST = 4.0
"""The localisation loss sees the value of a cell times this, divided by the number of cells."""


def classification_loss(
    values: Tensor, labels: Tensor, weights: Tensor, *, gamma: float = 0.0, known_in_all: int | None = None
) -> Tensor:
    """Binary cross entropy over what is known, positives weighted up, easy cases played down.

    Parameters
    ----------
    values, labels : Tensor
        (n, K) logits, and 0, 1 or NaN where nobody knows.
    weights : Tensor
        (K,) of the positives.
    gamma : float
        0: plain cross entropy. Otherwise each term is multiplied by (1 - p)^gamma, p being the probability given to
        the truth (focal loss, Lin et al. 2017).
    known_in_all : int, optional
        Known labels of the whole batch where this is one process's part of it.
    """
    known = ~torch.isnan(labels)
    truth = torch.nan_to_num(labels)
    loss = functional.binary_cross_entropy_with_logits(values, truth, pos_weight=weights, reduction="none")
    if gamma:
        # log(1 - p) = logsigmoid of the logit turned against the truth: no overflow, no 0 * inf.
        against = functional.logsigmoid(torch.where(truth > 0.5, -values, values))
        loss = loss * torch.exp(gamma * against)
    count = known.sum().clamp(min=1) if known_in_all is None else max(known_in_all, 1)
    return (loss * known).sum() / count


def localisation_loss(features: Tensor, weight: Tensor, masks: Tensor) -> Tensor:
    """How far the class activation maps of present findings point outside their masks.

    The map of a finding, softmax over its cells, is read as the probability of pointing at each cell; the loss is
    -log of the probability of pointing into the mask. The logit is the mean of all cells, so a lesion in one cell has
    to stand out by about their number: the softmax works on cells divided by a share of it, or it would be content
    with a peak that drowns in the mean.
    """
    cells = torch.einsum("nchw,kc->nkhw", features, weight).flatten(2)
    cells = cells * (_CONTRAST / cells.shape[2])
    inside = functional.adaptive_avg_pool2d(masks, (features.shape[2], features.shape[3])).flatten(2)
    # A cell counts by how much of it the lesion fills, the best cell of a small lesion fully.
    inside = (inside / inside.amax(dim=2, keepdim=True).clamp(min=1e-6)).clamp(max=1)
    present = masks.flatten(2).amax(dim=2) > 0
    if not present.any():
        return features.sum() * 0
    inward = torch.logsumexp(cells + torch.log(inside + 1e-6), dim=2) - torch.logsumexp(cells, dim=2)
    return -(inward[present]).mean()


def positive_weights(labels: NDArray[np.float32]) -> Tensor:
    """(K,) root of negatives per positive, from 1 to 8: enough to be heard, not enough to shout."""
    positive = np.nansum(labels == 1, axis=0)
    negative = np.nansum(labels == 0, axis=0)
    ratio = np.sqrt(np.maximum(negative, 1) / np.maximum(positive, 1))
    return torch.tensor(np.clip(ratio, 1.0, _MAX_POSITIVE_WEIGHT), dtype=torch.float32)
