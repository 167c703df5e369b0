"""The bundles in the repository: whole, small, honest about themselves, and able to do what the demo shows."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import models
from models import card
from models.bundle import Bundle
from models.ct.aggregation import key_slices, series_logits
from models.ct.slices import slice_input
from models.inference import Predictor, findings
from models.metadata import PHANTOM_MANUFACTURER
from models.phantom import generate, generate_head_ct, to_dataset
from models.preprocessing import display_image, network_input, pixel_aspect
from models.self_test import verify
from models.training.shipped import nih_cxr_research
from triage.findings import Finding, Urgency

BUNDLES = Path(models.__file__).parent / "bundles"
NAMES = ("nih-cxr-research", "phantom-cxr", "phantom-head-ct")
MEBIBYTE = 1 << 20
UNSEEN = 20_261_121
"""A series of phantoms that no training, validation or test used."""


@pytest.fixture(scope="module", params=NAMES)
def shipped(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(BUNDLES / str(request.param))


@pytest.fixture(scope="module")
def phantom_reader() -> Predictor:
    return Predictor.load(Bundle.load(BUNDLES / "phantom-cxr"), "cpu", threads=1)


def read(predictor: Predictor, index: int, present: tuple[str, ...]) -> dict[str, Finding]:
    """A fresh phantom's findings, the way a received image goes."""
    phantom = generate(UNSEEN, index, size=1100, findings=present)
    dataset = to_dataset(phantom, UNSEEN, index, taken_at=datetime(2026, 1, 1))  # noqa: DTZ001
    display = display_image(dataset, phantom.pixels)
    image, _ = network_input(display, predictor.bundle.metadata.input, pixel_aspect=pixel_aspect(dataset))
    prediction = predictor.predict(image[None])
    return {finding.key: finding for finding in findings(predictor.bundle, prediction.probabilities[0])}


def test_exactly_these_ship() -> None:
    assert tuple(sorted(path.name for path in BUNDLES.iterdir() if path.is_dir())) == NAMES


def test_a_shipped_bundle_is_whole(shipped: Bundle) -> None:
    verify(shipped)
    assert sum(path.stat().st_size for path in shipped.directory.iterdir()) <= 15 * MEBIBYTE


def test_no_image_ships(shipped: Bundle) -> None:
    assert {path.suffix for path in shipped.directory.iterdir()} <= {".json", ".md", ".onnx", ".safetensors"}


def test_the_committed_card_is_the_generated_one(shipped: Bundle) -> None:
    evaluation = json.loads((shipped.directory / "evaluation.json").read_text(encoding="utf-8"))
    assert (shipped.directory / "MODEL_CARD.md").read_text(encoding="utf-8") == card.render(
        shipped.metadata, evaluation
    )


def test_all_are_marked_as_research(shipped: Bundle) -> None:
    assert shipped.metadata.research
    assert "NOT FOR DIAGNOSIS" in shipped.metadata.disclaimer


def test_phantoms_and_patients_go_to_different_bundles() -> None:
    phantom, nih = (Bundle.load(BUNDLES / name).metadata for name in ("phantom-cxr", "nih-cxr-research"))
    assert phantom.routing.phantoms_only
    assert PHANTOM_MANUFACTURER in nih.routing.manufacturer_not
    assert all(finding.urgency is Urgency.ROUTINE for finding in nih.findings)
    assert {f.key: f.urgency for f in phantom.findings}["pneumothorax"] is Urgency.STAT


def test_what_tells_collections_apart_is_no_finding_of_the_nih_bundle_or_of_the_plan_that_makes_it(
    tmp_path: Path,
) -> None:
    nih = Bundle.load(BUNDLES / "nih-cxr-research").metadata
    plan = nih_cxr_research(date=nih.training.date, images=tmp_path, table=tmp_path, start_from=tmp_path)
    assert [finding.key for finding in nih.findings] == list(plan.keys) == ["pleural_effusion", "cardiomegaly"]
    assert (nih.version, nih.limits) == (plan.describe.version, plan.describe.limits)
    assert any("lung_opacity" in limit for limit in nih.limits)


def test_the_self_test_knows_the_order_of_the_outputs(shipped: Bundle) -> None:
    stored = json.loads((shipped.directory / "selftest.json").read_text(encoding="utf-8"))
    assert stored["outputs"] == [finding.key for finding in shipped.metadata.findings]


def test_phantom_figures_reach_their_goals_also_on_the_scanner_that_no_training_saw() -> None:
    evaluation = json.loads((BUNDLES / "phantom-cxr" / "evaluation.json").read_text(encoding="utf-8"))
    for name, least in (("test", 0.97), ("unseen_scanner", 0.93)):
        rows = evaluation[name]["findings"].values()
        assert evaluation[name]["images"] >= 1000
        assert np.mean([row["auc"]["value"] for row in rows]) >= least
        assert all(row["pointing_game"]["within_16_px"]["value"] >= 0.9 for row in rows)
    assert all(row["expected_calibration_error"] <= 0.03 for row in evaluation["test"]["findings"].values())


def test_phantom_figures_reach_what_the_demo_needs() -> None:
    figures = json.loads((BUNDLES / "phantom-cxr" / "evaluation.json").read_text(encoding="utf-8"))["test"]
    for row in figures["findings"].values():
        assert row["auc"]["value"] >= 0.95
        assert row["specificity"]["value"] >= 0.95
        assert row["pointing_game"]["within_16_px"]["value"] >= 0.8
    assert figures["findings"]["pneumothorax"]["sensitivity"]["value"] >= 0.9


def test_head_ct_figures_reach_what_the_demo_needs() -> None:
    evaluation = json.loads((BUNDLES / "phantom-head-ct" / "evaluation.json").read_text(encoding="utf-8"))
    for name, least in (("test", 0.97), ("unseen_scanner", 0.93)):
        row = evaluation[name]["findings"]["intracranial_haemorrhage"]
        assert evaluation[name]["images"] >= 150
        assert row["auc"]["value"] >= least
        assert row["pointing_game"]["within_8_px"]["value"] >= 0.9
        assert evaluation[name]["key_slice_shows_it"]["value"] >= 0.95
    assert evaluation["test"]["findings"]["intracranial_haemorrhage"]["specificity"]["value"] >= 0.95


def test_head_cts_never_reach_a_bundle_for_patients() -> None:
    head_ct = Bundle.load(BUNDLES / "phantom-head-ct").metadata
    assert head_ct.routing.phantoms_only
    assert head_ct.channels == 3
    assert [finding.urgency for finding in head_ct.findings] == [Urgency.STAT]


@pytest.mark.parametrize(("index", "kinds"), [(0, ("epidural",)), (1, ("intraparenchymal",)), (2, ()), (3, ())])
def test_fresh_head_cts_are_told_apart(index: int, kinds: tuple[str, ...]) -> None:
    predictor = Predictor.load(Bundle.load(BUNDLES / "phantom-head-ct"), "cpu", threads=1)
    series, spec = predictor.bundle.metadata.series, predictor.bundle.metadata.input
    assert series is not None
    head = generate_head_ct(UNSEEN, index, size=256, kinds=kinds, slices=26)
    slices = [slice_input(head.hounsfield(number), series, spec)[0] for number in range(len(head))]
    logits = predictor.predict(np.stack(slices)).logits
    chance = predictor.calibrated(series_logits(logits, series.top)[None])[0, 0]
    assert (chance >= predictor.bundle.metadata.findings[0].threshold) == bool(kinds)
    if kinds:
        assert head.blood()[key_slices(logits)[0]].any()


def test_fresh_phantoms_with_a_pneumothorax_are_found(phantom_reader: Predictor) -> None:
    found = [read(phantom_reader, index, ("pneumothorax",))["pneumothorax"].positive for index in range(8)]
    assert sum(found) >= 7


def test_fresh_normal_phantoms_stay_quiet(phantom_reader: Predictor) -> None:
    positive = [f.key for index in range(100, 108) for f in read(phantom_reader, index, ()).values() if f.positive]
    assert len(positive) <= 1


def test_scores_do_not_depend_on_how_a_scanner_stores_grey(phantom_reader: Predictor) -> None:
    phantom = generate(UNSEEN, 200, size=1024, findings=("pneumothorax",))
    spec = phantom_reader.bundle.metadata.input
    dataset = to_dataset(phantom, UNSEEN, 200, taken_at=datetime(2026, 1, 1))  # noqa: DTZ001
    direct, _ = network_input(phantom.display(), spec)
    stored, _ = network_input(display_image(dataset, phantom.pixels), spec)
    both = phantom_reader.predict(np.stack([direct, stored])).probabilities
    assert np.abs(both[0] - both[1]).max() < 1e-3
