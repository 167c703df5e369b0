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


def threshold_for_specificity(labels: Array, probabilities: Array, target: float) -> float:
    """The lowest threshold whose specificity is at least `target`: the highest sensitivity at that price.

    The threshold lies half way between two scores, so that rounding does not move a case over it.

    Raises
    ------
    ValueError
        No negatives, or a target outside (0, 1].
    """
    negative = np.sort(np.asarray(probabilities, dtype=np.float64)[np.asarray(labels) == 0])
    if not len(negative) or not 0 < target <= 1:
        raise ValueError("needs negatives and a target specificity in (0, 1]")
    needed = int(np.ceil(target * len(negative) - 1e-9))
    highest = negative[needed - 1]
    above = np.asarray(probabilities, dtype=np.float64)
    above = above[above > highest]
    return float(min(1.0, (highest + above.min()) / 2 if len(above) else (highest + 1) / 2))


def youden_threshold(labels: Array, probabilities: Array) -> float:
    """The threshold that maximises sensitivity + specificity - 1 (Youden 1950).

    Raises
    ------
    ValueError
        Positives or negatives are missing.
    """
    order = np.argsort(-np.asarray(probabilities, dtype=np.float64), kind="stable")
    scores, present = np.asarray(probabilities, dtype=np.float64)[order], (np.asarray(labels) == 1)[order]
    if present.all() or not present.any():
        raise ValueError("needs positives and negatives")
    gain = np.cumsum(present) / present.sum() - np.cumsum(~present) / (~present).sum()
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    best = int(np.argmax(np.where(last_of_tie, gain, -np.inf)))
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + below) / 2)


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
