"""Bundles found on disk, and the one that reads an image."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle, Override
from models.image_facts import ImageFacts
from models.metadata import CT_IMAGE_STORAGE
from models.registry import Registry, Route
from models.routing import Refusal
from triage.errors import BundleError
from triage.findings import NotAnalysedReason, Urgency

CHEST = ImageFacts(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    modality="DX",
    manufacturer="Maker",
    photometric_interpretation="MONOCHROME2",
    regions=frozenset({"CHEST"}),
    views=frozenset({"PA"}),
    rows=2500,
    columns=2048,
    age_years=50.0,
)
PHANTOM = ImageFacts(**{name: getattr(CHEST, name) for name in CHEST.__slots__} | {"manufacturer": "firstread phantom"})


def copy(bundle: Bundle, directory: Path, name: str, **routing: Any) -> Path:
    """Another bundle with the same weights under another name and other conditions."""
    target = directory / name
    shutil.copytree(bundle.directory, target)
    metadata = json.loads((target / "metadata.json").read_text())
    metadata["name"] = name
    metadata["routing"].update(routing)
    (target / "metadata.json").write_text(json.dumps(metadata))
    return target


def taken_by(registry: Registry, facts: ImageFacts) -> str:
    route = registry.route(facts)
    assert isinstance(route, Route), route
    return route.bundle.metadata.name


def reason(registry: Registry, facts: ImageFacts) -> NotAnalysedReason:
    refusal = registry.route(facts)
    assert isinstance(refusal, Refusal), refusal
    return refusal.reason


@pytest.fixture
def shipped(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """Like the product's own: one model for phantoms, one for everything else."""
    copy(tiny_bundle, tmp_path / "shipped", "research-cxr", manufacturer_not=["firstread phantom"])
    copy(
        tiny_bundle, tmp_path / "shipped", "phantom-cxr", manufacturer_not=[], manufacturer_equals=["firstread phantom"]
    )
    return tmp_path / "shipped"


def test_phantoms_and_patients_go_apart(shipped: Path) -> None:
    registry = Registry.load([shipped])
    assert taken_by(registry, CHEST) == "research-cxr"
    assert taken_by(registry, PHANTOM) == "phantom-cxr"


def test_a_sites_own_bundle_comes_first(shipped: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    copy(tiny_bundle, tmp_path / "site", "hospital-cxr")
    registry = Registry.load([tmp_path / "site", shipped])
    assert taken_by(registry, CHEST) == "hospital-cxr"
    assert taken_by(registry, PHANTOM) == "phantom-cxr"


def test_rank_decides_inside_a_directory(tiny_bundle: Bundle, tmp_path: Path) -> None:
    copy(tiny_bundle, tmp_path, "a-cxr", rank=1)
    copy(tiny_bundle, tmp_path, "b-cxr", rank=2)
    assert taken_by(Registry.load([tmp_path]), CHEST) == "b-cxr"


def test_the_refusal_is_the_one_of_the_bundle_in_question(shipped: Path) -> None:
    registry = Registry.load([shipped])
    lateral = ImageFacts(**{name: getattr(CHEST, name) for name in CHEST.__slots__} | {"views": frozenset({"LATERAL"})})
    assert reason(registry, lateral) is NotAnalysedReason.UNSUPPORTED_VIEW


def test_a_bundle_of_the_modality_knows_better_what_is_wrong(tiny_bundle: Bundle, tmp_path: Path) -> None:
    copy(tiny_bundle, tmp_path / "bundles", "first-cxr", manufacturer_not=[], rank=9)
    ct = {"sop_classes": [CT_IMAGE_STORAGE], "modalities": ["CT"], "body_parts": ["HEAD"], "manufacturer_not": []}
    copy(tiny_bundle, tmp_path / "bundles", "head-ct", **ct)
    facts = replace(CHEST, sop_class_uid=CT_IMAGE_STORAGE, modality="CT")
    assert reason(Registry.load([tmp_path / "bundles"]), facts) is NotAnalysedReason.UNSUPPORTED_BODY_PART


def test_without_bundles_nothing_is_read(tmp_path: Path) -> None:
    assert reason(Registry.load([tmp_path]), CHEST) is NotAnalysedReason.NO_BUNDLE


def test_missing_directory_is_shown(tmp_path: Path) -> None:
    (entry,) = Registry.load([tmp_path / "nowhere"]).entries
    assert not entry.available
    assert "nowhere" in entry.problem


def test_unreadable_bundle_leaves_the_others_alone(shipped: Path) -> None:
    (shipped / "broken").mkdir()
    (shipped / "broken" / "metadata.json").write_text("{")
    registry = Registry.load([shipped])
    assert taken_by(registry, CHEST) == "research-cxr"
    assert [entry.directory.name for entry in registry.entries if not entry.available] == ["broken"]


def test_altered_weights_make_the_model_unavailable_not_replaced(
    shipped: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    site = copy(tiny_bundle, tmp_path / "site", "hospital-cxr")
    with (site / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    registry = Registry.load([tmp_path / "site", shipped])
    assert reason(registry, CHEST) is NotAnalysedReason.MODEL_UNAVAILABLE
    assert taken_by(registry, PHANTOM) == "phantom-cxr"
    with pytest.raises(BundleError, match="checksum"):
        registry.get("hospital-cxr")


def test_disabled_bundle_is_listed_but_not_asked(shipped: Path) -> None:
    registry = Registry.load([shipped], disabled={"research-cxr"})
    assert len(registry.entries) == 2
    assert reason(registry, CHEST) is NotAnalysedReason.NO_BUNDLE


def test_second_bundle_of_a_name_is_not_used(shipped: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    site = copy(tiny_bundle, tmp_path / "site", "research-cxr")
    registry = Registry.load([tmp_path / "site", shipped])
    assert registry.get("research-cxr").directory == site
    assert [entry.problem for entry in registry.entries if entry.problem] == [
        "a bundle named research-cxr comes before it"
    ]


def test_site_overrides_urgency_and_threshold(shipped: Path) -> None:
    override = Override(urgency=Urgency.STAT, threshold=0.9)
    registry = Registry.load([shipped], overrides={"research-cxr.pneumothorax": override})
    pneumothorax, effusion = registry.get("research-cxr").metadata.findings
    assert (pneumothorax.urgency, pneumothorax.threshold) == (Urgency.STAT, 0.9)
    assert (effusion.urgency, effusion.threshold) == (Urgency.ROUTINE, 0.4)
    assert registry.get("phantom-cxr").metadata.findings[0].urgency is Urgency.ROUTINE


def test_override_of_an_unknown_finding_is_shown(shipped: Path) -> None:
    registry = Registry.load([shipped], overrides={"research-cxr.pneumothoraks": Override(threshold=0.9)})
    assert reason(registry, CHEST) is NotAnalysedReason.MODEL_UNAVAILABLE


def test_unknown_name() -> None:
    with pytest.raises(BundleError, match="no bundle"):
        Registry(()).get("nothing")
