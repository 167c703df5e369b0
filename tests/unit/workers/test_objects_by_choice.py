"""Segmentation, parametric map and key images where a destination asks for them, and only where there is any."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from node_under_test import Node, opened
from pydicom.dataset import Dataset
from test_reindexing import stopped
from test_series_analysis import read, series
from test_wanted import analysed, evidence, send_to, sent_to

from dicom_node.results import files, is_own_result
from triage import tables
from triage.peers import Destination
from triage.repositories.previews import Standing
from triage.repositories.results import BuiltObject
from workers.analysis import analyse_due
from workers.rebuilding import Rebuilt
from workers.rebuilding import rebuild as rebuild_objects
from workers.reindexing import rebuild
from workers.sending_again import look

Draw = Callable[..., Dataset]

PACS = "PACS@h:1"
EVERYTHING = {"address": PACS, "objects": ["SR", "SC", "SEG", "PM", "KO"]}


def missing(study: tables.Study) -> dict[str, str]:
    told = [event.detail for event in study.events if event.kind == "object_not_built"]
    return {str(detail["kind_of_object"]): str(detail["reason"]) for detail in told}


def test_a_radiograph_gets_region_and_key_image_and_no_invented_geometry(node: Node, phantom: Draw) -> None:
    send_to(node, EVERYTHING)
    dataset = phantom(1, {"pneumothorax"})
    objects = sent_to(node, analysed(node, dataset), PACS)
    assert objects.keys() == {"SR", "SC", "SEG", "KO"}
    assert all(is_own_result(made) for made in objects.values())
    segmentation = objects["SEG"]
    assert (segmentation.Rows, segmentation.Columns) == (dataset.Rows, dataset.Columns)
    share = segmentation.pixel_array.mean()
    assert 0 < share < 0.5
    tracked = {str(element.value) for element in objects["SR"].iterall() if element.keyword == "UID"}
    assert {str(segment.TrackingUID) for segment in segmentation.SegmentSequence} <= tracked
    shown = explanations(objects["SR"])
    assert [str(item.ReferencedSOPInstanceUID) for item in shown] == [
        str(objects[kind].SOPInstanceUID) for kind in ("SC", "SEG")
    ]
    assert shown[1].ReferencedSegmentNumber == 1
    (series_item,) = objects["KO"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    (key,) = series_item.ReferencedSOPSequence
    assert key.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    reasons = missing(node.study(dataset))
    assert reasons.keys() == {"PM"}
    assert "not available for this image" in reasons["PM"]


def explanations(report: Dataset) -> list[Dataset]:
    """What the report names as Visual explanation (130401, DCM), in its order."""
    return [
        item.ReferencedSOPSequence[0]
        for item in report.iterall()
        if item.keyword == "ContentSequence"
        for item in item.value
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == "130401"
    ]


def test_the_map_of_a_radiograph_in_256_steps(node: Node, phantom: Draw) -> None:
    send_to(node, {"address": PACS, "objects": ["SR", "SEG"], "segmentation": "fractional", "compression": "rle"})
    dataset = phantom(1, {"pneumothorax"})
    segmentation = sent_to(node, analysed(node, dataset), PACS)["SEG"]
    assert segmentation.SegmentationType == "FRACTIONAL"
    assert segmentation.pixel_array.shape[-2:] == (dataset.Rows, dataset.Columns)
    assert len(np.unique(segmentation.pixel_array)) > 50


def test_where_nothing_is_found_nothing_is_flagged_and_nothing_is_missing(node: Node, phantom: Draw) -> None:
    send_to(node, EVERYTHING)
    dataset = phantom(1)
    objects = sent_to(node, analysed(node, dataset), PACS)
    assert objects.keys() == {"SR", "SC"}
    assert missing(node.study(dataset)) == {}


def test_a_key_slice_gets_its_map_where_it_lies(node: Node) -> None:
    send_to(node, EVERYTHING)
    slices = series(1, "epidural")
    read(node, *slices)
    (analysis,) = node.study(slices[0]).analyses
    objects = sent_to(node, analysis, PACS)
    assert objects.keys() == {"SR", "SC", "SEG", "PM", "KO"}
    assert [str(item.ReferencedSOPInstanceUID) for item in explanations(objects["SR"])] == [
        str(objects[kind].SOPInstanceUID) for kind in ("SC", "SEG", "PM")
    ]
    assert explanations(objects["SR"])[2].ReferencedFrameNumber == 1
    shown = objects["SC"].SourceImageSequence[0].ReferencedSOPInstanceUID
    (key,) = [each for each in slices if each.SOPInstanceUID == shown]
    for kind in ("SEG", "PM"):
        (frame,) = objects[kind].PerFrameFunctionalGroupsSequence
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == key.SOPInstanceUID
        assert frame.PlanePositionSequence[0].ImagePositionPatient == key.ImagePositionPatient
        assert objects[kind].FrameOfReferenceUID == key.FrameOfReferenceUID
    activation, region = objects["PM"].pixel_array, objects["SEG"].pixel_array
    assert activation.shape == region.shape == (key.Rows, key.Columns)
    assert activation[region > 0].mean() > activation[region == 0].mean()


def test_a_key_slice_is_explained_again_for_a_destination_that_comes_later(node: Node, tmp_path: Path) -> None:
    """What it gets is what it would have got."""
    send_to(node, {"address": "FIRST@h:1"}, {**EVERYTHING, "compression": "rle"})
    slices = series(1, "epidural")
    read(node, *slices)
    late = Destination.model_validate({**EVERYTHING, "address": "LATE@h:1", "compression": "rle"})
    items = look(node.bench, str(slices[0].StudyInstanceUID), late)
    rows = {item.kind: item.row for item in items}
    again: dict[str, bytes] = {}

    def keep(made: Rebuilt) -> BuiltObject:
        assert isinstance(made.content, Dataset)
        digest, size = files.write(made.content, tmp_path / made.kind)
        again[made.kind] = (tmp_path / made.kind).read_bytes()
        return BuiltObject(
            kind=made.kind, variant=made.variant, sop_instance_uid=str(made.content.SOPInstanceUID),
            sop_class_uid=str(made.content.SOPClassUID), series_instance_uid=str(made.content.SeriesInstanceUID),
            transfer_syntax_uid="", relative_path=made.kind, sha256=digest, size=size,
            source_instance_id=made.source_instance_id,
        )  # fmt: skip

    built, failed = rebuild_objects(
        node.bench, late, [replace(item, standing=Standing.NOT_BUILT) for item in items], keep
    )
    assert (len(built), failed) == (5, [])
    assert again == {
        kind: (node.bench.settings.results / row.relative_path).read_bytes() for kind, row in rows.items() if row
    }


def test_a_report_names_nothing_that_its_destination_does_not_get(node: Node, phantom: Draw) -> None:
    send_to(node, {"address": "PLAIN@h:1"}, EVERYTHING, {"address": "OTHER@h:1", "objects": ["SR", "SEG", "PR"]})
    analysis = analysed(node, phantom(1, {"pneumothorax"}))
    for address, kinds in (("PLAIN@h:1", {"SC"}), (PACS, {"SC", "SEG"}), ("OTHER@h:1", {"SEG"})):
        objects = sent_to(node, analysis, address)
        named = {str(item.ReferencedSOPInstanceUID) for item in explanations(objects["SR"])}
        assert named == {str(objects[kind].SOPInstanceUID) for kind in kinds}
        assert evidence(objects["SR"]) >= named


def test_key_images_that_hold_no_more_are_told_of(node: Node, phantom: Draw) -> None:
    """A key object selection cannot be replaced by its like: the case says where one must be withdrawn."""
    send_to(node, EVERYTHING)
    first, second, third = phantom(1, {"pneumothorax"}), phantom(2), phantom(3)
    analysed(node, first)
    with node.bench.database.write() as session:
        session.execute(sa.update(tables.Finding).values(positive=False, value=0.0))  # as if corrected
    for dataset in (second, third):
        dataset.StudyInstanceUID, dataset.PatientID = first.StudyInstanceUID, first.PatientID
        dataset.PatientName, dataset.PatientBirthDate = first.PatientName, first.PatientBirthDate
        node.receive(dataset)
        analyse_due(node.bench)
    study = node.study(first)
    assert [sum(row.kind == "KO" for row in analysis.result_objects) for analysis in study.analyses] == [1, 0, 0]
    told = [event.detail for event in study.events if event.kind == "key_images_stand"]
    assert told == [{"destination": PACS, "revision": 1}]


def test_they_come_back_when_the_database_is_lost(node: Node, phantom: Draw, tmp_path: Path) -> None:
    """Also those of an image whose header was corrected before its study was complete."""
    send_to(node, {**EVERYTHING, "objects": ["SR", "SC", "SEG", "PR", "KO"]})
    dataset = phantom(1, {"pneumothorax"})
    association = node.receive(dataset, close=False)
    analyse_due(node.bench)
    dataset.SeriesDescription = "corrected"
    node.receive(dataset)
    node.close(association)
    analyse_due(node.bench)
    data = tmp_path / "again"
    for name in ("archive", "results"):
        shutil.copytree(node.bench.settings.data / name, data / name)
    with opened(data) as fresh:
        send_to(fresh, {**EVERYTHING, "objects": ["SR", "SC", "SEG", "PR", "KO"]})
        rebuild(stopped(fresh), owe=True)
        before, after = told(node, dataset), told(fresh, dataset)
        assert after == before
        assert {kind for kind, *_ in after} == {"SR", "SC", "SEG", "PR", "KO"}


def told(node: Node, dataset: Dataset) -> set[tuple[str, str, str, str, int | None, int]]:
    return {
        (row.kind, row.variant, row.sop_instance_uid, row.sha256, row.source_instance_id, len(row.deliveries))
        for analysis in node.study(dataset).analyses
        for row in analysis.result_objects
        if row.deliveries
    }
