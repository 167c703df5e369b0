"""Calibration and thresholds: what they promise on any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from models import calibration, evaluation


def overconfident(rng: np.random.Generator, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits three times too large and shifted, as weighting the rare class leaves them."""
    logits = rng.normal(-1.5, 1.5, count)
    labels = (rng.uniform(size=count) < 1 / (1 + np.exp(-logits))).astype(float)
    return 3 * logits + 2, labels


def test_fit_finds_temperature_and_bias_and_repairs_the_calibration() -> None:
    logits, labels = overconfident(np.random.default_rng(2))
    fitted = calibration.fit(logits, labels)
    assert fitted.temperature == pytest.approx(3, rel=0.1)
    assert fitted.bias == pytest.approx(-2 / 3, abs=0.1)
    fresh_logits, fresh = overconfident(np.random.default_rng(3))
    before = evaluation.expected_calibration_error(fresh, calibration.Calibrator().probabilities(fresh_logits))
    after = evaluation.expected_calibration_error(fresh, fitted.probabilities(fresh_logits))
    assert after < 0.03 < before


def test_fit_is_logistic_regression() -> None:
    logits, labels = overconfident(np.random.default_rng(5))
    reference = LogisticRegression(C=1e9).fit(logits[:, None], labels)
    fitted = calibration.fit(logits, labels)
    assert 1 / fitted.temperature == pytest.approx(float(reference.coef_[0, 0]), abs=0.01)
    assert fitted.bias == pytest.approx(float(reference.intercept_[0]), abs=0.01)


def test_separated_classes_do_not_end_in_certainty() -> None:
    fitted = calibration.fit(np.array([-4.0] * 40 + [4.0] * 10), np.array([0] * 40 + [1] * 10))
    assert fitted.probabilities(np.array(4.0)) < 0.95
    assert fitted.probabilities(np.array(-4.0)) > 0.005


@given(st.integers(0, 2**32 - 1), st.sampled_from([-5.0, -1.0, 0.0, 0.3, 20.0]))
def test_calibration_never_turns_the_order_round(seed: int, usefulness: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1] * 15)
    logits = rng.normal(size=30) + usefulness * labels
    fitted = calibration.fit(logits, labels)
    assert fitted.temperature > 0
    probabilities = fitted.probabilities(np.sort(logits))
    assert np.all(np.diff(probabilities) >= 0)
    assert np.all((probabilities >= 0) & (probabilities <= 1))


@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_fit_needs_both_classes(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="positives and negatives"):
        calibration.fit(np.array([0.0, 1.0]), np.array(labels))


CASES = st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=80)


@given(CASES, st.sampled_from([0.0, 0.5, 0.9, 0.95, 1.0]))
def test_operating_point_is_the_best_of_those_specific_enough(cases: list[tuple[bool, int]], least: float) -> None:
    labels = np.array([0, 1, *(int(p) for p, _ in cases)])
    scores = np.array([10, 20, *(s for _, s in cases)]) / 31
    threshold = calibration.operating_point(labels, scores, min_specificity=least)
    assert 0 <= threshold <= 1

    def rates(limit: float) -> tuple[float, float]:
        return float((scores[labels == 1] >= limit).mean()), float((scores[labels == 0] < limit).mean())

    reached = rates(threshold)
    assert reached[1] >= least
    others = [rates(limit) for limit in (0.0, *np.unique(scores), 1.1)]
    assert sum(reached) >= max(sum(pair) for pair in others if pair[1] >= least) - 1e-9


@given(st.integers(0, 2**32 - 1))
def test_without_a_bound_it_is_the_best_point_of_the_roc_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1], rng.integers(0, 2, 30)])
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1)
    threshold = calibration.operating_point(labels, scores)
    sensitive = evaluation.sensitivity(labels, scores, threshold).value
    specific = evaluation.specificity(labels, scores, threshold).value
    false_positive, true_positive, _ = roc_curve(labels, scores)
    assert sensitive + specific - 1 == pytest.approx(float((true_positive - false_positive).max()))


@pytest.mark.parametrize(("labels", "least"), [([1, 1], 0.5), ([0, 0], 0.5), ([0, 1], 1.5)])
def test_operating_point_needs_both_classes_and_a_rate(labels: list[int], least: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        calibration.operating_point(np.array(labels), np.array([0.2, 0.8]), min_specificity=least)
