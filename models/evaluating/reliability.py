"""Does a stated probability come true? Bins, errors, the parts of the Brier score, and a proposal to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import calibration
from models.evaluating.rates import clustered_proportion
from models.evaluation import Interval, brier_score, expected_calibration_error

Array = NDArray[Any]

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Images of similar stated probability: how many, their mean statement, and how often it came true."""

    count: int
    stated: float
    observed: Interval


def reliability_bins(labels: Array, probabilities: Array, patients: Array, *, bins: int = BINS) -> list[Bin]:
    """Bins of equal size, the lowest statements first, for a reliability diagram."""
    result = []
    for members in _equal_parts(probabilities, bins):
        observed = clustered_proportion(np.asarray(labels)[members] == 1, np.asarray(patients)[members])
        if observed is not None:
            result.append(Bin(len(members), float(np.mean(np.asarray(probabilities)[members])), observed))
    return result


def adaptive_calibration_error(labels: Array, probabilities: Array, *, bins: int = BINS) -> float:
    """Mean gap between statement and outcome over bins of equal size (Nguyen & O'Connor 2015).

    Unlike bins of equal width, it does not hide in one crowded bin that a rare finding is badly calibrated.
    """
    labels, probabilities = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    gaps = [abs(float(np.sum(labels[part] - probabilities[part]))) for part in _equal_parts(probabilities, bins)]
    return sum(gaps) / len(labels)


@dataclass(frozen=True, slots=True)
class BrierParts:
    """``score = reliability - resolution + uncertainty + within_bins`` (Murphy 1973; Stephenson et al. 2008).

    Attributes
    ----------
    reliability : float
        Mean squared gap between statement and outcome: 0 is perfect calibration.
    resolution : float
        How far the outcomes of the bins lie apart: more is better, at most the uncertainty.
    uncertainty : float
        p (1 - p) of the share of positives: the score of always stating that share.
    within_bins : float
        What binning leaves over.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float

    @property
    def skill(self) -> float | None:
        """1 - score / uncertainty: 0 is no better than always stating the share of positives."""
        return 1 - self.score / self.uncertainty if self.uncertainty > 0 else None


def brier_parts(labels: Array, probabilities: Array, *, bins: int = BINS) -> BrierParts:
    """The Brier score taken apart over bins of equal size."""
    labels, probabilities = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    share, count = float(labels.mean()), len(labels)
    reliability = resolution = 0.0
    for part in _equal_parts(probabilities, bins):
        observed = float(labels[part].mean())
        reliability += len(part) * (float(probabilities[part].mean()) - observed) ** 2 / count
        resolution += len(part) * (observed - share) ** 2 / count
    score, uncertainty = brier_score(labels, probabilities), share * (1 - share)
    return BrierParts(score, reliability, resolution, uncertainty, score - (reliability - resolution + uncertainty))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalibration:
    """A calibration fitted on validation images, and what it does on the test images.

    Attributes
    ----------
    threshold : float
        The threshold in force, moved along: the same images stay positive.
    error_before, error_after, brier_before, brier_after : float
        Expected calibration error and Brier score on the test images.
    """

    temperature: float
    bias: float
    threshold: float
    error_before: float
    error_after: float
    brier_before: float
    brier_after: float

    @property
    def better(self) -> bool:
        return self.brier_after < self.brier_before


def recalibrated(
    validation: tuple[Array, Array],
    test: tuple[Array, Array],
    in_force: calibration.Calibrator,
    threshold: float,
) -> Recalibration | None:
    """Temperature and offset anew (Guo et al. 2017; Platt 1999); None where the validation set lacks a class.

    Parameters
    ----------
    validation, test : tuple of ndarray
        Labels (N,) of 0 and 1, and raw logits (N,).
    """
    labels, logits = validation
    if len(np.unique(labels)) < 2 or not len(test[0]):
        return None
    fitted = calibration.fit(logits, labels)
    before, after = in_force.probabilities(test[1]), fitted.probabilities(test[1])
    return Recalibration(
        temperature=fitted.temperature,
        bias=fitted.bias,
        threshold=_moved(threshold, in_force, fitted),
        error_before=expected_calibration_error(test[0], before),
        error_after=expected_calibration_error(test[0], after),
        brier_before=brier_score(test[0], before),
        brier_after=brier_score(test[0], after),
    )


def _moved(threshold: float, old: calibration.Calibrator, new: calibration.Calibrator) -> float:
    if threshold in (0.0, 1.0):
        return threshold
    logit = (np.log(threshold / (1 - threshold)) - old.bias) * old.temperature
    return float(new.probabilities(np.array(logit)))


def _equal_parts(probabilities: Array, bins: int) -> list[Array]:
    """Indices of the images by rising statement, in at most `bins` parts of nearly equal size; ties stay whole."""
    order = np.argsort(probabilities, kind="stable")
    ranked = np.asarray(probabilities)[order]
    edges = [round(len(ranked) * k / bins) for k in range(1, bins)]
    # An edge inside a tie moves to the tie's start, so that equal statements are judged together.
    cuts = sorted({int(np.searchsorted(ranked, ranked[edge], side="left")) for edge in edges if edge < len(ranked)})
    return [part for part in np.split(order, cuts) if len(part)]
