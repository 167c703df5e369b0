"""The way from a plan to a bundle that reads series, and what is kept of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from firstread.training import _display
from models.bundle import Bundle
from models.metadata import InputSpec, SeriesSpec
from models.self_test import verify
from models.training.series import SeriesPlan, _astray, train_series
from models.training.series_samples import training_slices
from models.training.shipped_ct import BONE, BRAIN, phantom_head_ct
from triage.errors import BundleError

SERIES = SeriesSpec(windows=(BRAIN, BONE), slab=3, top=3)
SMALL = InputSpec(height=64, width=64, mean=0.3, std=0.3)


def tiny_plan(**changes: Any) -> SeriesPlan:
    fields: dict[str, Any] = {
        "series": SERIES,
        "input": SMALL,
        "train": 1,
        "validation": 3,
        "test": 3,
        "epochs": 1,
        "batch": 16,
        "seed": 71,
        "test_seed": 74,
        **changes,
    }
    return replace(phantom_head_ct(date="2026-01-01"), **fields)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("series")
    with _display(Console(file=StringIO())) as display:  # as the command shows it
        train_series(tiny_plan(), directory, display.report)
    return directory


def test_a_run_ends_in_a_bundle_that_verifies_and_says_what_was_measured(run: Path) -> None:
    bundle = Bundle.load(run / "phantom-head-ct")
    verify(bundle)
    assert bundle.metadata.channels == 6
    assert any("windows 40/80 600/2800 slab 3 top 3" in line for line in bundle.algorithm().parameters)
    figures = json.loads((bundle.directory / "evaluation.json").read_bytes())
    assert figures["test"]["images"] == figures["unseen_scanner"]["images"] == 3
    card = (bundle.directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "the mean logit of its 3 highest slices" in card
    assert "3 neighbouring slices" in card


def test_a_run_that_goes_on_does_not_begin_anew(run: Path) -> None:
    events: list[str] = []
    before = (run / "weights.safetensors").read_bytes()
    next((run / "judged").glob("74-*.npz")).unlink()
    train_series(tiny_plan(), run, lambda event, _figures: events.append(event))
    assert events == ["data", "judged", "measured"]
    assert (run / "weights.safetensors").read_bytes() == before


def test_another_plan_wants_another_directory(run: Path) -> None:
    with pytest.raises(BundleError, match="another plan"):
        train_series(tiny_plan(epochs=2), run)


def test_slices_with_too_little_blood_are_neither_positive_nor_negative(tmp_path: Path) -> None:
    drawn = training_slices(
        tmp_path, 3, seed=74, every=5, series=SeriesSpec(windows=(BRAIN,)), spec=SMALL, report=lambda *_: None
    )
    blood = drawn.masks.reshape(len(drawn), -1).max(axis=1) > 0
    assert {float(label) for label in drawn.labels if not np.isnan(label)} == {0.0, 1.0}
    assert not blood[drawn.labels == 0].any()
    assert blood[drawn.labels == 1].all()


def test_a_map_on_the_blood_costs_less_than_one_beside_it() -> None:
    features = torch.zeros(1, 1, 4, 4)
    features[0, 0, 1, 1] = 5.0
    on, beside = torch.zeros(1, 1, 40, 40), torch.zeros(1, 1, 40, 40)
    on[..., 10:20, 10:20], beside[..., 30:, 30:] = 1.0, 1.0
    labels, weight = torch.ones(1), torch.ones(1, 1)
    assert float(_astray(features, weight, on, labels)) < 0.01
    assert float(_astray(features, weight, beside, labels)) > 5
    assert float(_astray(features, weight, on, torch.zeros(1))) == 0
