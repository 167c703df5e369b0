"""The gate and the guard in the journey of an analysis: no score, a reason everywhere, and the case keeps its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from node_under_test import Node
from pydicom.dataset import Dataset

from models.image_facts import ImageFacts
from models.preparation import prepare
from models.routing import Refusal
from triage.findings import NotAnalysed, NotAnalysedReason, Urgency
from triage.states import AnalysisStatus
from workers.analysis import analyse_due
from workers.scoring import Ready, Scored, make_ready, score
from workers.screening import Candidate
from worklist.describe import describe_routing

Draw = Callable[..., Dataset]

_SWAP = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1", "INVERSE": "IDENTITY", "IDENTITY": "INVERSE"}


def mislabelled(dataset: Dataset, suffix: str = "") -> Dataset:
    """The same image in a header that says black where white is."""
    other = copy.deepcopy(dataset)
    if suffix:
        other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.{suffix}"[:64]
    for keyword in ("PhotometricInterpretation", "PresentationLUTShape"):
        if keyword in other:
            setattr(other, keyword, _SWAP[getattr(other, keyword)])
    return other


def test_an_inverted_pneumothorax_is_not_analysed_and_keeps_its_place(node: Node, phantom: Draw) -> None:
    dataset = mislabelled(phantom(1, {"pneumothorax"}))
    node.receive(dataset)
    analyse_due(node.bench)
    study = node.study(dataset)
    (analysis,) = study.analyses
    assert study.urgency is Urgency.ROUTINE
    assert analysis.status is AnalysisStatus.NOT_ANALYSED
    assert "greyscale looks inverted (gate 0.0" in analysis.reason
    assert analysis.result_objects == []
    (image,) = analysis.images
    assert (image.reason, image.findings) == (NotAnalysedReason.OUT_OF_DISTRIBUTION, [])
    answer = next(one for one in describe_routing([image]) if one.bundle == "phantom-cxr")
    assert not answer.chosen
    assert "greyscale looks inverted" in str(answer.refusal)


def test_the_report_lists_it_beside_the_image_that_was_read(node: Node, phantom: Draw) -> None:
    good = phantom(2)
    bad = mislabelled(good, "7")
    node.receive(good, bad)
    analyse_due(node.bench)
    (analysis,) = node.study(good).analyses
    assert analysis.status is AnalysisStatus.SUCCEEDED
    report = next(r for r in analysis.result_objects if r.kind == "SR")
    document = pydicom.dcmread(node.bench.settings.results / report.relative_path)
    texts = [str(element.value) for element in document.iterall() if element.keyword == "TextValue"]
    (told,) = (text for text in texts if text.startswith(f"Not analysed: {bad.SOPInstanceUID}"))
    assert "greyscale looks inverted" in told


@pytest.fixture
def candidate(node: Node, phantom: Draw) -> Candidate:
    dataset = phantom(2)
    decision = node.bench.registry.decide(ImageFacts.from_dataset(dataset))
    assert not isinstance(decision.verdict, Refusal)
    return Candidate(
        instance_id=1,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        bundle=decision.verdict.bundle,
        dataset=dataset,
        considered=decision.considered,
    )


def test_a_bundle_that_asks_for_no_gate_reads_what_the_gate_would_refuse(node: Node, candidate: Candidate) -> None:
    inverted = replace(candidate, dataset=mislabelled(candidate.dataset))
    codec = node.bench.decoder.decode
    assert isinstance(make_ready(inverted, codec, node.bench.gate(candidate.bundle)), NotAnalysed)
    metadata = candidate.bundle.metadata
    routing = metadata.routing.model_copy(update={"gate": "none"})
    free = replace(candidate.bundle, metadata=metadata.model_copy(update={"routing": routing}))
    assert node.bench.gate(free) is None
    assert isinstance(make_ready(replace(inverted, bundle=free), codec, node.bench.gate(free)), Ready)


def test_what_lies_beyond_the_guard_has_no_score_and_corrects_what_the_bundle_said(
    node: Node, candidate: Candidate
) -> None:
    predictor = node.bench.predictor(candidate.bundle)
    assert predictor.guard is not None
    prepared = prepare(candidate.dataset, candidate.bundle.metadata.input)
    assert not isinstance(prepared, Refusal)
    usual = Ready(candidate=candidate, prepared=prepared)
    noise = np.random.default_rng(0).normal(0, 3, prepared.image.shape).astype(np.float32)
    strange = Ready(candidate=candidate, prepared=replace(prepared, image=noise))
    scored, kept_back, again = score(predictor, [usual, strange, usual])
    assert isinstance(scored, Scored)
    assert isinstance(again, Scored)
    assert scored.result == again.result
    assert isinstance(kept_back, NotAnalysed)
    assert kept_back.reason is NotAnalysedReason.OUT_OF_DISTRIBUTION
    before = {one.bundle: one.refusal for one in candidate.considered}
    after = {one.bundle: one.refusal for one in kept_back.considered}
    assert before["phantom-cxr"] is None
    assert "unlike the images it was trained on" in str(after.pop("phantom-cxr"))
    assert after == {name: refusal for name, refusal in before.items() if name != "phantom-cxr"}
