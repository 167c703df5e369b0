"""Bundles come, go and change places whole; every decision has a name, a time and a reason."""

from __future__ import annotations

import fcntl
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.acceptance import AcceptanceError
from models.bundle import Bundle
from models.registry import SHIPPED
from models.site import STATE
from triage.errors import BundleError, StorageFullError
from triage.findings import Urgency
from workers.bundle_store import BundleStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Make = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(folder=tmp_path / "bundles", clock=lambda: NOW, who="kim")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A bundle as an engineer brings it: the phantom's network under other metadata."""

    def make(name: str = "hospital-cxr", version: str = "1.0.0", **changes: Any) -> Path:
        directory = tmp_path / "brought" / f"{name}-{version}"
        shutil.copytree(SHIPPED / "phantom-cxr", directory)
        metadata = json.loads((directory / "metadata.json").read_text())
        metadata |= {"name": name, "version": version} | changes
        (directory / "metadata.json").write_text(json.dumps(metadata))
        return directory

    return make


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def reads(store: BundleStore) -> list[str]:
    return [f"{b.metadata.name} {b.metadata.version}" for b in store.registry().available]


def test_a_bundle_is_taken_in_and_reads_once_it_is_enabled(store: BundleStore, make: Make) -> None:
    added = store.add(make())
    assert names(store.folder) == ["hospital-cxr", STATE]
    assert Bundle.load(store.folder / "hospital-cxr").digest == added.bundle.digest
    assert "hospital-cxr 1.0.0" not in reads(store)
    assert store.accept("hospital-cxr", evaluation=None).met
    store.enable("hospital-cxr")
    assert reads(store)[0] == "hospital-cxr 1.0.0"
    what = [(change.who, change.at, change.what, change.bundle) for change in store.state().history]
    assert what == [("kim", NOW, step, "hospital-cxr") for step in ("added", "accepted", "enabled")]


def test_the_same_bundle_again_changes_nothing(store: BundleStore, make: Make) -> None:
    directory = make()
    store.add(directory)
    before = store.state()
    assert store.add(directory).known
    assert store.state() == before


@pytest.mark.parametrize("flaw", ["weights", "self-test", "criteria"])
def test_what_does_not_verify_leaves_nothing_behind(store: BundleStore, make: Make, flaw: str) -> None:
    directory = make(acceptance={"every_finding": {"min_auc_low": 0.9999}} if flaw == "criteria" else {})
    if flaw == "weights":
        with (directory / "weights.safetensors").open("ab") as file:
            file.write(b"x")
    elif flaw == "self-test":
        record = json.loads((directory / "selftest.json").read_text())
        record["logits"].reverse()
        (directory / "selftest.json").write_text(json.dumps(record))
        metadata = json.loads((directory / "metadata.json").read_text())
        metadata["files"]["selftest.json"] = hashlib.sha256((directory / "selftest.json").read_bytes()).hexdigest()
        (directory / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(BundleError):
        store.add(directory, enable=True)
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock"]


def test_a_refusal_names_what_was_brought(store: BundleStore, make: Make) -> None:
    directory = make()
    (directory / "weights.safetensors").write_bytes(pickle.dumps({"state_dict": [1.0]}))
    metadata = json.loads((directory / "metadata.json").read_text())
    metadata["files"]["weights.safetensors"] = hashlib.sha256(
        (directory / "weights.safetensors").read_bytes()
    ).hexdigest()
    (directory / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(BundleError) as caught:
        store.add(directory)
    assert f"{directory}/weights.safetensors is no safetensors file" in str(caught.value)
    assert caught.value.next_step.startswith("Nothing was added.")


def test_a_report_that_cannot_be_read_is_named_as_it_was_brought(store: BundleStore, make: Make) -> None:
    directory = make()
    (directory / "evaluation.json").write_text("[]")
    metadata = json.loads((directory / "metadata.json").read_text())
    metadata["files"]["evaluation.json"] = hashlib.sha256(b"[]").hexdigest()
    (directory / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(BundleError) as caught:
        store.add(directory)
    assert f"{directory}/evaluation.json is not a report" in str(caught.value)


def test_what_a_killed_command_left_is_cleared_away(store: BundleStore, make: Make) -> None:
    (store.folder / ".adding.killed").mkdir(parents=True)
    (store.folder / ".adding.killed" / "metadata.json").write_text("{}")
    assert reads(store) == ["phantom-cxr 1.3.0", "phantom-head-ct 1.0.1", "nih-cxr-research 1.1.0"]
    store.add(make())
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", "hospital-cxr", STATE]


def test_another_version_needs_to_be_asked_for_and_the_old_one_is_kept(store: BundleStore, make: Make) -> None:
    first = store.add(make(), enable=True).bundle
    store.set_point("hospital-cxr", "pneumothorax", threshold=0.3, urgency=Urgency.URGENT)
    with pytest.raises(BundleError, match=r"here already, version 1\.0\.0"):
        store.add(make(version="1.1.0"))
    added = store.add(make(version="1.2.0"), replace=True)
    assert added.kept is not None
    assert Bundle.load(added.kept).digest == first.digest
    assert "hospital-cxr 1.2.0" not in reads(store)
    assert "came in place" in store.registry().entry("hospital-cxr").note
    store.add(make(version="1.3.0"), replace=True, enable=True)
    assert reads(store)[0] == "hospital-cxr 1.3.0"
    finding = store.registry().get("hospital-cxr").metadata.findings[0]
    assert (finding.threshold, finding.urgency) == (0.3, Urgency.URGENT)  # the same weights


def test_other_content_needs_another_version(store: BundleStore, make: Make) -> None:
    store.add(make())
    shutil.rmtree(store.folder.parent / "brought")
    with pytest.raises(BundleError, match="other content"):
        store.add(make(intended_use="Something else."), replace=True)


def test_a_refused_successor_leaves_the_old_version_reading(store: BundleStore, make: Make) -> None:
    store.add(make(), enable=True)
    strict = {"every_finding": {"min_auc_low": 0.9999}}
    with pytest.raises(AcceptanceError, match=r"nodule_mass: auc\.low >= 0\.9999, 0\.9483"):
        store.add(make(version="2.0.0", acceptance=strict), replace=True, enable=True)
    assert reads(store)[0] == "hospital-cxr 1.0.0"


def test_a_damaged_bundle_can_be_replaced(store: BundleStore, make: Make) -> None:
    store.add(make(), enable=True)
    (store.folder / "hospital-cxr" / "metadata.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        store.add(make(version="1.0.1"))
    added = store.add(make(version="1.0.2"), replace=True, enable=True)
    assert added.kept is not None
    assert "damaged" in added.kept.name
    assert reads(store)[0] == "hospital-cxr 1.0.2"


def test_a_bundle_of_a_shipped_name_stands_beside_it_until_it_is_enabled(store: BundleStore, make: Make) -> None:
    store.add(make("phantom-cxr", "9.0.0"))
    assert "phantom-cxr 1.3.0" in reads(store)
    store.enable("phantom-cxr")
    assert "phantom-cxr 9.0.0" in reads(store)
    assert "phantom-cxr 1.3.0" not in reads(store)
    store.disable("phantom-cxr", reason="worse than the shipped one")
    store.remove("phantom-cxr")
    assert [name for name in reads(store) if name.startswith("phantom-cxr")] == []
    store.accept("phantom-cxr", evaluation=None)
    store.enable("phantom-cxr")
    assert "phantom-cxr 1.3.0" in reads(store)


def test_only_what_is_disabled_and_the_sites_own_can_be_removed(store: BundleStore, make: Make) -> None:
    directory = make()
    store.add(directory, enable=True)
    with pytest.raises(BundleError, match="is enabled"):
        store.remove("hospital-cxr")
    with pytest.raises(BundleError, match="ships with firstread"):
        store.remove("phantom-cxr")
    with pytest.raises(BundleError, match="no bundle nothing"):
        store.remove("nothing")
    store.disable("hospital-cxr", reason="retired")
    kept = store.remove("hospital-cxr", reason="retired")
    assert names(store.folder) == [STATE]
    Bundle.load(kept).check_files()
    store.add(directory)  # the same files come back
    store.remove("hospital-cxr")
    assert len(list((store.folder / ".kept").iterdir())) == 1


def test_an_unaccepted_bundle_does_not_go_live(store: BundleStore, make: Make) -> None:
    store.add(make(acceptance={"measured_on": "installation"}))
    with pytest.raises(AcceptanceError, match="measured on this installation"):
        store.enable("hospital-cxr")
    weights = Bundle.load(store.folder / "hospital-cxr").metadata.files["weights.safetensors"]
    figures = json.loads((SHIPPED / "phantom-cxr" / "evaluation.json").read_text())
    report = store.folder.parent / "report.json"
    report.write_text(json.dumps(figures | {"weights_sha256": weights}))
    record = store.accept("hospital-cxr", evaluation=report, data="300 radiographs of May")
    assert (record.met, record.proof, record.who, record.data) == (
        True,
        "installation",
        "kim",
        "300 radiographs of May",
    )
    store.enable("hospital-cxr")
    assert reads(store)[0] == "hospital-cxr 1.0.0"


def test_rates_count_at_the_threshold_that_the_site_has_set(store: BundleStore, make: Make) -> None:
    store.add(make(acceptance={"findings": {"pneumothorax": {"min_sensitivity": 0.9}}}))
    figures = json.loads((SHIPPED / "phantom-cxr" / "evaluation.json").read_text())
    figures["weights_sha256"] = Bundle.load(store.folder / "hospital-cxr").metadata.files["weights.safetensors"]
    figures["test"]["findings"]["pneumothorax"]["threshold"] = 0.6
    report = store.folder.parent / "report.json"
    report.write_text(json.dumps(figures))
    assert not store.accept("hospital-cxr", evaluation=report).met
    store.set_point("hospital-cxr", "pneumothorax", threshold=0.6)
    assert store.accept("hospital-cxr", evaluation=report).met


def test_acceptance_that_is_not_met_is_on_record_too(store: BundleStore, make: Make) -> None:
    store.add(make(acceptance={"every_finding": {"min_sensitivity": 0.99}}))
    assert not store.accept("hospital-cxr", evaluation=None).met
    change = store.state().history[-1]
    assert (change.what, change.after.endswith("4 criteria not met")) == ("not accepted", True)


def test_operating_points_are_set_shown_and_taken_back(store: BundleStore) -> None:
    own = store.registry().get("phantom-cxr").metadata.findings
    store.set_point("phantom-cxr", "pneumothorax", threshold=0.5, reason="too many alarms")
    store.set_point("phantom-cxr", "pneumothorax", urgency=Urgency.URGENT)
    store.set_point("phantom-cxr", "nodule_mass", urgency=Urgency.URGENT)
    used = store.registry().get("phantom-cxr").metadata.findings
    assert (used[0].threshold, used[0].urgency, used[4].urgency) == (0.5, Urgency.URGENT, Urgency.URGENT)
    assert used[4].threshold == own[4].threshold
    change = store.state().history[1]
    assert (change.before, change.after) == ("0.5", "0.5 URGENT")
    store.reset_points("phantom-cxr", "pneumothorax")
    store.reset_points("phantom-cxr")
    assert store.registry().get("phantom-cxr").metadata.findings == own
    assert store.state().bundles == {}
    assert [c.before for c in store.state().history[-2:]] == ["pneumothorax 0.5 URGENT", "nodule_mass URGENT"]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_none_is_refused(store: BundleStore, threshold: float) -> None:
    with pytest.raises(BundleError, match="threshold"):
        store.set_point("phantom-cxr", "pneumothorax", threshold=threshold)
    with pytest.raises(BundleError, match="no finding pneumothoraks"):
        store.set_point("phantom-cxr", "pneumothoraks", threshold=0.5)


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 201])
def test_a_reason_is_one_line(store: BundleStore, reason: str) -> None:
    with pytest.raises(BundleError, match="one line"):
        store.disable("phantom-cxr", reason=reason)
    assert reads(store)[0] == "phantom-cxr 1.3.0"


def test_one_writer_at_a_time(store: BundleStore) -> None:
    store.folder.mkdir()
    with (store.folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BundleError, match="Another command"):
            store.disable("phantom-cxr", reason="x")
    store.disable("phantom-cxr", reason="x")


def test_a_model_never_takes_the_room_of_images(store: BundleStore, make: Make) -> None:
    full = BundleStore(folder=store.folder, clock=store.clock, who="kim", reserve=1 << 60)
    with pytest.raises(StorageFullError, match="too little room"):
        full.add(make())
    assert not (store.folder / "hospital-cxr").exists()


def test_a_folder_that_cannot_be_written_says_so(store: BundleStore) -> None:
    store.folder.write_text("a file")
    with pytest.raises(StorageFullError, match="cannot be written"):
        store.disable("phantom-cxr", reason="x")
