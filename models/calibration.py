"""From logits to probabilities, and from probabilities to an operating point, on held-out data.

Per finding ``probability = sigmoid(logit / temperature + bias)``: temperature scaling (Guo et al. 2017) with Platt's
offset (Platt 1999), which also undoes what weighting the rare class in training does to the scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_SLOPES = (0.05, 20.0)
_MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class Calibrator:
    """One finding's calibration; temperature > 0 keeps the order of the scores."""

    temperature: float = 1.0
    bias: float = 0.0

    def probabilities(self, logits: Array) -> Array:
        """Probabilities float64, same shape as the logits."""
        scaled = np.clip(np.asarray(logits, dtype=np.float64) / self.temperature + self.bias, -700, 700)
        result: Array = 1 / (1 + np.exp(-scaled))
        return result


def fit(logits: Array, labels: Array) -> Calibrator:
    """The calibration of greatest likelihood on held-out cases.

    Parameters
    ----------
    logits : ndarray
        (N,) as the network gives them.
    labels : ndarray
        (N,) of 0 and 1. They are softened as Platt proposes, so that a perfectly separated finding does not end at
        probabilities of exactly 0 and 1.

    Raises
    ------
    ValueError
        Positives or negatives are missing.
    """
    x = np.asarray(logits, dtype=np.float64)
    present = np.asarray(labels) == 1
    count = int(present.sum())
    if count in (0, len(present)):
        raise ValueError("calibration needs positives and negatives")
    target = np.where(present, (count + 1) / (count + 2), 1 / (len(present) - count + 2))
    slope, bias = _newton(x, target, slope=1.0, free_slope=True)
    if not _SLOPES[0] <= slope <= _SLOPES[1]:
        # Worthless or inverted logits: keep their order, let the offset state the prevalence.
        slope, bias = _newton(x, target, slope=float(np.clip(slope, *_SLOPES)), free_slope=False)
    return Calibrator(temperature=1 / slope, bias=bias)


def operating_point(labels: Array, probabilities: Array, *, min_specificity: float = 0.0) -> float:
    """The threshold with the greatest sensitivity + specificity (Youden 1950) among those specific enough.

    It lies half way between two scores, so that rounding moves no case over it. On few negatives a specificity is
    uncertain itself: ask for some more here than the test set has to show.

    Raises
    ------
    ValueError
        Positives or negatives are missing, or `min_specificity` is outside [0, 1].
    """
    order = np.argsort(-np.asarray(probabilities, dtype=np.float64), kind="stable")
    scores, present = np.asarray(probabilities, dtype=np.float64)[order], (np.asarray(labels) == 1)[order]
    if present.all() or not present.any() or not 0 <= min_specificity <= 1:
        raise ValueError("needs positives, negatives and a specificity in [0, 1]")
    # Candidate n calls the n highest scores positive; a tie is never cut.
    cut = np.concatenate([[True], scores[1:] != scores[:-1], [True]])
    sensitivity = np.concatenate([[0.0], np.cumsum(present) / present.sum()])
    specificity = 1 - np.concatenate([[0.0], np.cumsum(~present) / (~present).sum()])
    allowed = cut & (specificity >= min_specificity - 1e-12)
    best = int(np.argmax(np.where(allowed, sensitivity + specificity, -np.inf)))
    above, below = scores[best - 1] if best else 1.0, scores[best] if best < len(scores) else 0.0
    return float((above + below) / 2)


def sensitive_point(labels: Array, probabilities: Array, *, sensitivity: float) -> float:
    """The highest threshold that calls at least this share of the positives positive.

    It lies half way to the next lower score, so that rounding moves no case over it. On few positives it is uncertain
    itself: what it reaches has to be measured on other cases.

    Raises
    ------
    ValueError
        There are no positives, or `sensitivity` is outside (0, 1].
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    positive = np.sort(scores[np.asarray(labels) == 1])[::-1]
    if not len(positive) or not 0 < sensitivity <= 1:
        raise ValueError("needs positives and a sensitivity in (0, 1]")
    needed = int(np.ceil(sensitivity * len(positive) - 1e-9))
    last = positive[needed - 1]
    lower = scores[scores < last]
    return float((last + (lower.max() if len(lower) else 0.0)) / 2)


def _newton(x: Array, target: Array, *, slope: float, free_slope: bool) -> tuple[float, float]:
    """Damped Newton steps on the negative log likelihood, which is convex."""
    bias = 0.0
    loss = _loss(x, target, slope, bias)
    for _ in range(_MAX_STEPS):
        p = 1 / (1 + np.exp(-np.clip(slope * x + bias, -700, 700)))
        error, weight = p - target, p * (1 - p)
        gradient = np.array([error @ x if free_slope else 0.0, error.sum()])
        cross = weight @ x if free_slope else 0.0
        hessian = np.array([[weight @ (x * x) if free_slope else 1.0, cross], [cross, weight.sum()]])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-6 and _loss(x, target, slope - size * step[0], bias - size * step[1]) > loss:
            size /= 2
        slope, bias = float(slope - size * step[0]), float(bias - size * step[1])
        new = _loss(x, target, slope, bias)
        if loss - new < 1e-10 * len(x):
            break
        loss = new
    return slope, bias


def _loss(x: Array, target: Array, slope: float, bias: float) -> float:
    z = slope * x + bias
    return float(np.sum(np.logaddexp(0, z) - target * z))
