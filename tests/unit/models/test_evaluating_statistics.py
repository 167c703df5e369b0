"""The statistics of an evaluation against scikit-learn, published examples, simulation and their own rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from models import calibration, evaluation
from models.evaluating import curves, rates, resampling
from models.evaluating.comparing import difference
from models.evaluating.decision_curve import decision_curve
from models.evaluating.label_noise import label_noise
from models.evaluating.subgroups import NOBODY, Subject, groups, too_few

Case = tuple[np.ndarray, np.ndarray]


@st.composite
def scored(draw: st.DrawFn) -> Case:
    """Labels with both classes, scores on a coarse grid so that ties occur."""
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=2, max_size=60))])
    scores = draw(st.lists(st.integers(0, 20), min_size=len(labels), max_size=len(labels)))
    return labels, np.array(scores) / 20


def alone(labels: np.ndarray) -> np.ndarray:
    """Every image has a patient of its own."""
    return np.arange(len(labels))


def test_delong_interval_of_an_example_computed_by_hand() -> None:
    # Positives 0.9, 0.6; negatives 0.7, 0.3, 0.1. Shares of negatives below: 1, 2/3; of positives above: 1/2, 1, 1.
    # AUC 5/6; variance (1/18) / 2 + (1/12) / 3 = 1/18; logit ln 5, half width 1.959964 x sqrt(1/18) / (5/36).
    area = evaluation.auc(np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.6, 0.7, 0.3, 0.1]))
    assert area.value == pytest.approx(5 / 6)
    assert (area.low, area.high) == pytest.approx((0.15230, 0.99286), abs=2e-5)


# --- curves ---


@given(scored())
def test_roc_curve_is_scikit_learns(case: Case) -> None:
    curve = curves.roc(*case)
    false_positive, true_positive, _ = roc_curve(*case, drop_intermediate=False)
    assert curve.x == pytest.approx(false_positive)
    assert curve.y == pytest.approx(true_positive)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(roc_auc_score(*case))


@given(scored())
def test_precision_recall_curve_and_average_are_scikit_learns(case: Case) -> None:
    curve = curves.precision_recall(*case)
    precision, recall, _ = precision_recall_curve(*case)
    assert curve.x == pytest.approx(recall[:-1][::-1])
    assert curve.y == pytest.approx(precision[:-1][::-1])
    assert curves.average_precision(*case) == pytest.approx(average_precision_score(*case))


@given(scored())
def test_the_area_under_the_drawn_precision_is_the_average_precision(case: Case) -> None:
    curve = curves.precision_recall(*case)
    corners = np.array(curves.stepped(list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))))
    area = np.sum(np.diff(corners[:, 0]) * (corners[1:, 1] + corners[:-1, 1]) / 2)
    assert area == pytest.approx(average_precision_score(*case))


@given(scored())
def test_curves_depend_on_the_order_of_scores_alone(case: Case) -> None:
    labels, scores = case
    for curve in (curves.roc, curves.precision_recall):
        assert curve(labels, np.exp(3 * scores)).y == pytest.approx(curve(labels, scores).y)


def test_a_thinned_curve_keeps_its_ends() -> None:
    curve = curves.Curve(np.linspace(0, 1, 5000), np.linspace(0, 1, 5000) ** 2)
    thin = curves.thinned(curve, 50)
    assert len(thin.x) == 50
    assert (thin.x[0], thin.x[-1], thin.y[-1]) == (0.0, 1.0, 1.0)
    assert curves.thinned(curve, 5000) is curve


# --- resampling ---


@given(scored(), st.integers(0, 99))
def test_weighted_figures_are_scikit_learns(case: Case, seed: int) -> None:
    labels, scores = case
    weights = np.random.default_rng(seed).integers(0, 4, len(labels)).astype(float)
    assume(weights[labels == 1].sum() > 0 and weights[labels == 0].sum() > 0)
    area = resampling.weighted_auc(labels, scores)(weights[None])[0]
    assert area == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
    average = resampling.weighted_average_precision(labels, scores)(weights[None])[0]
    assert average == pytest.approx(average_precision_score(labels, scores, sample_weight=weights))


def test_bootstrap_agrees_with_delong_where_images_are_independent() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [300, 200])
    scores = rng.normal(size=500) + labels
    drawn = resampling.bootstrap(resampling.weighted_auc(labels, scores), labels, alone(labels))
    delong = evaluation.auc(labels, scores)
    assert drawn is not None
    assert drawn.value == pytest.approx(delong.value)
    assert (drawn.low, drawn.high) == pytest.approx((delong.low, delong.high), abs=0.008)


def test_the_same_seed_draws_the_same_interval() -> None:
    labels, scores = np.repeat([0, 1], 20), np.random.default_rng(0).normal(size=40)
    draws = [
        resampling.bootstrap(resampling.weighted_auc(labels, scores), labels, alone(labels), resamples=50, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_drawing_patients_covers_the_truth_where_drawing_images_does_not() -> None:
    rng = np.random.default_rng(8)
    truth, trials = 0.7602, 150  # Phi(1 / sqrt 2)
    patients = np.repeat(np.arange(60), 4)
    labels = np.repeat([0, 1], [120, 120])
    covered = {"patients": 0, "images": 0}
    for _ in range(trials):
        scores = np.repeat(rng.normal(size=60), 4) + labels + rng.normal(0, 0.01, 240)
        statistic = resampling.weighted_auc(labels, scores)
        for name, unit in (("patients", patients), ("images", alone(labels))):
            drawn = resampling.bootstrap(statistic, labels, unit, resamples=200)
            assert drawn is not None
            covered[name] += drawn.low <= truth <= drawn.high
    assert covered["patients"] / trials >= 0.88
    assert covered["images"] / trials <= 0.80


def test_one_patient_is_no_sample() -> None:
    labels, scores = np.array([1, 1, 0, 0, 0]), np.arange(5.0)
    statistic = resampling.weighted_auc(labels, scores)
    assert resampling.bootstrap(statistic, labels, np.array([1, 1, 2, 3, 4])) is None


def test_resamples_without_a_class_make_no_interval() -> None:
    # Both negatives belong to patients with positives: many draws have none of them.
    labels, scores = np.array([1, 1, 0, 1, 0, 1]), np.arange(6.0)
    patients = np.array([1, 2, 2, 3, 3, 4])
    assert resampling.bootstrap(resampling.weighted_auc(labels, scores), labels, patients) is None


# --- rates ---


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_rates_of_single_images_are_wilsons(hits: list[bool]) -> None:
    found = rates.clustered_proportion(np.array(hits), np.arange(len(hits)))
    assert found == evaluation.proportion(sum(hits), len(hits))


@given(st.lists(st.booleans(), min_size=4, max_size=40), st.integers(2, 6))
def test_copies_of_an_image_add_nothing(hits: list[bool], copies: int) -> None:
    repeated, patients = np.repeat(hits, copies), np.repeat(np.arange(len(hits)), copies)
    size = rates.effective_size(repeated, patients)
    assert len(hits) - 1 - 1e-9 <= size <= len(hits) + 1e-9


def test_effective_size_is_the_variance_seen_when_patients_are_drawn() -> None:
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 8, 200)
    patients = np.repeat(np.arange(200), sizes)
    hits = rng.uniform(size=len(patients)) < rng.beta(1, 1, 200)[patients]
    sums, counts = np.bincount(patients, hits), sizes
    drawn = rng.integers(0, 200, (4000, 200))
    spread = (sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)).var()
    rate = hits.mean()
    assert rate * (1 - rate) / rates.effective_size(hits, patients) == pytest.approx(spread, rel=0.1)


def test_rates_are_the_confusion_matrix_and_say_what_nobody_can_know() -> None:
    labels, scores = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([0.9, 0.8, 0.2, 0.7, 0.1, 0.1, 0.3])
    at = rates.rates_at(labels, scores, 0.5, alone(labels))
    assert (at.true_positives, at.false_negatives, at.true_negatives, at.false_positives) == (2, 1, 3, 1)
    assert at.ppv is not None and at.npv is not None and at.flagged is not None
    assert (at.ppv.value, at.npv.value, at.flagged.value) == pytest.approx((2 / 3, 3 / 4, 3 / 7))
    silent = rates.rates_at(labels, scores, 0.95, alone(labels))
    assert silent.ppv is None
    healthy = rates.rates_at(np.zeros(3), np.array([0.1, 0.2, 0.9]), 0.5, np.arange(3))
    assert healthy.sensitivity is None
    assert rates.at_prevalence(healthy, 0.1).ppv is None


@given(scored(), st.floats(0.001, 0.999), st.integers(0, 20))
def test_predictive_values_follow_bayes(case: Case, prevalence: float, step: int) -> None:
    labels, scores = case
    at = rates.rates_at(labels, scores, step / 20, alone(labels))
    assert at.sensitivity is not None and at.specificity is not None
    true, false = at.sensitivity.value * prevalence, (1 - at.specificity.value) * (1 - prevalence)
    expected = rates.at_prevalence(at, prevalence)
    if true + false > 0:
        assert expected.ppv is not None
        assert expected.ppv.value == pytest.approx(true / (true + false))
    for figure in (expected.ppv, expected.npv):
        assert figure is None or 0 <= figure.low <= figure.value <= figure.high <= 1
    here = rates.at_prevalence(at, float(labels.mean()))
    for there, counted in ((here.ppv, at.ppv), (here.npv, at.npv)):
        assert (there is None) == (counted is None)
        assert there is None or counted is None or there.value == pytest.approx(counted.value)


def test_predictive_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    prevalence, sensitive, specific, trials = 0.02, 0.85, 0.9, 300
    truth = sensitive * prevalence / (sensitive * prevalence + (1 - specific) * (1 - prevalence))
    labels = np.repeat([1, 0], [80, 200])
    covered = 0
    for _ in range(trials):
        called = rng.uniform(size=280) < np.where(labels == 1, sensitive, 1 - specific)
        ppv = rates.at_prevalence(rates.rates_at(labels, called.astype(float), 0.5, alone(labels)), prevalence).ppv
        assert ppv is not None
        covered += ppv.low <= truth <= ppv.high
    assert 0.92 <= covered / trials <= 0.985


@given(scored(), st.floats(0.01, 1.0))
def test_sensitive_point_is_the_strictest_that_reaches_the_target(case: Case, target: float) -> None:
    labels, scores = case
    threshold = calibration.sensitive_point(labels, scores, sensitivity=target)
    positive = scores[labels == 1]
    assert (positive >= threshold).mean() >= target - 1e-9
    stricter = np.unique(scores[scores >= threshold])
    assert all((positive > score).mean() < target for score in stricter[:1])


@pytest.mark.parametrize(("labels", "target"), [([0, 0], 0.9), ([0, 1], 0.0), ([0, 1], 1.1)])
def test_sensitive_point_needs_positives_and_a_rate(labels: list[int], target: float) -> None:
    with pytest.raises(ValueError, match="needs positives"):
        calibration.sensitive_point(np.array(labels), np.array([0.2, 0.8]), sensitivity=target)


# --- two sets ---


def test_difference_of_a_published_example() -> None:
    # Newcombe 1998 (interval estimation for the difference), table II (a), method 10: 56 of 70 less 48 of 80.
    less = difference(evaluation.proportion(56, 70), evaluation.proportion(48, 80))
    assert (less.value, less.low, less.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@given(scored(), scored())
def test_difference_turns_round_with_its_sides(one: Case, other: Case) -> None:
    a, b = evaluation.auc(*one), evaluation.auc(*other)
    there, back = difference(a, b), difference(b, a)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert there.low <= there.value <= there.high


# --- decision curve ---


@given(scored())
def test_net_benefit_begins_at_the_share_of_positives(case: Case) -> None:
    curve = decision_curve(*case, thresholds=np.array([0.0, 1e-9]))
    assert curve.model[0] == pytest.approx(case[0].mean())
    assert curve.treat_all == pytest.approx(case[0].mean(), abs=1e-6)


@given(scored(), st.floats(0.01, 0.95))
def test_net_benefit_is_true_positives_less_false_ones_at_their_price(case: Case, threshold: float) -> None:
    labels, scores = case
    found = decision_curve(labels, scores, np.array([threshold])).model[0]
    called = scores >= threshold
    price = threshold / (1 - threshold)
    assert found == pytest.approx(
        ((called & (labels == 1)).sum() - price * (called & (labels == 0)).sum()) / len(labels)
    )
    assert found <= labels.mean() + 1e-12


def test_treating_all_is_worth_nothing_where_the_threshold_is_the_prevalence() -> None:
    labels = np.repeat([1, 0], [20, 80])
    curve = decision_curve(labels, labels.astype(float))
    assert curve.treat_all[19] == pytest.approx(0, abs=1e-12)
    assert curve.model == pytest.approx(0.2)  # always right
    assert curve.useful == (0.01, 0.99)
    assert decision_curve(labels, np.full(100, 0.2)).useful is None  # knows only the share of positives


# --- wrong labels ---


def test_wrong_labels_hide_as_much_as_the_formulas_say() -> None:
    rng = np.random.default_rng(11)
    error, count = 0.08, 200_000
    truth = rng.uniform(size=count) < 0.3
    scores = rng.normal(size=count) + 1.5 * truth
    labels = truth ^ (rng.uniform(size=count) < error)
    seen = {
        "auc": evaluation.auc(labels, scores).value,
        "sensitivity": evaluation.sensitivity(labels, scores, 0.9).value,
        "specificity": evaluation.specificity(labels, scores, 0.9).value,
    }
    noise = label_noise(error, float(labels.mean()), **seen)
    assert noise is not None
    assert noise.false_present == pytest.approx((labels & ~truth).sum() / labels.sum(), abs=0.005)
    assert noise.false_absent == pytest.approx((~labels & truth).sum() / (~labels).sum(), abs=0.005)
    assert noise.auc == pytest.approx(evaluation.auc(truth, scores).value, abs=0.005)
    assert noise.sensitivity == pytest.approx(evaluation.sensitivity(truth, scores, 0.9).value, abs=0.01)
    assert noise.specificity == pytest.approx(evaluation.specificity(truth, scores, 0.9).value, abs=0.01)
    always_right = truth + rng.uniform(0, 1e-6, count)
    assert noise.highest_auc == pytest.approx(evaluation.auc(labels, always_right).value, abs=0.005)
    assert seen["auc"] < noise.highest_auc


@given(st.floats(0.01, 0.99), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_without_errors_nothing_changes(share: float, auc: float, sensitivity: float, specificity: float) -> None:
    noise = label_noise(0.0, share, auc=auc, sensitivity=sensitivity, specificity=specificity)
    assert noise is not None
    assert (noise.auc, noise.sensitivity, noise.specificity) == pytest.approx((auc, sensitivity, specificity))
    assert noise.highest_auc == 1


def test_more_errors_than_positives_leave_nothing_to_say() -> None:
    assert label_noise(0.05, 0.05, auc=0.8, sensitivity=0.8, specificity=0.8) is None
    assert label_noise(0.05, 0.95, auc=0.8, sensitivity=0.8, specificity=0.8) is None


def test_figures_that_random_errors_cannot_explain_are_not_corrected() -> None:
    noise = label_noise(0.1, 0.15, auc=0.9, sensitivity=0.95, specificity=0.95)
    assert noise is not None
    assert noise.highest_auc < 0.9
    assert noise.auc is None


# --- subgroups ---


@settings(max_examples=30)
@given(st.lists(st.one_of(st.none(), st.floats(0, 110)), min_size=1, max_size=30))
def test_every_image_is_in_one_group_of_an_axis(ages: list[float | None]) -> None:
    split = groups([Subject(age_years=age) for age in ages])
    if all(age is None for age in ages):
        assert split == {}
        return
    assert sorted(index for members in split["age"].values() for index in members) == list(range(len(ages)))


def test_groups_have_names_in_their_order_and_the_unknown_last() -> None:
    split = groups([Subject(age_years=85, sex="M"), Subject(age_years=17.9, sex="f"), NOBODY, Subject(age_years=18)])
    assert list(split["age"]) == ["under 18", "18 to 39", "80 and over", "unknown"]
    assert list(split["sex"]) == ["female", "male", "unknown"]
    assert "view" not in split


def test_a_column_that_is_asked_for_makes_groups_of_its_own() -> None:
    known = Subject(columns={"source": " north "}).filled_from(Subject(sex="F"))
    split = groups([known, Subject(columns={"source": "south"}), NOBODY, known])
    assert {name: members.tolist() for name, members in split["source"].items()} == {
        "north": [0, 3], "south": [1], "unknown": [2],
    }  # fmt: skip
    assert split["sex"]["female"].tolist() == [0, 3]


def test_a_table_goes_before_a_header() -> None:
    filled = Subject(sex="F").filled_from(Subject(sex="M", age_years=40, view="PA"))
    assert filled == Subject(sex="F", age_years=40, view="PA")


def test_ten_of_each_are_the_fewest() -> None:
    assert too_few(10, 10) == ""
    assert too_few(9, 200) == "too few to say anything: 9 positives"
    assert too_few(1, 200) == "too few to say anything: 1 positive"
    assert too_few(0, 3) == "too few to say anything: 0 positives and 3 negatives"
