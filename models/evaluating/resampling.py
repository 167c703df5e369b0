"""Bootstrap intervals (Efron & Tibshirani 1993): patients are drawn, not images, and both classes keep their size.

Images of one patient resemble each other; drawing them one by one would make the intervals too narrow. Patients with
a positive image and patients without one are drawn apart (stratified), so that no resample lacks a class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation import Interval

Array = NDArray[Any]
Statistic = Callable[[Array], Array]
"""Weights (resamples, N), how often each image was drawn → values (resamples,); NaN where a class is missing."""

RESAMPLES = 2000
_CELLS = 4_000_000
"""Weights held in memory at a time."""


def bootstrap(
    statistic: Statistic,
    labels: Array,
    patients: Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval | None:
    """Percentile interval of a statistic; None where it cannot be said.

    Parameters
    ----------
    labels : ndarray
        (N,) of 0 and 1.
    patients : ndarray
        (N,) of anything comparable: images of the same patient share a value.

    Returns
    -------
    Interval or None
        None where a tenth of the resamples or more lack a class, or where fewer than two patients stand in a stratum:
        resampling one patient says nothing about the next.
    """
    patient_of, positive = _strata(labels, patients)
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        return None
    weights = _draws(patient_of, positive, resamples, seed)
    values = np.concatenate([statistic(part) for part in weights])
    usable = values[np.isfinite(values)]
    if len(usable) < 0.9 * resamples:
        return None
    value = float(statistic(np.ones((1, len(patient_of))))[0])
    tail = (1 - confidence) / 2
    low, high = (float(q) for q in np.quantile(usable, [tail, 1 - tail]))
    return Interval(value, min(low, value), max(high, value))


def weighted_auc(labels: Array, scores: Array) -> Statistic:
    """The area under the ROC curve of weighted images; a tie counts one half."""
    order, starts, present = _ranked(labels, scores)

    def area(weights: Array) -> Array:
        positive, negative = _by_score(weights, order, starts, present)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return _divided((positive * below).sum(axis=1), pairs)

    return area


def weighted_average_precision(labels: Array, scores: Array) -> Statistic:
    """Average precision of weighted images (:func:`models.evaluating.curves.average_precision`)."""
    order, starts, present = _ranked(labels, scores)

    def precision(weights: Array) -> Array:
        positive, negative = (part[:, ::-1] for part in _by_score(weights, order, starts, present))
        hits = np.cumsum(positive, axis=1)
        called = hits + np.cumsum(negative, axis=1)
        share = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
        return _divided((positive * share).sum(axis=1), positive.sum(axis=1))

    return precision


def _strata(labels: Array, patients: Array) -> tuple[Array, Array]:
    """Number of each image's patient (N,), and whether each patient has a positive image (P,)."""
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    positive = np.bincount(patient_of, np.asarray(labels) == 1, len(names)) > 0
    return patient_of, positive


def _draws(patient_of: Array, positive: Array, resamples: int, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // len(patient_of))
    strata = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        drawn = np.zeros((count, len(positive)))
        for members in strata:
            drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), count)
        yield drawn[:, patient_of]


def _ranked(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Order of rising scores, where each distinct score starts in it, and the labels in it."""
    order = np.argsort(scores, kind="stable")
    ranked = np.asarray(scores)[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts, (np.asarray(labels) == 1)[order]


def _by_score(weights: Array, order: Array, starts: Array, present: Array) -> tuple[Array, Array]:
    ranked = weights[:, order]
    positive = np.add.reduceat(ranked * present, starts, axis=1)
    return positive, np.add.reduceat(ranked * ~present, starts, axis=1)


def _divided(sums: Array, sizes: Array) -> Array:
    result: Array = np.divide(sums, sizes, out=np.full(sums.shape, np.nan), where=sizes > 0)
    return result
