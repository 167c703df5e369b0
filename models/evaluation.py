"""Clinical figures with their uncertainty, in numpy: discrimination, operating point, calibration, localisation.

Everywhere ``labels`` is (N,) of 0 and 1 and ``scores`` (N,) of finite numbers, a higher score meaning "more likely
present". Figures of a few cases are noise; therefore every rate comes with its confidence interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval, ``low <= value <= high``."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Rounded to four digits, for JSON."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def auc(labels: Array, scores: Array, *, confidence: float = 0.95) -> Interval:
    """Area under the ROC curve; a tie counts one half.

    The variance is DeLong's (DeLong, DeLong & Clarke-Pearson 1988) by mid-ranks (Sun & Xu 2014); the interval is
    made on the logit scale so that it stays within (0, 1).

    Raises
    ------
    ValueError
        Positives or negatives are missing: there is nothing to tell apart.
    """
    positive, negative = _split(labels, scores)
    m, n = len(positive), len(negative)
    joint = _midranks(np.concatenate([positive, negative]))
    above = (joint[:m] - _midranks(positive)) / n  # share of negatives below each positive
    below = 1 - (joint[m:] - _midranks(negative)) / m
    area = float(above.mean())
    if m < 2 or n < 2:
        return Interval(area, 0.0, 1.0)
    variance = float(above.var(ddof=1) / m + below.var(ddof=1) / n)
    if area in (0.0, 1.0) or variance == 0:
        # Perfect separation has no DeLong variance: the rule of three for the rarer class (Hanley & Lippman-Hand 1983).
        slack = min(1.0, 3.0 / min(m, n))
        return Interval(area, max(0.0, area - slack), min(1.0, area + slack))
    half = z_value(confidence) * np.sqrt(variance) / (area * (1 - area))
    centre = np.log(area / (1 - area))
    return Interval(area, float(_sigmoid(centre - half)), float(_sigmoid(centre + half)))


def proportion(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """A rate with Wilson's score interval (Wilson 1927), good down to few cases.

    Raises
    ------
    ValueError
        No trials, or more successes than trials.
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is not a proportion")
    return wilson(successes / trials, trials, confidence=confidence)


def wilson(rate: float, size: float, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a rate in [0, 1] seen on so many independent cases; `size` > 0 may be a fraction."""
    z = z_value(confidence)
    centre = (rate + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * np.sqrt(rate * (1 - rate) / size + z**2 / (4 * size**2))
    return Interval(rate, max(0.0, min(rate, float(centre - half))), min(1.0, max(rate, float(centre + half))))


def sensitivity(labels: Array, scores: Array, threshold: float) -> Interval:
    """Share of the positives with ``score >= threshold``."""
    positive, _ = _split(labels, scores)
    return proportion(int((positive >= threshold).sum()), len(positive))


def specificity(labels: Array, scores: Array, threshold: float) -> Interval:
    """Share of the negatives with ``score < threshold``."""
    _, negative = _split(labels, scores)
    return proportion(int((negative < threshold).sum()), len(negative))


def expected_calibration_error(labels: Array, probabilities: Array, *, bins: int = BINS) -> float:
    """Mean gap between stated probability and observed share over equal-width bins (Guo et al. 2017)."""
    index = np.minimum((np.asarray(probabilities) * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    gap = np.abs(np.bincount(index, labels, bins) - np.bincount(index, probabilities, bins))
    return float(gap.sum() / count.sum())


def brier_score(labels: Array, probabilities: Array) -> float:
    """Mean squared error of a probability (Brier 1950): 0 is perfect, always saying 0.5 gives 0.25."""
    return float(np.mean((np.asarray(probabilities, float) - np.asarray(labels, float)) ** 2))


def pointing_hit(heat: Array, mask: Array, *, tolerance: float) -> bool:
    """Whether the peak of a heat map lies in the lesion, or not further from it than `tolerance` (Zhang et al. 2018).

    Parameters
    ----------
    heat : ndarray
        (h, w), over the same field as the mask at any resolution; the peak is the centre of its highest cell.
    mask : ndarray of bool
        (H, W), the truth.
    tolerance : float
        In pixels of the mask; 0 asks for a peak inside.
    """
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    y = (row + 0.5) * mask.shape[0] / heat.shape[0] - 0.5
    x = (column + 0.5) * mask.shape[1] / heat.shape[1] - 0.5
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return False
    # Half a pixel: the peak lies inside a pixel whose centre is that near.
    distance = np.maximum(np.abs(rows - y) - 0.5, 0) ** 2 + np.maximum(np.abs(columns - x) - 0.5, 0) ** 2
    return bool(distance.min() <= tolerance**2 + 1e-9)


def evaluate(
    keys: Sequence[str],
    labels: Array,
    probabilities: Array,
    thresholds: Mapping[str, float],
    *,
    pointing: Mapping[str, Mapping[str, Sequence[bool]]] | None = None,
) -> dict[str, Any]:
    """All figures of a test set as plain JSON.

    Parameters
    ----------
    labels : ndarray
        (N, K) of 0, 1 or NaN where nobody knows.
    probabilities : ndarray
        (N, K) in [0, 1].
    pointing : mapping, optional
        Finding → name of the tolerance → one hit or miss for each true positive.

    Returns
    -------
    dict
        ``findings`` by key, and ``normals``: images that have none of the findings.
    """
    findings: dict[str, Any] = {}
    for column, key in enumerate(keys):
        known = ~np.isnan(labels[:, column])
        truth, scores = labels[known, column], probabilities[known, column]
        figures: dict[str, Any] = {
            "positives": int(truth.sum()),
            "negatives": int((truth == 0).sum()),
            "auc": auc(truth, scores).as_dict(),
            "threshold": thresholds[key],
            "sensitivity": sensitivity(truth, scores, thresholds[key]).as_dict(),
            "specificity": specificity(truth, scores, thresholds[key]).as_dict(),
            "expected_calibration_error": round(expected_calibration_error(truth, scores), 4),
            "brier_score": round(brier_score(truth, scores), 4),
        }
        for name, hits in (pointing or {}).get(key, {}).items():
            if len(hits):
                figures.setdefault("pointing_game", {})[name] = proportion(int(sum(hits)), len(hits)).as_dict()
        findings[key] = figures
    return {"images": len(labels), "findings": findings, "normals": normals(keys, labels, probabilities, thresholds)}


def normals(
    keys: Sequence[str], labels: Array, probabilities: Array, thresholds: Mapping[str, float]
) -> dict[str, Any]:
    """How many images without any of the findings stay without any positive: ``images``, ``without_any_positive``."""
    normal = np.all(labels == 0, axis=1)
    if not normal.any():
        return {"images": 0}
    limits = np.array([thresholds[key] for key in keys])
    quiet = np.all(probabilities[normal] < limits, axis=1)
    return {"images": int(normal.sum()), "without_any_positive": proportion(int(quiet.sum()), len(quiet)).as_dict()}


def _split(labels: Array, scores: Array) -> tuple[Array, Array]:
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("scores are not all finite")
    positive, negative = scores[labels == 1], scores[labels == 0]
    if not len(positive) or not len(negative):
        raise ValueError(f"{len(positive)} positives and {len(negative)} negatives: both are needed")
    return positive, negative


def _midranks(values: Array) -> Array:
    """Ranks from 1, ties sharing the mean of theirs."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    middle: Array = (last - (count - 1) / 2)[inverse]
    return middle


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def z_value(confidence: float) -> float:
    """The two-sided quantile of the normal distribution: 1.96 for 95 %."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)
