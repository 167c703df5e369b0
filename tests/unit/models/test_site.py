"""What a site has decided decides which bundles read, and nothing comes back by itself."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest

from models.bundle import Bundle
from models.image_facts import ImageFacts
from models.registry import Registry, Route
from models.routing import Refusal
from models.site import STATE, Change, OperatingPoint, SiteState, Standing, kept_bundle, read_state, stamp
from triage.errors import BundleError
from triage.findings import NotAnalysedReason, Urgency

CHEST = ImageFacts(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", modality="DX", manufacturer="Maker",
    photometric_interpretation="MONOCHROME2", regions=frozenset({"CHEST"}), views=frozenset({"PA"}), rows=2500,
    columns=2048, age_years=50.0,
)  # fmt: skip
CHANGE = Change(at=datetime(2026, 3, 1, tzinfo=UTC), who="kim", what="enabled", bundle="tiny-cxr")


def place(bundle: Bundle, folder: Path, **changes: Any) -> Bundle:
    """The bundle in a folder, under a changed name or version."""
    target = folder / str(changes.get("name", bundle.metadata.name))
    shutil.copytree(bundle.directory, target)
    metadata = json.loads((target / "metadata.json").read_text())
    (target / "metadata.json").write_text(json.dumps(metadata | changes))
    return Bundle.load(target)


def decide(folder: Path, **standings: Standing) -> None:
    bundles = {name.replace("_", "-"): standing for name, standing in standings.items()}
    (folder / STATE).write_text(SiteState(bundles=bundles).model_dump_json())


def enabled(bundle: Bundle, source: Literal["site", "shipped"] = "site", **more: Any) -> Standing:
    return Standing(enabled=True, source=source, digest=bundle.digest if source == "site" else "", **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


@pytest.fixture
def shipped(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    (tmp_path / "shipped").mkdir()
    return place(tiny_bundle, tmp_path / "shipped")


def reader(folder: Path) -> Path | NotAnalysedReason:
    """Directory of the bundle that reads a chest, or why none does."""
    route = Registry.of_site(folder, folder.parent / "shipped").route(CHEST)
    return route.bundle.directory if isinstance(route, Route) else route.reason


def test_nothing_said_the_shipped_bundle_reads_and_the_sites_own_does_not(folder: Path, shipped: Bundle) -> None:
    place(shipped, folder, name="hospital-cxr")
    assert reader(folder) == shipped.directory
    entry = Registry.of_site(folder, shipped.directory.parent).entry("hospital-cxr")
    assert (entry.enabled, entry.note) == (False, "not enabled yet")


def test_the_sites_own_goes_first_once_it_is_enabled(folder: Path, shipped: Bundle) -> None:
    own = place(shipped, folder, name="hospital-cxr")
    decide(folder, hospital_cxr=enabled(own))
    assert reader(folder) == own.directory


def test_of_one_name_exactly_the_enabled_one_reads(folder: Path, shipped: Bundle) -> None:
    own = place(shipped, folder, version="0.2.0")
    assert reader(folder) == shipped.directory
    decide(folder, tiny_cxr=enabled(own))
    assert reader(folder) == own.directory
    decide(folder, tiny_cxr=enabled(shipped, "shipped"))
    assert reader(folder) == shipped.directory
    decide(folder, tiny_cxr=Standing(enabled=False, reason="too many alarms"))
    assert reader(folder) is NotAnalysedReason.NO_BUNDLE


def test_metadata_changed_after_enabling_make_it_unavailable(folder: Path, shipped: Bundle) -> None:
    own = place(shipped, folder, name="hospital-cxr")
    decide(folder, hospital_cxr=enabled(own))
    metadata = json.loads((own.directory / "metadata.json").read_text())
    metadata["findings"].reverse()  # swapped labels: every checksum still fits
    (own.directory / "metadata.json").write_text(json.dumps(metadata))
    assert reader(folder) is NotAnalysedReason.MODEL_UNAVAILABLE


def test_a_shipped_bundle_does_not_step_in_for_an_enabled_one_that_is_gone(folder: Path, shipped: Bundle) -> None:
    own = place(shipped, folder, version="0.2.0")
    decide(folder, tiny_cxr=enabled(own))
    shutil.rmtree(own.directory)
    assert reader(folder) is NotAnalysedReason.MODEL_UNAVAILABLE
    own.directory.mkdir()
    (own.directory / "metadata.json").write_text("{")
    assert reader(folder) is NotAnalysedReason.MODEL_UNAVAILABLE


@pytest.mark.parametrize("content", ["", "{}x", "[]", '{"format_version": 2}', '{"revision": -1}', '{"bundels": {}}'])
def test_a_state_that_cannot_be_read_lets_nothing_read(folder: Path, shipped: Bundle, content: str) -> None:
    assert reader(folder) == shipped.directory
    (folder / STATE).write_text(content)
    with pytest.raises(BundleError, match=r"site\.json"):
        read_state(folder)
    assert reader(folder) is NotAnalysedReason.MODEL_UNAVAILABLE


def test_what_is_written_is_read_back(folder: Path) -> None:
    standing = Standing(enabled=False, reason="x", findings={"a": OperatingPoint(threshold=0.1, weights_sha256="b")})
    state = SiteState().changed("tiny-cxr", standing, CHANGE)
    (folder / STATE).write_text(state.model_dump_json(indent=1))
    assert read_state(folder) == state
    assert (state.revision, state.history) == (1, (CHANGE,))
    assert state.changed("tiny-cxr", Standing(), CHANGE).bundles == {}


def test_a_folder_without_state_has_said_nothing(folder: Path) -> None:
    assert read_state(folder) == SiteState()
    assert stamp(folder) is None


def test_the_stamp_changes_with_the_state(folder: Path) -> None:
    (folder / STATE).write_text("{}")
    first = stamp(folder)
    (folder / ".new").write_text("{}")
    (folder / ".new").replace(folder / STATE)
    assert stamp(folder) != first


def test_a_threshold_holds_for_the_weights_it_was_set_for_and_an_urgency_for_all(folder: Path, shipped: Bundle) -> None:
    weights = shipped.metadata.files["weights.safetensors"]
    point = OperatingPoint(threshold=0.9, weights_sha256=weights, urgency=Urgency.STAT)
    lapsed = OperatingPoint(threshold=0.9, weights_sha256="0" * 64)
    decide(folder, tiny_cxr=Standing(findings={"pneumothorax": point, "pleural_effusion": lapsed, "gone": point}))
    bundle = Registry.of_site(folder, shipped.directory.parent).get("tiny-cxr")
    assert [(f.threshold, f.urgency) for f in bundle.metadata.findings] == [
        (0.9, Urgency.STAT),
        (0.4, Urgency.ROUTINE),
    ]


def test_every_bundle_says_why_it_does_not_read(folder: Path, shipped: Bundle) -> None:
    phantoms = {"manufacturer_equals": ["firstread phantom"], "manufacturer_not": []}
    routing = shipped.metadata.routing.model_dump(mode="json")
    place(shipped, folder, name="phantoms-only", routing=routing | phantoms)
    chosen = place(shipped, folder, name="chosen-cxr", routing=routing | {"rank": 3})
    late = place(shipped, folder, name="late-cxr", routing=routing | {"rank": 2})
    off = place(shipped, folder, name="off-cxr", routing=routing | {"rank": 4})
    decide(
        folder, chosen_cxr=enabled(chosen), late_cxr=enabled(late),
        off_cxr=Standing(enabled=False, reason="under repair"),
    )  # fmt: skip
    facts = {name: getattr(CHEST, name) for name in CHEST.__slots__}
    decision = Registry.of_site(folder, shipped.directory.parent).decide(
        ImageFacts(**facts | {"views": frozenset(), "age_years": None})
    )
    assert isinstance(decision.verdict, Route)
    assert decision.verdict.bundle.metadata.name == "chosen-cxr"
    assert [(each.bundle, each.refusal) for each in decision.considered] == [
        (off.metadata.name, "no enabled bundle takes this image: off-cxr: disabled: under repair"),
        ("chosen-cxr", None),
        ("late-cxr", "read by another bundle: one that is asked first takes the image"),
        ("phantoms-only", "no enabled bundle takes this image: another maker's images"),
        ("tiny-cxr", "read by another bundle: one that is asked first takes the image"),
    ]
    assert decision.considered[1].remarks == ("view not stated", "age not stated")


def test_the_reason_of_a_disabled_bundle_is_the_images_reason(folder: Path, shipped: Bundle) -> None:
    decide(folder, tiny_cxr=Standing(enabled=False, reason="under repair"))
    refusal = Registry.of_site(folder, shipped.directory.parent).route(CHEST)
    assert refusal == Refusal(NotAnalysedReason.NO_BUNDLE, "tiny-cxr: disabled: under repair")


def test_a_kept_version_is_found_by_its_weights_and_checked(folder: Path, tiny_bundle: Bundle) -> None:
    weights = tiny_bundle.metadata.files["weights.safetensors"]
    kept = folder / ".kept" / "tiny-cxr-0123"
    shutil.copytree(tiny_bundle.directory, kept)
    assert kept_bundle(folder, "tiny-cxr", weights).directory == kept
    with pytest.raises(BundleError, match="not here any more"):
        kept_bundle(folder, "tiny-cxr", "0" * 64)
    (kept / "MODEL_CARD.md").write_text("# Other\n")
    with pytest.raises(BundleError, match="checksum"):
        kept_bundle(folder, "tiny-cxr", weights)
