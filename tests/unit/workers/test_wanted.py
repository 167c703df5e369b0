"""Destinations that want different things get each its own: built once per variant, owed, sent, whole in itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pydicom
import pytest
from node_under_test import Node
from pydicom.dataset import Dataset

from dicom_node.stand_in_pacs import StandInPacs
from triage import tables
from triage.peers import Destination
from triage.states import AnalysisStatus, DeliveryStatus
from workers.analysis import analyse_due
from workers.delivery import deliver_due
from workers.wanted import wanted_objects

Draw = Callable[..., Dataset]


def send_to(node: Node, *tables: Mapping[str, object]) -> None:
    destinations = tuple(Destination.model_validate(table) for table in tables)
    node.bench.settings = node.bench.settings.model_copy(update={"destinations": destinations})


def analysed(node: Node, dataset: Dataset) -> tables.Analysis:
    node.receive(dataset)
    assert analyse_due(node.bench) == 1
    (analysis,) = node.study(dataset).analyses
    assert analysis.status is AnalysisStatus.SUCCEEDED, analysis.reason
    return analysis


def sent_to(node: Node, analysis: tables.Analysis, address: str) -> dict[str, Dataset]:
    return {
        row.kind: pydicom.dcmread(node.bench.settings.results / row.relative_path)
        for row in analysis.result_objects
        if address in {delivery.destination for delivery in row.deliveries}
    }


def evidence(document: Dataset) -> set[str]:
    return {
        str(reference.ReferencedSOPInstanceUID)
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


def test_what_several_want_is_built_once(node: Node) -> None:
    send_to(
        node, {"address": "A@h:1"}, {"address": "B@h:1", "compression": "jpeg"},
        {"address": "C@h:1", "compression": "jpeg"}, {"address": "mllp://h:1"},
    )  # fmt: skip
    wanted = wanted_objects(node.bench.settings)
    assert [(each.kind, bool(each.variant)) for each in wanted] == [
        ("SR", False), ("SR", True), ("SC", False), ("SC", True),
    ]  # fmt: skip


def test_each_destination_gets_objects_that_fit_together(node: Node, phantom: Draw) -> None:
    send_to(
        node,
        {"address": "PLAIN@h:1"},
        {"address": "OLD@h:1", "compression": "jpeg", "character_set": "ascii", "series_number": 500},
        {"address": "MARKLESS@h:1", "heat_map": False},
    )
    dataset = phantom(1, {"pneumothorax"})
    analysis = analysed(node, dataset)
    plain, old, markless = (sent_to(node, analysis, f"{name}@h:1") for name in ("PLAIN", "OLD", "MARKLESS"))
    assert (plain.keys(), old.keys(), markless.keys()) == ({"SR", "SC"}, {"SR", "SC"}, {"SR"})
    source = str(dataset.SOPInstanceUID)
    for objects in (plain, old):
        assert evidence(objects["SR"]) == {source, str(objects["SC"].SOPInstanceUID)}
    assert evidence(markless["SR"]) == {source}
    assert old["SC"].file_meta.TransferSyntaxUID.is_compressed
    assert [old[kind].SeriesNumber for kind in ("SR", "SC")] == [500, 501]
    everything = [str(o.SOPInstanceUID) for objects in (plain, old, markless) for o in objects.values()]
    assert len(set(everything)) == len(everything)


def test_a_second_revision_names_the_report_that_the_destination_has(node: Node, phantom: Draw) -> None:
    send_to(node, {"address": "OLD@h:1", "series_number": 500})
    first = phantom(1, {"pneumothorax"})
    analysed(node, first)
    second = phantom(2)
    second.StudyInstanceUID, second.PatientID = first.StudyInstanceUID, first.PatientID
    second.PatientName, second.PatientBirthDate = first.PatientName, first.PatientBirthDate
    node.receive(second)
    analyse_due(node.bench)
    earlier, later = (sent_to(node, analysis, "OLD@h:1")["SR"] for analysis in node.study(first).analyses)
    predecessor = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert later.SeriesInstanceUID == earlier.SeriesInstanceUID


def test_a_report_in_a_new_form_names_the_one_that_its_reader_has(node: Node, phantom: Draw) -> None:
    """Options may change between two looks, from and to the default form."""
    send_to(node, {"address": "A@h:1", "series_number": 500}, {"address": "B@h:1"}, {"address": "C@h:1"})
    first = phantom(1, {"pneumothorax"})
    analysis = analysed(node, first)
    before = {name: sent_to(node, analysis, f"{name}@h:1")["SR"] for name in "AB"}
    send_to(node, {"address": "A@h:1"}, {"address": "B@h:1", "series_number": 700}, {"address": "D@h:1",
            "series_number": 500})  # fmt: skip
    second = phantom(2)
    second.StudyInstanceUID, second.PatientID = first.StudyInstanceUID, first.PatientID
    second.PatientName, second.PatientBirthDate = first.PatientName, first.PatientBirthDate
    node.receive(second)
    analyse_due(node.bench)
    later = node.study(first).analyses[1]
    for name, named in (("A", before["A"]), ("B", before["B"]), ("D", before["A"])):
        report = sent_to(node, later, f"{name}@h:1")["SR"]
        (series,) = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == named.SOPInstanceUID, name
        assert series.SeriesInstanceUID == named.SeriesInstanceUID, name


def test_a_destination_that_came_meanwhile_gets_the_pictures_that_the_new_report_names(
    node: Node, phantom: Draw
) -> None:
    first = phantom(1, {"pneumothorax"})
    analysed(node, first)
    send_to(node, {"address": "NEW@h:1"}, {"address": "OLD@h:1", "compression": "jpeg"}, {"address": "KO@h:1",
            "objects": ["SC", "KO"]})  # fmt: skip
    second = phantom(2)
    second.StudyInstanceUID, second.PatientID = first.StudyInstanceUID, first.PatientID
    second.PatientName, second.PatientBirthDate = first.PatientName, first.PatientBirthDate
    node.receive(second)
    analyse_due(node.bench)
    sources = {str(first.SOPInstanceUID), str(second.SOPInstanceUID)}
    rows = [row for analysis in node.study(first).analyses for row in analysis.result_objects]
    for address in ("NEW@h:1", "OLD@h:1"):
        sent = {row.sop_instance_uid: row for row in rows if address in {d.destination for d in row.deliveries}}
        (report,) = [row for row in sent.values() if row.kind == "SR"]
        named = evidence(pydicom.dcmread(node.bench.settings.results / report.relative_path))
        assert named - sources == sent.keys() - {report.sop_instance_uid}
        assert len(named) == 4
    assert not [row for row in rows[:2] if "KO@h:1" in {d.destination for d in row.deliveries}]


def test_what_cannot_be_made_for_one_holds_up_nobody(node: Node, phantom: Draw, tmp_path: Path) -> None:
    with StandInPacs(tmp_path / "pacs") as pacs:
        send_to(node, {"address": str(pacs.address)}, {"address": "OLD@h:1", "character_set": "ascii"})
        dataset = phantom(1, {"pneumothorax"})
        dataset.SpecificCharacterSet, dataset.PatientID = "ISO_IR 192", "Ä-1"
        analysis = analysed(node, dataset)
        assert deliver_due(node.bench, str(pacs.address)) == 2
    assert not sent_to(node, analysis, "OLD@h:1")
    told = [event.detail for event in node.study(dataset).events if event.kind == "object_not_built"]
    assert sorted(detail["kind_of_object"] for detail in told) == ["SC", "SR"]
    assert all("Patient ID has characters" in detail["reason"] and "Ä" not in detail["reason"] for detail in told)


@pytest.mark.parametrize("name", ["Müller^Jörg", "Пётр^Щукин"])
def test_a_name_in_other_letters_is_still_the_patient(node: Node, phantom: Draw, tmp_path: Path, name: str) -> None:
    with StandInPacs(tmp_path / "pacs") as pacs:
        send_to(node, {"address": str(pacs.address), "character_set": "ascii"})
        dataset = phantom(1)
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", name
        analysis = analysed(node, dataset)
        assert deliver_due(node.bench, str(pacs.address)) == 2
    sent = sent_to(node, analysis, str(pacs.address))
    assert {str(made.PatientName) for made in sent.values()} <= {"Muller^Jorg", "Petr^Shchukin"}


def test_a_kind_that_this_version_cannot_reach_waits_and_says_so(node: Node, phantom: Draw) -> None:
    send_to(node, {"address": "PACS@h:1"})
    dataset = phantom(1)
    analysis = analysed(node, dataset)
    with node.bench.database.write() as session:
        row = session.get_one(tables.ResultObject, analysis.result_objects[0].id)
        row.deliveries.append(tables.Delivery(destination="webhook+https://gone/x", created_at=node.clock()))
    assert deliver_due(node.bench, "webhook+https://gone/x") == 0
    (waiting,) = [
        delivery
        for row in node.study(dataset).analyses[0].result_objects
        for delivery in row.deliveries
        if delivery.destination.startswith("webhook")
    ]
    assert waiting.status is DeliveryStatus.PENDING
    assert "not in the settings any more" in waiting.reason
