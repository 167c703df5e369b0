"""What a site decides acts on running workers; what an analysis has begun is finished by what began it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from node_under_test import Node
from onnx import numpy_helper
from pydicom.dataset import Dataset
from safetensors.numpy import load_file, save_file
from test_analysis import late_view

from models.registry import SHIPPED
from models.site import STATE
from triage.findings import NotAnalysedReason, Urgency
from triage.states import AnalysisStatus
from workers.analysis import analyse_due
from workers.bundle_store import BundleStore
from worklist.describe import describe_routing

Draw = Callable[..., Dataset]


@pytest.fixture
def store(node: Node) -> BundleStore:
    return BundleStore(folder=node.bench.settings.site_bundles, clock=node.clock, who="kim")


def version(tmp_path: Path, number: str) -> Path:
    """The shipped network under another version, as somebody brings it."""
    directory = Path(shutil.copytree(SHIPPED / "phantom-cxr", tmp_path / f"brought-{number}"))
    metadata = json.loads((directory / "metadata.json").read_text())
    (directory / "metadata.json").write_text(json.dumps(metadata | {"version": number}))
    return directory


def test_a_threshold_acts_on_the_next_image_without_a_restart(node: Node, phantom: Draw, store: BundleStore) -> None:
    before, after = phantom(1, {"pneumothorax"}), phantom(2, {"pneumothorax"})
    node.receive(before)
    analyse_due(node.bench)
    store.set_point("phantom-cxr", "pneumothorax", threshold=1.0)
    node.receive(after)
    analyse_due(node.bench)
    earlier, later = node.study(before), node.study(after)
    assert earlier.urgency is Urgency.STAT  # nothing is taken back
    assert later.analyses[0].images[0].findings[0].threshold == 1.0
    assert later.analyses[0].images[0].findings[0].positive is False
    assert later.analyses[0].status is AnalysisStatus.SUCCEEDED


def test_the_network_stays_loaded_when_a_threshold_moves(node: Node, store: BundleStore) -> None:
    first = node.bench.predictor(node.bench.registry.get("phantom-cxr"))
    store.set_point("phantom-cxr", "pneumothorax", threshold=0.5)
    node.bench.refresh()
    second = node.bench.predictor(node.bench.registry.get("phantom-cxr"))
    assert second.bundle.metadata.findings[0].threshold == 0.5
    assert second.class_weights is first.class_weights


def test_bundles_are_opened_again_only_when_the_site_has_decided_something(node: Node, store: BundleStore) -> None:
    registry = node.bench.registry
    node.bench.refresh()
    assert node.bench.registry is registry
    store.disable("nih-cxr-research", reason="x")
    node.bench.refresh()
    assert [bundle.metadata.name for bundle in node.bench.registry.available] == ["phantom-cxr", "phantom-head-ct"]


def test_a_disabled_bundle_is_the_reason_and_the_case_keeps_its_place(
    node: Node, phantom: Draw, store: BundleStore
) -> None:
    store.disable("phantom-cxr", reason="under repair")
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    study = node.study(dataset)
    (image,) = study.analyses[0].images
    assert study.analyses[0].status is AnalysisStatus.NOT_ANALYSED
    assert (image.reason, image.detail) == (NotAnalysedReason.NO_BUNDLE, "phantom-cxr: disabled: under repair")
    assert study.urgency is Urgency.ROUTINE


def test_a_state_that_cannot_be_read_stops_no_study(node: Node, phantom: Draw, store: BundleStore) -> None:
    store.folder.mkdir()
    (store.folder / STATE).write_text("{")
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    (image,) = node.study(dataset).analyses[0].images
    assert image.reason is NotAnalysedReason.MODEL_UNAVAILABLE
    assert "site.json" in image.detail


def test_every_bundles_answer_is_kept_with_the_image(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    lateral = late_view(dataset, "2", ViewPosition="LL", PatientOrientation=["A", "F"])
    lateral.ViewCodeSequence = []
    node.receive(dataset, lateral)
    analyse_due(node.bench)
    images = node.study(dataset).analyses[0].images
    frontal, side = (describe_routing([image]) for image in images)
    assert [(answer.bundle, answer.chosen) for answer in frontal] == [
        ("phantom-cxr", True), ("phantom-head-ct", False), ("nih-cxr-research", False),
    ]  # fmt: skip
    assert frontal[2].refusal == "no enabled bundle takes this image: another maker's images"
    assert [answer.chosen for answer in side] == [False, False, False]
    assert str(side[0].refusal).startswith("no model for this view")


def _retrain(directory: Path) -> None:
    """Other weights, as sound as those before: every logit is a quarter higher."""
    weights = load_file(directory / "weights.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] + np.float32(0.25)
    save_file(weights, directory / "weights.safetensors")
    graph = onnx.load(directory / "network.onnx")
    (bias,) = (tensor for tensor in graph.graph.initializer if tensor.name == "classifier.bias")
    bias.CopyFrom(numpy_helper.from_array(weights["classifier.bias"], bias.name))
    onnx.save(graph, directory / "network.onnx")
    record = json.loads((directory / "selftest.json").read_text())
    record["logits"] = [logit + 0.25 for logit in record["logits"]]
    (directory / "selftest.json").write_text(json.dumps(record))
    metadata = json.loads((directory / "metadata.json").read_text())
    for name in metadata["files"]:
        metadata["files"][name] = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    (directory / "metadata.json").write_text(json.dumps(metadata))


def test_an_analysis_is_finished_by_the_version_that_began_it(
    node: Node, phantom: Draw, store: BundleStore, tmp_path: Path
) -> None:
    """The site replaces the bundle between two images: one report about one version; the next study gets the new."""
    store.add(version(tmp_path, "8.0.0"), enable=True)
    dataset = phantom(1, {"pneumothorax"})
    association = node.receive(dataset, close=False)
    analyse_due(node.bench)
    began = node.study(dataset).analyses[0]
    assert (began.bundle_version, began.status) == ("8.0.0", AnalysisStatus.QUEUED)

    other = version(tmp_path, "9.0.0")
    _retrain(other)
    store.add(other, replace=True, enable=True)
    node.receive(late_view(dataset, "2"))
    node.close(association)
    analyse_due(node.bench)
    (analysis,) = node.study(dataset).analyses
    assert analysis.status is AnalysisStatus.SUCCEEDED
    assert (analysis.bundle_version, analysis.weights_sha256) == ("8.0.0", began.weights_sha256)
    assert len([image for image in analysis.images if image.reason is None]) == 2

    fresh = phantom(3)
    node.receive(fresh)
    analyse_due(node.bench)
    now = node.study(fresh).analyses[0]
    assert now.bundle_version == "9.0.0"
    assert now.weights_sha256 != began.weights_sha256
