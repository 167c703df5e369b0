"""Figures against scikit-learn, published examples and their own rules."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, confusion_matrix, roc_auc_score

from models import evaluation


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels with both classes, scores on a coarse grid so that ties occur."""
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=2, max_size=60))])
    scores = draw(st.lists(st.integers(0, 20), min_size=len(labels), max_size=len(labels)))
    return labels, np.array(scores) / 20


@given(scored())
def test_auc_is_scikit_learns_and_lies_in_its_interval(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = case
    area = evaluation.auc(labels, scores)
    assert area.value == pytest.approx(roc_auc_score(labels, scores))
    assert 0 <= area.low <= area.value <= area.high <= 1


@given(scored())
def test_auc_depends_on_the_order_of_scores_alone(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = case
    assert evaluation.auc(labels, np.exp(3 * scores)) == evaluation.auc(labels, scores)


def test_delong_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    truth = 0.7602  # of two normal distributions one standard deviation apart: Phi(1 / sqrt 2)
    labels = np.repeat([0, 1], [60, 40])
    covered = 0
    for _ in range(400):
        area = evaluation.auc(labels, rng.normal(size=100) + labels)
        covered += area.low <= truth <= area.high
    assert 0.92 <= covered / 400 <= 0.98


def test_perfect_separation_is_not_certainty() -> None:
    area = evaluation.auc(np.array([0] * 50 + [1] * 30), np.arange(80))
    assert area.value == 1.0
    assert area.low == pytest.approx(0.9)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_auc_needs_both_classes(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both are needed"):
        evaluation.auc(np.array(labels), np.arange(3))


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        evaluation.auc(np.array([0, 1]), np.array([0.1, np.nan]))


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263 and 0 of 20.
    common = evaluation.proportion(81, 263)
    assert (common.low, common.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none = evaluation.proportion(0, 20)
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_interval_contains_the_rate(trials: int, data: st.DataObject) -> None:
    rate = evaluation.proportion(data.draw(st.integers(0, trials)), trials)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_proportion_is_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        evaluation.proportion(successes, trials)


@given(scored(), st.integers(0, 21))
def test_operating_point_is_the_confusion_matrix(case: tuple[np.ndarray, np.ndarray], step: int) -> None:
    labels, scores = case
    threshold = step / 20
    tn, fp, fn, tp = confusion_matrix(labels, scores >= threshold, labels=[0, 1]).ravel()
    assert evaluation.sensitivity(labels, scores, threshold).value == pytest.approx(tp / (tp + fn))
    assert evaluation.specificity(labels, scores, threshold).value == pytest.approx(tn / (tn + fp))


@given(scored())
def test_brier_score_is_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    assert evaluation.brier_score(*case) == pytest.approx(brier_score_loss(*case))


def test_calibration_error_sees_how_far_a_probability_is_off() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=40_000)
    honest = (rng.uniform(size=probability.size) < probability).astype(float)
    assert evaluation.expected_calibration_error(honest, probability) < 0.01
    always = np.full(1000, 0.9)
    half = np.repeat([0.0, 1.0], 500)
    assert evaluation.expected_calibration_error(half, always) == pytest.approx(0.4)
    assert evaluation.expected_calibration_error(np.ones(5), np.ones(5)) == 0.0


def test_pointing_game_measures_from_the_peaks_cell() -> None:
    heat = np.zeros((4, 4))
    heat[1, 2] = 1.0  # centre at row 5.5, column 9.5 of a 16 x 16 mask
    mask = np.zeros((16, 16), bool)
    mask[5, 9] = True
    assert evaluation.pointing_hit(heat, mask, tolerance=0)
    moved = np.roll(mask, 4, axis=1)
    assert not evaluation.pointing_hit(heat, moved, tolerance=2.9)
    assert evaluation.pointing_hit(heat, moved, tolerance=3.0)
    assert not evaluation.pointing_hit(heat, np.zeros((16, 16), bool), tolerance=99)


def test_evaluation_is_json_and_counts_what_is_known() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.uniform(size=(200, 2)) < 0.3).astype(float)
    labels[:20, 1] = np.nan
    probabilities = np.clip(0.3 + 0.4 * np.nan_to_num(labels) + rng.normal(0, 0.1, labels.shape), 0, 1)
    result = evaluation.evaluate(
        ["a", "b"], labels, probabilities, {"a": 0.5, "b": 0.5}, pointing={"a": {"inside": [True, False, True, True]}}
    )
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    b = result["findings"]["b"]
    assert b["positives"] + b["negatives"] == 180
    assert result["findings"]["a"]["pointing_game"]["inside"]["value"] == 0.75
    assert "pointing_game" not in b
    normal = np.all(labels == 0, axis=1)
    quiet = np.all(probabilities[normal] < 0.5, axis=1)
    assert result["normals"]["images"] == normal.sum()
    assert result["normals"]["without_any_positive"]["value"] == pytest.approx(quiet.mean(), abs=1e-4)


def test_more_cases_narrow_the_interval() -> None:
    widths = [evaluation.proportion(n // 2, n) for n in (10, 100, 1000)]
    assert all(a.high - a.low > b.high - b.low for a, b in pairwise(widths))
