"""The segmentation of a head CT in OHIF: drawn on the slice that it is about."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from node_under_test import Node, opened
from peers.ohif import SHOWS_COLOUR, open_report, opened_study
from peers.orthanc_server import OrthancServer, dicomweb_plugin, dicomweb_where_installed, orthanc

from models.phantom import generate_head_ct
from models.phantom.head_dicom import write_series
from triage.peers import Destination
from triage.repositories import completing
from workers.analysis import analyse_due

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SLICES = 24


def test_region_and_report_are_drawn_on_the_slice(tmp_path: Path) -> None:
    dicomweb_plugin()
    archived = orthanc(tmp_path / "orthanc", configuration={"Plugins": dicomweb_where_installed()})
    with archived as archive, opened(tmp_path / "data") as node:
        study, number = _analysed_head(node, archive, tmp_path / "slices")
        with opened_study(archive.url, study, tmp_path / "ohif") as tab:
            tab.get_by_text("AI firstread segmentation").first.dblclick()
            tab.get_by_text("Do you want to open this Segmentation?").wait_for()
            tab.get_by_text(f"I:{number} (").first.wait_for()  # the viewer goes to the slice itself
            tab.wait_for_function(SHOWS_COLOUR)
            tab.screenshot(path=str(tmp_path / "segmentation.png"))
            open_report(tab, tmp_path)  # which names the segment, and draws its region
            tab.locator("svg.svg-layer path, svg.svg-layer polyline").first.wait_for(state="attached")
            tab.screenshot(path=str(tmp_path / "report.png"))


def _analysed_head(node: Node, archive: OrthancServer, folder: Path) -> tuple[str, int]:
    """A CT with a haemorrhage and all its results in the archive; returns Study UID and number of the key slice."""
    wanted = Destination.model_validate({"address": "PACS@h:1", "objects": ["SR", "SC", "SEG"]})
    node.bench.settings = node.bench.settings.model_copy(update={"destinations": (wanted,)})
    head = generate_head_ct(5, 1, size=256, kinds={"epidural"}, slices=SLICES)
    folder.mkdir()
    datasets = write_series(head, folder, 5, 1, taken_at=datetime(2026, 1, 5, 8, tzinfo=UTC))
    node.receive(*datasets)
    node.clock.pass_by(seconds=node.bench.settings.completion.quiet + 1)
    with node.bench.database.write() as session:
        for study in completing.due_studies(session, node.clock()):
            completing.reconsider(session, study, node.clock(), node.bench.settings.completion)
    analyse_due(node.bench)
    (analysis,) = node.study(datasets[0]).analyses
    owed = [row for row in analysis.result_objects if row.deliveries]
    assert {row.kind for row in owed} == {"SR", "SC", "SEG"}
    for path in [*folder.glob("*.dcm"), *(node.bench.settings.results / row.relative_path for row in owed)]:
        archive.upload(path)
    key = next(row.source_instance_id for row in owed if row.kind == "SEG")
    by_uid = {str(dataset.SOPInstanceUID): int(dataset.InstanceNumber) for dataset in datasets}
    (shown,) = [i.sop_instance_uid for i in node.study(datasets[0]).instances if i.id == key]
    return str(datasets[0].StudyInstanceUID), by_uid[shown]
