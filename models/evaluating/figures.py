"""All figures of one set of images as plain JSON; what cannot be said is null, with a note that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models import calibration
from models.evaluating import curves, rates, reliability, resampling
from models.evaluating.comparing import difference
from models.evaluating.decision_curve import decision_curve
from models.evaluating.label_noise import label_noise
from models.evaluating.subgroups import FEWEST, Subject, groups, too_few
from models.evaluation import Interval, auc, brier_score, expected_calibration_error, normals
from models.metadata import FindingSpec

Array = NDArray[Any]
AucInterval = Literal["auto", "delong", "bootstrap"]

USUAL_PREVALENCES = (0.01, 0.05, 0.1)
USUAL_LABEL_ERRORS = (0.02, 0.05, 0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What the person who evaluates may choose.

    Attributes
    ----------
    interval : {"auto", "delong", "bootstrap"}
        Of the AUC; "auto" takes DeLong's where every patient has one image and draws patients otherwise.
    target_sensitivity : float
        In (0, 1]: for the operating point chosen on validation images.
    prevalence : mapping of str to float
        Finding → share of the patients at one's own place, for expected predictive values.
    label_errors : tuple of float
        Shares of wrong labels to reckon with.
    resamples, seed : int
        Of the bootstrap.
    """

    interval: AucInterval = "auto"
    target_sensitivity: float = 0.95
    prevalence: Mapping[str, float] = field(default_factory=dict)
    label_errors: tuple[float, ...] = USUAL_LABEL_ERRORS
    resamples: int = resampling.RESAMPLES
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """N analysed images with their truth.

    Attributes
    ----------
    labels : ndarray
        float64 (N, K) of 0, 1, or NaN where nobody knows.
    logits, probabilities : ndarray
        float64 (N, K).
    patients : ndarray
        (N,) of str.
    """

    labels: Array
    logits: Array
    probabilities: Array
    patients: Array
    subjects: Sequence[Subject]

    def __len__(self) -> int:
        return len(self.patients)


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """One finding of the images of which its truth is known."""

    labels: Array
    logits: Array
    probabilities: Array
    patients: Array

    @property
    def positives(self) -> int:
        return int(self.labels.sum())

    @property
    def negatives(self) -> int:
        return len(self.labels) - self.positives

    @property
    def both(self) -> bool:
        return self.positives > 0 and self.negatives > 0

    def take(self, index: Array) -> _Column:
        return _Column(self.labels[index], self.logits[index], self.probabilities[index], self.patients[index])


def set_figures(
    findings: Sequence[FindingSpec], sample: Sample, validation: Sample | None, choices: Choices
) -> dict[str, Any]:
    """Figures of a set: ``images``, ``patients``, ``findings`` by key, and ``normals``.

    Parameters
    ----------
    findings : sequence of FindingSpec
        In the order of the columns, with thresholds and calibration in force.
    validation : Sample or None
        Images of other patients, on which thresholds are chosen and calibration is fitted.
    """
    rows = {}
    for number, spec in enumerate(findings):
        chosen_on = None if validation is None else _column(validation, number)
        rows[spec.key] = _finding(spec, _column(sample, number), chosen_on, sample, number, choices)
    known = ~np.all(np.isnan(sample.labels), axis=0)
    keys = [spec.key for spec, here in zip(findings, known, strict=True) if here]
    limits = {spec.key: spec.threshold for spec in findings}
    quiet = normals(keys, sample.labels[:, known], sample.probabilities[:, known], limits) if keys else {"images": 0}
    return {
        "images": len(sample),
        "patients": len(np.unique(sample.patients)),
        "findings": rows,
        "normals": quiet,
    }


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """``there - here`` of two sets' figures without a patient in common, by finding and figure."""
    names = ("auc", "sensitivity", "specificity")
    return {
        key: {name: _difference(row.get(name), here["findings"][key].get(name)) for name in names}
        for key, row in there["findings"].items()
    }


def _finding(
    spec: FindingSpec, column: _Column, validation: _Column | None, sample: Sample, number: int, choices: Choices
) -> dict[str, Any]:
    notes: list[str] = []
    area = _auc(column, choices, notes)
    in_force = rates.rates_at(column.labels, column.probabilities, spec.threshold, column.patients)
    return {
        "positives": column.positives,
        "negatives": column.negatives,
        "unknown": len(sample) - len(column.labels),
        **area,
        "average_precision": _average_precision(column, choices),
        "threshold": spec.threshold,
        "sensitivity": _dict(in_force.sensitivity),
        "specificity": _dict(in_force.specificity),
        "ppv": _dict(in_force.ppv),
        "npv": _dict(in_force.npv),
        **_calibration(spec, column, validation, notes),
        "operating_points": _operating_points(spec, column, validation, in_force, choices, notes),
        "label_noise": _label_noise(column, area["auc"], in_force, choices),
        "subgroups": _subgroups(spec, sample, number, choices),
        "curves": _curves(column),
        "notes": notes,
    }


def _column(sample: Sample, number: int) -> _Column:
    known = ~np.isnan(sample.labels[:, number])
    return _Column(
        sample.labels[known, number],
        sample.logits[known, number],
        sample.probabilities[known, number],
        sample.patients[known],
    )


# --- discrimination ---


def _auc(column: _Column, choices: Choices, notes: list[str]) -> dict[str, Any]:
    """The area with the interval asked for, and with both."""
    nothing = {"auc": None, "auc_method": None, "auc_delong": None, "auc_bootstrap": None}
    if not column.both:
        notes.append(
            f"AUC cannot be said: {column.positives} positives and {column.negatives} negatives. If the table names "
            "the finding otherwise, say how with --label."
        )
        return nothing
    delong = auc(column.labels, column.probabilities)
    drawn = resampling.bootstrap(
        resampling.weighted_auc(column.labels, column.probabilities), column.labels, column.patients,
        resamples=choices.resamples, seed=choices.seed,
    )  # fmt: skip
    if drawn is not None and drawn.low == drawn.high:
        drawn = _never_certain(drawn, column)
    repeated = len(np.unique(column.patients)) < len(column.patients)
    wanted = choices.interval if choices.interval != "auto" else "bootstrap" if repeated else "delong"
    if wanted == "bootstrap" and drawn is None:
        notes.append("Too few patients to draw from: the interval is DeLong's, which takes images for independent.")
    by_patients = wanted == "bootstrap" and drawn is not None
    best = drawn if by_patients and drawn is not None else delong
    if best.low <= 0.5:
        notes.append("No better than chance: the interval of the AUC reaches 0.5.")
    if repeated and not by_patients:
        notes.append("Some patients have several images: DeLong's interval is too narrow here.")
    return {
        "auc": best.as_dict(),
        "auc_method": "bootstrap over patients" if by_patients else "DeLong",
        "auc_delong": delong.as_dict(),
        "auc_bootstrap": _dict(drawn),
    }


def _never_certain(area: Interval, column: _Column) -> Interval:
    """Every resample gives the same: the rule of three for the rarer class, in patients."""
    present = column.labels == 1
    fewest = min(len(np.unique(column.patients[side])) for side in (present, ~present))
    slack = min(1.0, 3 / fewest)
    return Interval(area.value, max(0.0, area.value - slack), min(1.0, area.value + slack))


def _average_precision(column: _Column, choices: Choices) -> dict[str, float] | None:
    if not column.both:
        return None
    statistic = resampling.weighted_average_precision(column.labels, column.probabilities)
    drawn = resampling.bootstrap(
        statistic, column.labels, column.patients, resamples=choices.resamples, seed=choices.seed
    )
    if drawn is not None and drawn.low == drawn.high:
        drawn = _never_certain(drawn, column)
    return _dict(drawn)


def _curves(column: _Column) -> dict[str, Any]:
    """Points to draw: ROC, precision-recall, net benefit."""
    if not column.both:
        return {}
    roc = curves.thinned(curves.roc(column.labels, column.probabilities))
    precision = curves.thinned(curves.precision_recall(column.labels, column.probabilities))
    benefit = decision_curve(column.labels, column.probabilities)
    return {
        "roc": _points(roc.x, roc.y),
        "precision_recall": _points(precision.x, precision.y),
        "decision": {
            "threshold": _rounded(benefit.thresholds),
            "model": _rounded(benefit.model),
            "treat_all": _rounded(benefit.treat_all),
            "useful": benefit.useful,
        },
    }


# --- operating points ---


def _operating_points(
    spec: FindingSpec,
    column: _Column,
    validation: _Column | None,
    in_force: rates.Rates,
    choices: Choices,
    notes: list[str],
) -> list[dict[str, Any]]:
    prevalences = (choices.prevalence[spec.key],) if spec.key in choices.prevalence else USUAL_PREVALENCES
    points = [_point("in force", in_force, prevalences)]
    target = f"sensitivity {choices.target_sensitivity:g} on validation"
    if validation is None or not validation.positives:
        notes.append(f"No threshold could be chosen for {target}: there are no positive validation images.")
        return points
    if validation.positives < FEWEST:
        notes.append(f"The threshold for {target} rests on {validation.positives} positives: expect it to miss.")
    threshold = calibration.sensitive_point(
        validation.labels, validation.probabilities, sensitivity=choices.target_sensitivity
    )
    chosen = rates.rates_at(column.labels, column.probabilities, threshold, column.patients)
    seen = rates.rates_at(validation.labels, validation.probabilities, threshold, validation.patients)
    point = _point(target, chosen, prevalences)
    return [*points, {**point, "validation": {"positives": validation.positives, "negatives": validation.negatives,
                      "sensitivity": _dict(seen.sensitivity), "specificity": _dict(seen.specificity)}}]  # fmt: skip


def _point(name: str, at: rates.Rates, prevalences: Sequence[float]) -> dict[str, Any]:
    expected = [rates.at_prevalence(at, prevalence) for prevalence in prevalences]
    return {
        "name": name,
        "threshold": round(at.threshold, 6),
        "true_positives": at.true_positives,
        "false_negatives": at.false_negatives,
        "true_negatives": at.true_negatives,
        "false_positives": at.false_positives,
        **{rate: _dict(getattr(at, rate)) for rate in ("sensitivity", "specificity", "ppv", "npv", "flagged")},
        "expected": [{"prevalence": e.prevalence, "ppv": _dict(e.ppv), "npv": _dict(e.npv)} for e in expected],
    }


# --- calibration ---


def _calibration(spec: FindingSpec, column: _Column, validation: _Column | None, notes: list[str]) -> dict[str, Any]:
    if not len(column.labels):
        return {
            "expected_calibration_error": None, "adaptive_calibration_error": None, "brier_score": None,
            "brier": None, "reliability": [], "recalibration": None,
        }  # fmt: skip
    labels, stated = column.labels, column.probabilities
    parts = reliability.brier_parts(labels, stated)
    bins = reliability.reliability_bins(labels, stated, column.patients)
    proposal = None
    if validation is not None:
        in_force = calibration.Calibrator(spec.temperature, spec.bias)
        proposal = reliability.recalibrated(
            (validation.labels, validation.logits), (labels, column.logits), in_force, spec.threshold
        )
    if parts.skill is not None and parts.skill < 0:
        notes.append("Its probabilities are worse than always stating the share of positives (Brier skill below 0).")
    return {
        "expected_calibration_error": round(expected_calibration_error(labels, stated), 4),
        "adaptive_calibration_error": round(reliability.adaptive_calibration_error(labels, stated), 4),
        "brier_score": round(brier_score(labels, stated), 4),
        "brier": {name: round(value, 5) for name, value in asdict(parts).items()}
        | {"skill": None if parts.skill is None else round(parts.skill, 4)},
        "reliability": [
            {"images": b.count, "stated": round(b.stated, 4), "observed": b.observed.as_dict()} for b in bins
        ],
        "recalibration": None
        if proposal is None
        else {name: round(value, 5) for name, value in asdict(proposal).items()} | {"better": proposal.better},
    }


def _label_noise(
    column: _Column, area: Mapping[str, float] | None, in_force: rates.Rates, choices: Choices
) -> list[dict[str, Any]]:
    if area is None or in_force.sensitivity is None or in_force.specificity is None:
        return []
    rows: list[dict[str, Any]] = []
    for error in choices.label_errors:
        noise = label_noise(
            error, column.positives / len(column.labels), auc=area["value"],
            sensitivity=in_force.sensitivity.value, specificity=in_force.specificity.value,
        )  # fmt: skip
        figures = {} if noise is None else asdict(noise)
        rows.append({name: None if value is None else round(value, 4) for name, value in figures.items()}
                    | {"error": error, "possible": noise is not None})  # fmt: skip
    return rows


# --- subgroups ---


def _subgroups(spec: FindingSpec, sample: Sample, number: int, choices: Choices) -> dict[str, list[dict[str, Any]]]:
    known = np.flatnonzero(~np.isnan(sample.labels[:, number]))
    column = _column(sample, number)
    split = groups([sample.subjects[int(index)] for index in known])
    return {
        axis: [_group(name, column.take(members), spec.threshold, choices) for name, members in parts.items()]
        for axis, parts in split.items()
    }


def _group(name: str, column: _Column, threshold: float, choices: Choices) -> dict[str, Any]:
    note = too_few(column.positives, column.negatives)
    row: dict[str, Any] = {
        "group": name,
        "images": len(column.labels),
        "positives": column.positives,
        "negatives": column.negatives,
        "auc": None,
        "sensitivity": None,
        "specificity": None,
        "note": note,
    }
    if not note:
        at = rates.rates_at(column.labels, column.probabilities, threshold, column.patients)
        row |= {"auc": _auc(column, choices, [])["auc"], "sensitivity": _dict(at.sensitivity),
                "specificity": _dict(at.specificity)}  # fmt: skip
    return row


# --- JSON ---


def _difference(there: Mapping[str, float] | None, here: Mapping[str, float] | None) -> dict[str, float] | None:
    if there is None or here is None:
        return None
    return difference(Interval(**there), Interval(**here)).as_dict()


def _dict(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.as_dict()


def _points(x: Array, y: Array) -> list[list[float]]:
    return [[round(float(a), 4), round(float(b), 4)] for a, b in zip(x, y, strict=True)]


def _rounded(values: Array) -> list[float]:
    return [round(float(value), 5) for value in values]
