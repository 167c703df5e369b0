"""ROC and precision-recall curves, as the points where a threshold changes the calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points of a curve from the strictest threshold to the most lenient, all float64 (n,) in [0, 1].

    ``x, y`` are false positive rate and sensitivity of a ROC curve, recall and precision of a precision-recall curve.
    """

    x: Array
    y: Array


def roc(labels: Array, scores: Array) -> Curve:
    """From (0, 0) to (1, 1); ties are one step.

    Parameters
    ----------
    labels, scores : ndarray
        (N,) of 0 and 1, with both; (N,) finite.
    """
    true_positives, false_positives = _cumulated(labels, scores)
    return Curve(
        np.concatenate([[0.0], false_positives / false_positives[-1]]),
        np.concatenate([[0.0], true_positives / true_positives[-1]]),
    )


def precision_recall(labels: Array, scores: Array) -> Curve:
    """Recall and precision at every distinct score, the highest first; there is no point at recall 0."""
    true_positives, false_positives = _cumulated(labels, scores)
    return Curve(true_positives / true_positives[-1], true_positives / (true_positives + false_positives))


def average_precision(labels: Array, scores: Array) -> float:
    """Sum of precision times the step in recall: without interpolation, which would flatter (Davis & Goadrich 2006).

    A model that knows nothing reaches the share of positives.
    """
    curve = precision_recall(labels, scores)
    return float(np.sum(np.diff(curve.x, prepend=0.0) * curve.y))


def stepped(points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Corners of a precision-recall curve as it is drawn: each precision holds back to the recall before it.

    The area under it is the average precision; straight lines between the points would flatter.
    """
    starts = [0.0, *(recall for recall, _ in points)]
    return [
        corner
        for start, (recall, precision) in zip(starts, points, strict=False)
        for corner in ((start, precision), (recall, precision))
    ]


def thinned(curve: Curve, points: int = 200) -> Curve:
    """The same curve with at most so many points, ends kept: for drawing and storing."""
    if len(curve.x) <= points:
        return curve
    index = np.unique(np.linspace(0, len(curve.x) - 1, points).round().astype(int))
    return Curve(curve.x[index], curve.y[index])


def _cumulated(labels: Array, scores: Array) -> tuple[Array, Array]:
    """True and false positives at every distinct score, the highest first."""
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ranked, present = np.asarray(scores, dtype=np.float64)[order], (np.asarray(labels) == 1)[order]
    last = np.concatenate([ranked[1:] != ranked[:-1], [True]])
    return np.cumsum(present)[last].astype(float), np.cumsum(~present)[last].astype(float)
