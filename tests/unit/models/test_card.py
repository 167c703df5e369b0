"""The model card says what the metadata and the measurements say, nothing else."""

from __future__ import annotations

import re

import numpy as np
from model_samples import make_metadata

from models import card, evaluation
from models.metadata import BundleMetadata


def measured(metadata: BundleMetadata) -> dict[str, object]:
    rng = np.random.default_rng(0)
    keys = [f.key for f in metadata.findings]
    labels = (rng.uniform(size=(300, len(keys))) < 0.3).astype(float)
    probabilities = np.clip(0.3 + 0.3 * labels + rng.normal(0, 0.15, labels.shape), 0, 1)
    pointing = {keys[0]: {"inside": [True, True, False]}}
    thresholds = {f.key: f.threshold for f in metadata.findings}
    return {
        "test": evaluation.evaluate(keys, labels, probabilities, thresholds, pointing=pointing),
        "pointing_tolerances": {"inside": 0.0},
        "training": {"images": 900, "epochs": 7, "best_epoch": 5},
    }


def test_every_measured_figure_is_on_the_card_with_its_interval() -> None:
    metadata = make_metadata()
    figures = measured(metadata)
    text = card.render(metadata, figures)
    for row in figures["test"]["findings"].values():  # type: ignore[index]
        for name in ("auc", "sensitivity", "specificity"):
            value = row[name]
            assert f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" in text
        assert f"{row['positives']} / {row['negatives']}" in text
    assert "0.667 (" in text


def test_every_limit_and_the_disclaimer_are_on_the_card() -> None:
    metadata = make_metadata()
    text = card.render(metadata, measured(metadata))
    assert metadata.disclaimer in text
    assert metadata.intended_use in text
    assert all(limit in text for limit in metadata.limits)


def test_a_finding_at_chance_level_is_named() -> None:
    metadata = make_metadata()
    figures = measured(metadata)
    assert "No better than chance" not in card.render(metadata, figures)
    figures["test"]["findings"]["pleural_effusion"]["auc"]["low"] = 0.49  # type: ignore[index]
    assert "reaches 0.5): pleural_effusion." in card.render(metadata, figures)


def test_tables_are_whole() -> None:
    metadata = make_metadata()
    blocks = re.findall(r"(?:^\|.*\n)+", card.render(metadata, measured(metadata)), flags=re.M)
    assert len(blocks) >= 3
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_an_unmeasured_bundle_says_so() -> None:
    assert "not evaluated" in card.render(make_metadata(), {})
