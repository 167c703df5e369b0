"""A destination that wants presentation states and the PDF report gets them with the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
from node_under_test import Node
from pydicom.dataset import Dataset

from dicom_node.stand_in_pacs import StandInPacs
from triage.peers import Destination
from workers.analysis import analyse_due
from workers.delivery import deliver_due


def test_state_and_pdf_are_built_and_sent(node: Node, phantom: Callable[..., Dataset], tmp_path: Path) -> None:
    with StandInPacs(tmp_path / "pacs") as pacs:
        address = str(pacs.address)
        wants = [
            {"address": address, "objects": ["SR", "SC", "PR", "PDF"]},
            {"address": "MARKLESS@h:1", "objects": ["SR", "PR", "PDF"], "heat_map": False},
        ]
        destinations = tuple(Destination.model_validate(table) for table in wants)
        node.bench.settings = node.bench.settings.model_copy(update={"destinations": destinations})
        dataset = phantom(1, {"pneumothorax"})
        node.receive(dataset)
        assert analyse_due(node.bench) == 1
        (analysis,) = node.study(dataset).analyses
        assert deliver_due(node.bench, address) == 4
    paths = {
        (row.kind, row.variant): node.bench.settings.results / row.relative_path for row in analysis.result_objects
    }
    made = {key: pydicom.dcmread(path) for key, path in paths.items()}
    assert sorted(kind for kind, _ in made) == ["PDF", "PDF", "PR", "SC", "SR", "SR"]
    state = made["PR", ""]
    (series,) = state.ReferencedSeriesSequence
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    assert any("GraphicObjectSequence" in annotation for annotation in state.GraphicAnnotationSequence)
    marked, markless = (
        next(made[kind, variant] for kind, variant in made if kind == "PDF" and bool(variant) is other)
        for other in (False, True)
    )
    assert b"/DCTDecode" in marked.EncapsulatedDocument
    assert b"/DCTDecode" not in markless.EncapsulatedDocument
