"""A study whose scores have no heat map: report, place on the list and delivery all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from node_under_test import Node
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.explaining.methods import explainer
from models.registry import Entry, Registry
from triage import tables
from triage.errors import ExplanationError, StorageFullError
from triage.findings import Urgency
from triage.states import AnalysisStatus
from workers import explaining
from workers.analysis import analyse_due

Draw = Callable[..., Dataset]


def let_bundles_say(node: Node, explanation: str) -> None:
    """The node's bundles, as if their metadata named another method."""

    def saying(entry: Entry) -> Entry:
        assert entry.bundle is not None
        metadata = entry.bundle.metadata.model_copy(update={"explanation": explanation})
        return replace(entry, bundle=replace(entry.bundle, metadata=metadata))

    node.bench.registry = Registry(tuple(saying(entry) for entry in node.bench.registry.entries))


def analysed(node: Node, dataset: Dataset) -> tables.Study:
    node.receive(dataset)
    assert analyse_due(node.bench) == 1
    return node.study(dataset)


def report_of(node: Node, study: tables.Study) -> str:
    (report,) = [r for r in study.analyses[0].result_objects if r.kind == "SR"]
    document = pydicom.dcmread(node.bench.settings.results / report.relative_path)
    return "\n".join(str(element.value) for element in document.iterall() if element.keyword == "TextValue")


def test_a_bundle_that_ships_no_heat_maps_gets_its_report_delivered(node: Node, phantom: Draw) -> None:
    let_bundles_say(node, "none")
    dataset = phantom(1, {"pneumothorax"})
    study = analysed(node, dataset)
    (analysis,) = study.analyses
    assert study.urgency is Urgency.STAT
    assert analysis.status is AnalysisStatus.SUCCEEDED
    assert [(r.kind, len(r.deliveries)) for r in analysis.result_objects] == [("SR", 2)]
    text = report_of(node, study)
    assert f"No heat map shows where the scores of image {dataset.SOPInstanceUID} come from." in text
    assert "explanation=none" in text


def test_without_heat_map_the_page_shows_the_bare_image(node: Node, phantom: Draw) -> None:
    let_bundles_say(node, "none")
    study = analysed(node, phantom(1, {"pneumothorax"}))
    (image,) = study.analyses[0].images
    assert image.overlay_path == ""
    plain = cv2.imread(str(node.bench.settings.results / image.preview_path))
    assert np.ptp(plain, axis=2).max() <= 2
    assert all(not finding.outline and not finding.peak for finding in image.findings)


def test_a_study_without_heat_map_is_not_looked_at_again(node: Node, phantom: Draw) -> None:
    let_bundles_say(node, "none")
    dataset = phantom(1, {"pneumothorax"})
    analysed(node, dataset)
    assert analyse_due(node.bench) == 0
    assert len(node.study(dataset).analyses) == 1


def test_a_map_that_cannot_be_made_does_not_hold_up_the_report(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_image: object, _features: object, _rows: Sequence[int]) -> NDArray[np.float32]:
        raise ExplanationError("it does not add up.")

    monkeypatch.setattr(node.bench, "explainer", lambda _bundle: refuse)
    study = analysed(node, phantom(1, {"pneumothorax"}))
    assert study.analyses[0].status is AnalysisStatus.SUCCEEDED
    assert [r.kind for r in study.analyses[0].result_objects] == ["SR"]
    assert "No heat map shows" in report_of(node, study)


@pytest.mark.parametrize("explanation", ["cam", "grad-cam++", "occlusion"])
def test_the_method_of_the_bundle_makes_the_map(node: Node, phantom: Draw, explanation: str) -> None:
    let_bundles_say(node, explanation)
    dataset = phantom(1, {"pneumothorax"})
    study = analysed(node, dataset)
    assert sorted(r.kind for r in study.analyses[0].result_objects) == ["SC", "SR"]
    text = report_of(node, study)
    assert "No heat map" not in text
    assert f"explanation={explanation}" in text
    (image,) = study.analyses[0].images
    (finding,) = [f for f in image.findings if f.key == "pneumothorax"]
    assert len(finding.outline) >= 4


def test_the_method_is_chosen_once_per_bundle(node: Node) -> None:
    bundle = node.bench.registry.get("phantom-cxr")
    assert node.bench.explainer(bundle) is node.bench.explainer(bundle)
    assert explainer(node.bench.predictor(bundle), "none") is None
    assert Path(bundle.directory).is_dir()


def test_pictures_that_cannot_be_written_do_not_hold_up_the_report(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFullError("A preview could not be written: No space left on device.")

    monkeypatch.setattr(explaining, "store_previews", full)
    study = analysed(node, phantom(1, {"pneumothorax"}))
    assert study.analyses[0].status is AnalysisStatus.SUCCEEDED
    assert {r.kind for r in study.analyses[0].result_objects} == {"SR", "SC"}
    assert study.urgency is Urgency.STAT
