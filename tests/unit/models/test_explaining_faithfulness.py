"""Maps against masks, against the score, against shuffled weights; and the rule that follows from the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_samples import make_metadata
from numpy.typing import NDArray

from models import card, networks
from models.bundle import Bundle
from models.bundle_writer import write_again
from models.explaining.cases import Case, phantom_cases, picture_cases
from models.explaining.deletion import areas, ranks, shuffled
from models.explaining.faithfulness import Budget, mean, measure
from models.explaining.localisation import chance_of_hit, energy_share, overlap
from models.explaining.randomisation import cascade, predictor_of, stages
from models.explaining.similarity import rank_correlation, structural_similarity
from models.explaining.statement import section, settled
from models.explaining.verdict import Limits, judge
from models.inference import Predictor
from models.metadata import InputSpec
from models.self_test import verify
from triage.errors import BundleError, ExplanationError

Float32 = NDArray[np.float32]
seeds = st.integers(0, 2**32 - 1)


# --- maps against masks ---


def square(side: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
    mask = np.zeros((side, side), np.bool_)
    mask[rows, columns] = True
    return mask


def test_overlap_and_energy_of_a_map_that_is_its_mask() -> None:
    mask = square(40, slice(8, 24), slice(16, 32))
    heat = mask.astype(np.float32)
    assert overlap(heat, mask) == 1.0
    assert energy_share(heat, mask) == 1.0
    assert overlap(1 - heat, mask) == 0.0
    assert energy_share(1 - heat, mask) == 0.0
    half = square(40, slice(8, 24), slice(16, 24))
    assert overlap(half.astype(np.float32), mask) == 0.5


@given(seeds)
def test_a_map_that_knows_nothing_has_the_masks_share_of_the_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((20, 20)) < 0.3
    mask[0, 0] = True
    assert energy_share(np.ones((5, 5), np.float32), mask) == pytest.approx(mask.mean(), abs=1e-6)
    assert overlap(np.ones((5, 5), np.float32), mask) == pytest.approx(mask.mean(), abs=1e-6)
    assert energy_share(np.zeros((5, 5), np.float32), mask) == overlap(np.zeros((5, 5), np.float32), mask) == 0.0


def test_chance_of_a_hit_grows_with_the_tolerance() -> None:
    mask = square(100, slice(40, 60), slice(40, 60))
    assert chance_of_hit(mask, tolerance=0.0) == pytest.approx(0.04)
    assert chance_of_hit(mask, tolerance=10.0) == pytest.approx((20 * 20 + 4 * 20 * 10 + np.pi * 100) / 1e4, rel=0.05)
    assert chance_of_hit(np.zeros((10, 10), np.bool_), tolerance=3.0) == 0.0


# --- maps against the score ---


def test_a_true_map_deletes_sooner_and_inserts_sooner_than_a_random_one() -> None:
    image = np.full((1, 32, 32), 0.2, np.float32)
    image[0, 8:16, 8:16] = np.indices((8, 8)).sum(axis=0) % 2  # a chequered patch, which a blur takes away

    def scores(images: Float32) -> Float32:
        return images[:, 0, 8:16, 8:16].std(axis=(1, 2))

    true = np.zeros((8, 8), np.float32)
    true[2:4, 2:4] = 1.0
    rng = np.random.default_rng(0)
    ours = areas(scores, image, true, rng=rng)
    others = [areas(scores, image, shuffled(true, rng), rng=rng) for _ in range(6)]
    assert ours.deletion < min(other.deletion for other in others)
    assert ours.insertion > max(other.insertion for other in others)


@given(seeds)
def test_every_pixel_has_its_turn_once_and_the_highest_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heat = rng.random((4, 4), dtype=np.float32)
    place = ranks(heat, (12, 12), rng)
    np.testing.assert_allclose(np.sort(place.ravel()), np.arange(144) / 144, atol=1e-6)
    assert place[np.unravel_index(np.argmin(place), place.shape)] == 0
    flat = ranks(np.zeros((4, 4), np.float32), (12, 12), rng)
    assert len(np.unique(flat)) == 144


# --- maps against shuffled weights ---


@given(seeds)
def test_likeness_of_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.random((6, 6), dtype=np.float32)
    assert rank_correlation(one, one) == pytest.approx(1.0)
    assert rank_correlation(one, one**3) == pytest.approx(1.0)  # order alone counts
    assert rank_correlation(one, 1 - one) == pytest.approx(-1.0)
    assert structural_similarity(one, one) == pytest.approx(1.0)
    assert structural_similarity(one, 1 - one) < 0.5
    assert rank_correlation(one, np.zeros_like(one)) == 0.0


def test_stage_after_stage_forgets_from_the_head_down() -> None:
    torch.manual_seed(2)
    network = networks.build("shufflenet_v2_x0_5", 2).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    names = [name for name, _ in stages(network)]
    assert names[0] == "classifier"
    assert names[1:] == ["features.conv5", "features.stage4", "features.stage3", "features.stage2", "features.conv1"]
    for number, (name, changed) in enumerate(cascade(network, seed=1)):
        assert name == names[number]
        for key, tensor in changed.state_dict().items():
            forgotten = any(key.startswith(f"{stage}.") for stage in names[: number + 1])
            if forgotten:  # the same values at other places
                torch.testing.assert_close(tensor.flatten().sort().values, before[key].flatten().sort().values)
            else:
                torch.testing.assert_close(tensor, before[key])
    assert not torch.equal(changed.classifier.weight, network.classifier.weight)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


# --- the whole, on a small bundle ---


@pytest.fixture(scope="module")
def measured(tiny_bundle: Bundle) -> dict[str, Any]:
    """Random weights: every figure is there, none is good. Thresholds of zero make every image a positive."""
    findings = tuple(f.model_copy(update={"threshold": 0.0}) for f in tiny_bundle.metadata.findings)
    bundle = Bundle(tiny_bundle.directory, tiny_bundle.metadata.model_copy(update={"findings": findings}))
    network = networks.restore("shufflenet_v2_x0_5", 2, bundle.weights)
    keys = [finding.key for finding in findings]
    cases = list(phantom_cases(12, 5, bundle.metadata.input, keys, size=160))
    predictor = Predictor.load(bundle, device="cpu", threads=1)
    figures = measure(predictor, cases, network=network, budget=Budget(deletion=2, randomisation=2))
    assert figures == measure(predictor, cases, network=network, budget=Budget(deletion=2, randomisation=2))
    return figures


def test_everything_is_measured_on_findings_that_are_there(measured: dict[str, Any], tiny_bundle: Bundle) -> None:
    cases = list(phantom_cases(12, 5, tiny_bundle.metadata.input, ["pneumothorax", "pleural_effusion"], size=160))
    assert measured["method"] == "cam"
    for key, row in measured["findings"].items():
        assert row["maps"] == sum(key in (case.present or ()) for case in cases)
        for name in ("pointing", "pointing_inside", "iou", "energy", "energy_above_chance", "insertion_gain"):
            if row["maps"]:
                assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]
    assert [stage["down_to"] for stage in measured["randomisation"]][::5] == ["classifier", "features.conv1"]
    json.dumps(measured, allow_nan=False)


def test_a_bundle_without_maps_has_nothing_to_check(tiny_bundle: Bundle) -> None:
    bundle = Bundle(tiny_bundle.directory, tiny_bundle.metadata.model_copy(update={"explanation": "none"}))
    with pytest.raises(ExplanationError, match="no heat maps"):
        measure(Predictor.load(bundle, device="cpu", threads=1), [])


def test_a_shuffled_network_runs_as_a_predictor(tiny_bundle: Bundle) -> None:
    network = networks.restore("shufflenet_v2_x0_5", 2, tiny_bundle.weights)
    image = np.random.default_rng(3).normal(size=(1, 1, 64, 96)).astype(np.float32)
    ours = predictor_of(tiny_bundle, network).predict(image)
    np.testing.assert_allclose(ours.logits, Predictor.load(tiny_bundle, device="cpu").predict(image).logits, atol=1e-4)


def test_phantoms_come_with_masks_on_the_inputs_own_field() -> None:
    spec = InputSpec(height=128, width=96, mean=0.5, std=0.25)
    cases = list(phantom_cases(8, 2, spec, ["pneumothorax", "cardiomegaly"], size=200))
    assert all(case.image.shape == (1, 128, 96) for case in cases)
    masks = [mask for case in cases for mask in case.masks.values()]
    assert masks
    assert all(mask.shape == (32, 24) and mask.any() for mask in masks)
    assert all(set(case.masks) <= set(case.present or ()) for case in cases)


def test_pictures_of_a_folder_are_cases_about_which_nothing_is_known(tmp_path: Path) -> None:
    spec = InputSpec(height=64, width=64, mean=0.5, std=0.25)
    grey = (np.random.default_rng(0).random((90, 70)) * 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "b.png"), grey)
    cv2.imwrite(str(tmp_path / "a.png"), grey[::-1])
    (tmp_path / "notes.txt").write_text("no picture")
    first, second = picture_cases(tmp_path, spec)
    assert (first.present, dict(first.masks), first.image.shape) == (None, {}, (1, 64, 64))
    assert not np.array_equal(first.image, second.image)


def test_one_value_has_no_interval_and_many_have_a_narrow_one() -> None:
    assert (mean([0.5]).low, mean([0.5]).high) == (-1.0, 1.0)
    narrow = mean([0.4, 0.5, 0.6] * 50)
    assert narrow.value == pytest.approx(0.5)
    assert 0.48 < narrow.low < narrow.value < narrow.high < 0.52


# --- the rule ---


def interval(value: float, half: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def good(**changes: Any) -> dict[str, Any]:
    row = {
        "maps": 30,
        "pointing": interval(0.95, 0.1),
        "iou": interval(0.3),
        "energy": interval(0.4),
        "energy_above_chance": interval(0.3),
        "deletion_gain": interval(0.2),
        "insertion_gain": interval(0.1),
    }
    stages = [
        {"down_to": "classifier", "rank_correlation": interval(0.2), "ssim": interval(0.3)},
        {"down_to": "features.conv1", "rank_correlation": interval(0.0), "ssim": interval(0.3)},
    ]
    findings = {"pneumothorax": {**row, **changes}, "pleural_effusion": dict(row)}
    return {"method": "cam", "source": "30 phantoms", "findings": findings, "randomisation": stages}


def test_good_figures_pass_without_a_word() -> None:
    verdict = judge(good())
    assert (verdict.shown, verdict.failures, verdict.unjudged) == (True, (), ())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"pointing": interval(0.55, 0.06)}, "peak"),
        ({"energy_above_chance": interval(0.01)}, "share of the map"),
        ({"deletion_gain": interval(0.04)}, "deleting"),
        ({"insertion_gain": interval(-0.2)}, "inserting"),
    ],
)
def test_each_figure_can_fail_the_maps(changes: dict[str, Any], word: str) -> None:
    verdict = judge(good(**changes))
    assert not verdict.shown
    (failure,) = verdict.failures
    assert failure.startswith("pneumothorax: ")
    assert word in failure


def test_maps_that_outlive_the_weights_fail() -> None:
    figures = good()
    figures["randomisation"][-1]["rank_correlation"] = interval(0.51)
    assert [f.startswith("Maps of the network with all of it shuffled") for f in judge(figures).failures] == [True]
    figures["randomisation"][0]["rank_correlation"] = interval(0.71)
    assert len(judge(figures).failures) == 2
    assert judge(figures, Limits(head_correlation=0.8, network_correlation=0.8)).shown


def test_what_cannot_be_judged_is_said_and_is_no_failure() -> None:
    figures = good(maps=19, deletion_gain=interval(-0.5))
    del figures["randomisation"], figures["findings"]["pleural_effusion"]["pointing"]
    verdict = judge(figures)
    assert verdict.shown
    assert [line.split(":")[0] for line in verdict.unjudged[:2]] == ["pneumothorax", "pleural_effusion"]
    assert len(verdict.unjudged) == 3


# --- what the bundle says ---


def test_maps_that_fail_are_not_shipped_and_the_card_says_why() -> None:
    metadata, evaluation = make_metadata(), {"explanation": good(deletion_gain=interval(-0.1))}
    assert settled(metadata, evaluation).explanation == "none"
    text = card.render(metadata, evaluation)
    assert "**None.**" in text
    assert "deleting along the map" in text


def test_maps_that_pass_stay_and_the_card_shows_the_figures() -> None:
    metadata, evaluation = make_metadata(), {"explanation": good()}
    assert settled(metadata, evaluation) is metadata
    text = "\n".join(section(metadata, evaluation))
    assert "| pneumothorax | 30 | 0.950 (0.850 to 1.050) |" in text
    assert "| classifier | 0.200 (0.150 to 0.250) |" in text


def test_a_check_of_another_method_changes_nothing() -> None:
    metadata = make_metadata(explanation="occlusion")
    assert settled(metadata, {"explanation": good(deletion_gain=interval(-0.1))}) is metadata


def test_without_a_check_the_card_says_that_nothing_was_measured() -> None:
    assert "not measured" in " ".join(section(make_metadata(), {}))
    assert "ships none" in " ".join(section(make_metadata(explanation="none"), {}))


def test_a_bundle_written_again_is_the_same_model_with_other_words(bundle_copy: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(bundle_copy)
    failed = {"auc": None, "explanation": good(deletion_gain=interval(-0.1))}
    again = write_again(bundle, tmp_path / "out" / "tiny-cxr", failed)
    verify(again)
    assert again.metadata.explanation == "none"
    assert again.algorithm().weights_sha256 == bundle.algorithm().weights_sha256
    assert "explanation=none" in again.algorithm().parameters
    assert json.loads((again.directory / "evaluation.json").read_bytes()) == failed
    assert "**None.**" in (again.directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    (bundle_copy / "MODEL_CARD.md").write_text("altered")
    with pytest.raises(BundleError, match="checksum"):
        write_again(bundle, tmp_path / "out" / "tiny-cxr", failed)


def test_a_folder_that_is_no_bundle_is_left_alone(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "thesis.txt").write_text("ten years of work")
    with pytest.raises(BundleError, match="left alone"):
        write_again(tiny_bundle, tmp_path / "keep", {})


def test_a_case_without_truth_counts_every_positive(tiny_bundle: Bundle) -> None:
    findings = tuple(f.model_copy(update={"threshold": 0.0}) for f in tiny_bundle.metadata.findings)
    bundle = Bundle(tiny_bundle.directory, tiny_bundle.metadata.model_copy(update={"findings": findings}))
    image = np.random.default_rng(1).normal(size=(1, 64, 96)).astype(np.float32)
    predictor = Predictor.load(bundle, device="cpu", threads=1)
    figures = measure(predictor, [Case(image=image), Case(image=image, present=frozenset())])
    assert [row["maps"] for row in figures["findings"].values()] == [1, 1]
    assert "randomisation" not in figures
    assert not any("pointing" in row for row in figures["findings"].values())
