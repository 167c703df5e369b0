"""Calibration figures against scikit-learn and their own identities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from models.calibration import Calibrator
from models.evaluating import reliability


@st.composite
def stated(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=1, max_size=80)), dtype=float)
    steps = draw(st.lists(st.integers(0, 25), min_size=len(labels), max_size=len(labels)))
    return labels, np.array(steps) / 25


def honest(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose sigmoid is the probability of the label."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, count)
    return (rng.uniform(size=count) < 1 / (1 + np.exp(-logits))).astype(float), logits


@given(stated())
def test_the_parts_of_the_brier_score_add_up(case: tuple[np.ndarray, np.ndarray]) -> None:
    parts = reliability.brier_parts(*case)
    assert parts.score == pytest.approx(brier_score_loss(*case, labels=[0, 1]))
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert total == pytest.approx(parts.score, abs=1e-12)
    assert parts.reliability >= 0
    assert parts.resolution <= parts.uncertainty + 1e-12


def test_nothing_is_left_within_bins_of_equal_statements() -> None:
    labels = np.array([0, 0, 1, 1, 1, 0, 1, 1] * 20, dtype=float)
    probabilities = np.array([0.1, 0.1, 0.1, 0.1, 0.8, 0.8, 0.8, 0.8] * 20)
    parts = reliability.brier_parts(labels, probabilities)
    assert parts.within_bins == pytest.approx(0, abs=1e-12)
    # Two statements: 0.1 where half have it, 0.8 where three quarters have it; the share is 5/8.
    assert parts.reliability == pytest.approx((0.4**2 + 0.05**2) / 2)
    assert parts.resolution == pytest.approx((0.125**2 + 0.125**2) / 2)
    assert parts.uncertainty == pytest.approx(5 / 8 * 3 / 8)


def test_always_stating_the_share_has_no_skill() -> None:
    labels = np.repeat([1.0, 0.0], [30, 70])
    assert reliability.brier_parts(labels, np.full(100, 0.3)).skill == pytest.approx(0)
    assert reliability.brier_parts(labels, labels).skill == pytest.approx(1)
    assert reliability.brier_parts(np.zeros(5), np.full(5, 0.1)).skill is None


def test_bins_are_scikit_learns_quantiles() -> None:
    labels, logits = honest(1000, 2)
    probabilities = Calibrator().probabilities(logits)
    bins = reliability.reliability_bins(labels, probabilities, np.arange(1000))
    observed, mean = calibration_curve(labels, probabilities, n_bins=10, strategy="quantile")
    assert [b.stated for b in bins] == pytest.approx(mean, abs=2e-3)
    assert [b.observed.value for b in bins] == pytest.approx(observed, abs=0.011)
    assert [b.count for b in bins] == [100] * 10


@given(stated(), st.integers(1, 12))
def test_bins_hold_every_image_once_and_cut_no_tie(case: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    labels, probabilities = case
    found = reliability.reliability_bins(labels, probabilities, np.arange(len(labels)), bins=bins)
    assert sum(b.count for b in found) == len(labels)
    assert len(found) <= bins
    means = [b.stated for b in found]
    assert means == sorted(set(means))


def test_adaptive_error_sees_what_a_crowded_bin_hides() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0, 0.06, 4000)
    labels = (rng.uniform(size=4000) < 0.03).astype(float)  # unrelated to the statement, right on average
    adaptive = reliability.adaptive_calibration_error(labels, probabilities)
    assert adaptive > 2 * reliability.expected_calibration_error(labels, probabilities)
    assert reliability.adaptive_calibration_error(labels, labels) == 0


def test_a_calibration_fitted_elsewhere_mends_the_test_images() -> None:
    in_force = Calibrator(temperature=0.4, bias=1.0)
    proposal = reliability.recalibrated(honest(4000, 3), honest(4000, 4), in_force, 0.7)
    assert proposal is not None
    assert proposal.better
    assert proposal.error_after < 0.03 < proposal.error_before
    assert proposal.temperature == pytest.approx(1, abs=0.1)
    assert proposal.bias == pytest.approx(0, abs=0.1)
    _, logits = honest(4000, 4)
    before = in_force.probabilities(logits) >= 0.7
    after = Calibrator(proposal.temperature, proposal.bias).probabilities(logits) >= proposal.threshold
    assert (before == after).all()


def test_without_both_classes_nothing_is_proposed() -> None:
    logits = np.array([0.1, 0.2])
    assert reliability.recalibrated((np.zeros(2), logits), (np.array([0, 1]), logits), Calibrator(), 0.5) is None
