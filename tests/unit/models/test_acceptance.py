"""A bundle goes live on measured figures that meet its own criteria, and on nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_samples import make_metadata

from models.acceptance import AcceptanceError, Proof, assess, judge, read_evaluation, require_met
from models.bundle import Bundle
from models.metadata import AcceptanceCriteria, FindingCriteria
from triage.errors import BundleError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIGURES: dict[str, Any] = {
    "auc": {"value": 0.95, "low": 0.92, "high": 0.97},
    "sensitivity": {"value": 0.9, "low": 0.8, "high": 0.95},
    "specificity": {"value": 0.85, "low": 0.8, "high": 0.9},
    "expected_calibration_error": 0.02,
    "pointing_game": {"inside": {"value": 0.93, "low": 0.9, "high": 0.95}},
}
EVALUATION: dict[str, Any] = {
    "test": {"images": 400, "findings": {"pneumothorax": FIGURES, "pleural_effusion": FIGURES}}
}
STRICT = FindingCriteria(
    min_auc_low=0.92, min_sensitivity=0.9, min_specificity=0.85, max_calibration_error=0.02, min_pointing_game=0.93
)


def unmet(criteria: AcceptanceCriteria, evaluation: dict[str, Any], proof: Proof = Proof.BUNDLE) -> list[str]:
    figures = judge(make_metadata(acceptance=criteria), evaluation, proof)
    return [f"{figure.subject} {figure.required}" for figure in figures if not figure.met]


def test_figures_at_the_bounds_are_good_enough() -> None:
    assert unmet(AcceptanceCriteria(every_finding=STRICT, min_images=400), EVALUATION) == []


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("auc", "low"), 0.919, "pneumothorax auc.low >= 0.92"),
        (("sensitivity", "value"), 0.89, "pneumothorax sensitivity >= 0.9"),
        (("specificity", "value"), 0.84, "pneumothorax specificity >= 0.85"),
        (("pointing_game", "inside", "value"), 0.92, "pneumothorax pointing_game >= 0.93"),
        (("expected_calibration_error",), 0.021, "pneumothorax expected_calibration_error <= 0.02"),
        (("auc",), None, "pneumothorax auc.low >= 0.92"),
        (("auc", "low"), "0.99", "pneumothorax auc.low >= 0.92"),
        (("auc", "low"), True, "pneumothorax auc.low >= 0.92"),
        (("pointing_game",), {}, "pneumothorax pointing_game >= 0.93"),
    ],
)
def test_what_is_below_or_was_not_measured_is_named(path: tuple[str, ...], value: object, named: str) -> None:
    evaluation = json.loads(json.dumps(EVALUATION))
    place = evaluation["test"]["findings"]["pneumothorax"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert unmet(AcceptanceCriteria(every_finding=STRICT), evaluation) == [named]


def test_rates_at_another_threshold_prove_nothing_about_this_one() -> None:
    own = {finding.key: finding.threshold for finding in make_metadata().findings}

    def missed(at: float, points: dict[str, float] | None = None) -> list[str]:
        moved = {"test": {"images": 400, "findings": {key: {**FIGURES, "threshold": at} for key in own}}}
        criteria = AcceptanceCriteria(findings={"pneumothorax": STRICT})
        figures = judge(make_metadata(acceptance=criteria), moved, Proof.BUNDLE, points)
        return [f"{figure.required}: {figure.measured}" for figure in figures if not figure.met]

    assert missed(own["pneumothorax"]) == []
    rates = missed(own["pneumothorax"] + 0.1)
    assert [line.split()[0] for line in rates] == ["sensitivity", "specificity"]
    assert f"but at a threshold of {own['pneumothorax'] + 0.1:g}" in rates[0]
    # A site that has moved its operating point measures there.
    assert missed(own["pneumothorax"] + 0.1, {"pneumothorax": own["pneumothorax"] + 0.1}) == []


def test_a_finding_may_have_criteria_of_its_own() -> None:
    criteria = AcceptanceCriteria(findings={"pleural_effusion": FindingCriteria(min_auc_low=0.99)})
    assert unmet(criteria, EVALUATION) == ["pleural_effusion auc.low >= 0.99"]


def test_criteria_for_a_finding_that_is_not_there_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="pneumothoraks"):
        make_metadata(acceptance=AcceptanceCriteria(findings={"pneumothoraks": FindingCriteria()}))


def test_without_criteria_every_finding_still_has_to_be_measured() -> None:
    evaluation = {"test": {"images": 1, "findings": {"pneumothorax": FIGURES}}}
    assert unmet(AcceptanceCriteria(), evaluation) == ["pleural_effusion auc.low measured"]
    assert unmet(AcceptanceCriteria(), {}) == [
        "images images >= 1", "pneumothorax auc.low measured", "pleural_effusion auc.low measured",
    ]  # fmt: skip


def test_the_makers_figures_are_no_proof_where_the_site_has_to_measure() -> None:
    criteria = AcceptanceCriteria(measured_on="installation")
    assert unmet(criteria, EVALUATION) == ["proof figures measured on this installation"]
    assert unmet(criteria, EVALUATION, Proof.INSTALLATION) == []


def nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    keys = st.sampled_from(["test", "findings", "images", "pneumothorax", "auc", "low"])
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), nested))
def test_no_report_breaks_the_judge(value: object) -> None:
    evaluation = value if isinstance(value, dict) else {"test": value}
    assert unmet(AcceptanceCriteria(every_finding=STRICT), evaluation)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"test": NaN}', "\xff", "[" * 100_000])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content, encoding="latin-1")
    with pytest.raises(BundleError, match=r"report\.json"):
        read_evaluation(tmp_path / "report.json")


def report(tmp_path: Path, **more: object) -> Path:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**EVALUATION, **more}))
    return path


def test_a_report_about_other_weights_proves_nothing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for more in ({"weights_sha256": "0" * 64}, {}):
        with pytest.raises(BundleError, match="weights"):
            assess(tiny_bundle, known=None, report=report(tmp_path, **more), data="", at=NOW, who="kim")


def test_the_sites_figures_stand_until_the_files_change(tiny_bundle: Bundle, tmp_path: Path) -> None:
    weights = tiny_bundle.metadata.files["weights.safetensors"]
    path = report(tmp_path, bundle={"weights_sha256": weights})
    record = assess(tiny_bundle, known=None, report=path, data="", at=NOW, who="kim")
    assert (record.met, record.proof, record.data) == (True, "installation", "report.json, 400 images")
    require_met(tiny_bundle, record)
    assert assess(tiny_bundle, known=record, report=None, data="", at=NOW, who="lee") is record
    other = record.model_copy(update={"digest": "0" * 64})
    again = assess(tiny_bundle, known=other, report=None, data="", at=NOW, who="lee")
    assert (again.met, again.proof) == (False, "bundle")  # the tiny bundle brings no figures
    with pytest.raises(AcceptanceError, match=r"pneumothorax: auc\.low measured, not measured"):
        require_met(tiny_bundle, again)
    with pytest.raises(AcceptanceError, match="has not been accepted here"):
        require_met(tiny_bundle, other)
