"""Net benefit: what acting on the model is worth against treating everybody or nobody (Vickers & Elkin 2006)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

THRESHOLDS = np.arange(1, 100) / 100
"""Of the probability from which somebody would act, float64 (99,)."""


@dataclass(frozen=True, slots=True, eq=False)
class DecisionCurve:
    """Net benefit per image at each threshold, all float64 (T,): true positives, less false ones at their price.

    The price of a false positive is threshold / (1 - threshold) of a true one: who acts from 10 % on accepts nine false
    alarms for one case found. Treating nobody has a net benefit of 0.
    """

    thresholds: Array
    model: Array
    treat_all: Array

    @property
    def useful(self) -> tuple[float, float] | None:
        """The longest stretch of thresholds on which the model beats both simple policies; None where it never does."""
        better = np.flatnonzero(self.model > np.maximum(self.treat_all, 0.0) + 1e-12)
        if not len(better):
            return None
        longest = max(np.split(better, np.flatnonzero(np.diff(better) > 1) + 1), key=len)
        return float(self.thresholds[longest[0]]), float(self.thresholds[longest[-1]])


def decision_curve(labels: Array, probabilities: Array, thresholds: Array = THRESHOLDS) -> DecisionCurve:
    """The curve at the share of positives of these images.

    Parameters
    ----------
    labels, probabilities : ndarray
        (N,) of 0 and 1, N >= 1; (N,) in [0, 1]: it means something for probabilities only, not for any score.
    thresholds : ndarray
        (T,) in [0, 1).
    """
    present = np.asarray(labels) == 1
    called = np.asarray(probabilities)[None, :] >= thresholds[:, None]
    price = thresholds / (1 - thresholds)
    true_positives = (called & present).sum(axis=1) / len(present)
    false_positives = (called & ~present).sum(axis=1) / len(present)
    share = float(present.mean())
    return DecisionCurve(thresholds, true_positives - price * false_positives, share - price * (1 - share))
