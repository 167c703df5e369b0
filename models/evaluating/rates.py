"""Sensitivity, specificity and predictive values at a threshold, and what they become at another prevalence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation import Interval, wilson, z_value

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What a threshold does; a rate is None where nobody is there to measure it on.

    Attributes
    ----------
    true_positives, false_negatives, true_negatives, false_positives : int
    ppv, npv : Interval or None
        At the share of positives of these very images.
    flagged : Interval or None
        Share of the images that are called positive: what readers will meet.
    positives_size, negatives_size : float
        Positives and negatives as so many independent cases (:func:`effective_size`).
    """

    threshold: float
    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int
    sensitivity: Interval | None
    specificity: Interval | None
    ppv: Interval | None
    npv: Interval | None
    flagged: Interval | None
    positives_size: float
    negatives_size: float


def rates_at(labels: Array, scores: Array, threshold: float, patients: Array) -> Rates:
    """All rates at ``score >= threshold``.

    Parameters
    ----------
    labels, scores, patients : ndarray
        (N,) of 0 and 1; (N,) finite; (N,) naming the patient of each image.
    """
    present, called = np.asarray(labels) == 1, np.asarray(scores) >= threshold
    patients = np.asarray(patients)
    return Rates(
        threshold=threshold,
        true_positives=int((present & called).sum()),
        false_negatives=int((present & ~called).sum()),
        true_negatives=int((~present & ~called).sum()),
        false_positives=int((~present & called).sum()),
        sensitivity=clustered_proportion(called[present], patients[present]),
        specificity=clustered_proportion(~called[~present], patients[~present]),
        ppv=clustered_proportion(present[called], patients[called]),
        npv=clustered_proportion(~present[~called], patients[~called]),
        flagged=clustered_proportion(called, patients),
        positives_size=effective_size(called[present], patients[present]),
        negatives_size=effective_size(~called[~present], patients[~present]),
    )


def clustered_proportion(hits: Array, patients: Array, *, confidence: float = 0.95) -> Interval | None:
    """A rate over images of which several may belong to one patient: Wilson's interval on the effective size."""
    if not len(hits):
        return None
    return wilson(float(np.mean(hits)), effective_size(hits, patients), confidence=confidence)


def effective_size(hits: Array, patients: Array) -> float:
    """As many independent cases as these images are worth: N / design effect (Rao & Scott 1992), never above N.

    Where every image is a hit, or none is, their resemblance cannot be seen: then patients are counted.
    """
    count = len(hits)
    if not count:
        return 0.0
    _, patient_of, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    groups, rate = len(sizes), float(np.mean(hits))
    if groups == count:
        return float(count)
    if rate in (0.0, 1.0) or groups < 2:
        return float(groups)
    residual = np.bincount(patient_of, np.asarray(hits, dtype=float), groups) - rate * sizes
    variance = groups / (groups - 1) * float(np.sum(residual**2)) / count**2
    return count / max(1.0, variance / (rate * (1 - rate) / count))


@dataclass(frozen=True, slots=True)
class PredictiveValues:
    """Expected PPV and NPV where `prevalence` of the patients have the finding."""

    prevalence: float
    ppv: Interval | None
    npv: Interval | None


def at_prevalence(rates: Rates, prevalence: float, *, confidence: float = 0.95) -> PredictiveValues:
    """Bayes' rule with the logit interval of Mercaldo, Lau & Zhou (2007).

    It carries sensitivity and specificity over to a place with more or fewer cases, which holds as long as the cases
    are as easy or hard there. At a sensitivity or specificity of exactly 0 or 1 their adjusted interval is used.

    Parameters
    ----------
    prevalence : float
        In (0, 1).
    """
    if rates.sensitivity is None or rates.specificity is None:
        return PredictiveValues(prevalence, None, None)
    sensitive, specific = rates.sensitivity.value, rates.specificity.value
    ppv = _bayes(sensitive * prevalence, (1 - specific) * (1 - prevalence))
    npv = _bayes(specific * (1 - prevalence), (1 - sensitive) * prevalence)
    z = z_value(confidence)
    m, n = rates.positives_size, rates.negatives_size
    if not 0 < sensitive < 1 or not 0 < specific < 1:
        sensitive, specific = (sensitive * m + z**2 / 2) / (m + z**2), (specific * n + z**2 / 2) / (n + z**2)
        m, n = m + z**2, n + z**2
    spread_ppv = np.sqrt((1 - sensitive) / (sensitive * m) + specific / ((1 - specific) * n))
    spread_npv = np.sqrt(sensitive / ((1 - sensitive) * m) + (1 - specific) / (specific * n))
    centre_ppv = np.log(sensitive * prevalence / ((1 - specific) * (1 - prevalence)))
    centre_npv = np.log(specific * (1 - prevalence) / ((1 - sensitive) * prevalence))
    return PredictiveValues(
        prevalence,
        _logit_interval(ppv, float(centre_ppv), z * float(spread_ppv)),
        _logit_interval(npv, float(centre_npv), z * float(spread_npv)),
    )


def _bayes(right: float, wrong: float) -> float | None:
    return right / (right + wrong) if right + wrong > 0 else None


def _logit_interval(value: float | None, centre: float, half: float) -> Interval | None:
    if value is None:
        return None
    low, high = (float(1 / (1 + np.exp(-x))) for x in (centre - half, centre + half))
    return Interval(value, min(low, value), max(high, value))
