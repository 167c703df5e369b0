"""A destination that came later, or wants something else now: what it would get, and getting it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from node_under_test import Node
from pydicom.dataset import Dataset

from dicom_node.results import files
from dicom_node.stand_in_pacs import StandInPacs
from triage.errors import NotFoundError, ResultError
from triage.peers import Destination
from triage.repositories.previews import Previewed, Standing
from triage.repositories.results import BuiltObject
from workers.analysis import analyse_due
from workers.delivery import deliver_due
from workers.rebuilding import Rebuilt, rebuild
from workers.sending_again import look, owe_study

Draw = Callable[..., Dataset]
OLD_PACS = {"compression": "jpeg", "character_set": "ascii", "series_number": 500}


def send_to(node: Node, *tables: Mapping[str, object]) -> tuple[Destination, ...]:
    destinations = tuple(Destination.model_validate(table) for table in tables)
    node.bench.settings = node.bench.settings.model_copy(update={"destinations": destinations})
    return destinations


def analysed(node: Node, *datasets: Dataset) -> str:
    node.receive(*datasets)
    assert analyse_due(node.bench) == 1
    return str(datasets[0].StudyInstanceUID)


def standings(items: list[Previewed]) -> list[tuple[str, Standing]]:
    return [(item.kind, item.standing) for item in items]


def test_a_preview_tells_what_a_destination_has(node: Node, phantom: Draw) -> None:
    had, late = send_to(node, {"address": "HAD@h:1"}, {"address": "LATE@h:1", **OLD_PACS})
    send_to(node, {"address": "HAD@h:1"})
    study = analysed(node, phantom(1, {"pneumothorax"}))
    assert standings(look(node.bench, study, had)) == [("SC", Standing.OWED), ("SR", Standing.OWED)]
    assert standings(look(node.bench, study, late)) == [("SC", Standing.NOT_BUILT), ("SR", Standing.NOT_BUILT)]
    (plain,) = send_to(node, {"address": "PLAIN@h:1"})
    assert standings(look(node.bench, study, plain)) == [("SC", Standing.HERE), ("SR", Standing.HERE)]
    (changed,) = send_to(node, {"address": "HAD@h:1", "objects": ["SR"]})
    assert standings(look(node.bench, study, changed)) == [
        ("SR", Standing.NOT_BUILT), ("SC", Standing.FORMER), ("SR", Standing.FORMER),
    ]  # fmt: skip


def test_what_was_never_analysed_has_nothing_to_send(node: Node, phantom: Draw) -> None:
    (late,) = send_to(node, {"address": "LATE@h:1"})
    node.receive(dataset := phantom(1))
    assert look(node.bench, str(dataset.StudyInstanceUID), late) == []
    with pytest.raises(NotFoundError, match="no result yet"):
        owe_study(node.bench, str(dataset.StudyInstanceUID), late, who="test")
    with pytest.raises(NotFoundError):
        look(node.bench, "1.2.3", late)


def test_a_destination_that_came_later_gets_a_study_in_its_form(node: Node, phantom: Draw, tmp_path: Path) -> None:
    send_to(node, {"address": "FIRST@h:1"})
    study = analysed(node, phantom(1, {"pneumothorax"}))
    with StandInPacs(tmp_path / "pacs") as pacs:
        (late,) = send_to(node, {"address": str(pacs.address), **OLD_PACS})
        came = owe_study(node.bench, study, late, who="test")
        assert (came.owed, came.built, came.already, came.not_built) == (2, 2, 0, ())
        assert deliver_due(node.bench, str(pacs.address)) == 2
        picture, report = [item.header for item in pacs.received]
    assert (picture.modality, report.modality) == ("OT", "SR")
    again = owe_study(node.bench, study, late, who="test")
    assert (again.owed, again.built, again.already) == (0, 0, 2)
    document = next(
        pydicom.dcmread(node.bench.settings.results / item.row.relative_path)
        for item in look(node.bench, study, late)
        if item.kind == "SR" and item.row is not None
    )
    assert (document.SeriesNumber, document.SOPInstanceUID) == (500, report.sop_instance_uid)
    referred = {
        str(reference.ReferencedSOPInstanceUID)
        for series in document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert picture.sop_instance_uid in referred


def test_what_is_rebuilt_is_what_was_built(node: Node, phantom: Draw, tmp_path: Path) -> None:
    everything = ["SR", "SC", "SEG", "KO"]
    destination, _ = send_to(node, {"address": "OLD@h:1", "objects": everything, **OLD_PACS}, {"address": "PLAIN@h:1"})
    study = analysed(node, phantom(1, {"pneumothorax"}))
    items = look(node.bench, study, destination)
    stored = {
        item.kind: (node.bench.settings.results / item.row.relative_path).read_bytes()
        for item in items
        if item.row is not None
    }
    seen: dict[str, bytes] = {}

    def keep(made: Rebuilt) -> BuiltObject:
        assert isinstance(made.content, Dataset)
        files.write(made.content, tmp_path / made.kind)
        seen[made.kind] = (tmp_path / made.kind).read_bytes()
        row = next(item.row for item in items if item.kind == made.kind)
        assert row is not None
        return BuiltObject(
            kind=row.kind, variant=row.variant, sop_instance_uid=row.sop_instance_uid, sop_class_uid=row.sop_class_uid,
            series_instance_uid=row.series_instance_uid, transfer_syntax_uid="", relative_path="", sha256="", size=0,
            source_instance_id=row.source_instance_id,
        )  # fmt: skip

    rebuild(node.bench, destination, [replace(item, standing=Standing.NOT_BUILT) for item in items], keep)
    assert seen == stored
    assert seen.keys() == set(everything)


def test_a_message_is_built_for_who_came_later(node: Node, phantom: Draw) -> None:
    send_to(node, {"address": "FIRST@h:1"})
    study = analysed(node, phantom(1, {"pneumothorax"}))
    (late,) = send_to(node, {"address": "orthanc+http://h:1"})
    came = owe_study(node.bench, study, late, who="test")
    assert (came.owed, came.built) == (1, 1)
    (item,) = look(node.bench, study, late)
    assert item.row is not None
    assert item.row.identity["patient_id"]
    assert b'"ai-stat"' in (node.bench.settings.results / item.row.relative_path).read_bytes()


def test_a_study_that_has_grown_is_not_told_anew(node: Node, phantom: Draw) -> None:
    send_to(node, {"address": "FIRST@h:1"})
    first = phantom(1, {"pneumothorax"})
    study = analysed(node, first)
    second = phantom(2)
    second.StudyInstanceUID, second.PatientID = first.StudyInstanceUID, first.PatientID
    second.PatientName, second.PatientBirthDate = first.PatientName, first.PatientBirthDate
    node.receive(second)
    (late,) = send_to(node, {"address": "LATE@h:1", **OLD_PACS})
    came = owe_study(node.bench, study, late, who="test")
    assert came.owed == 0
    assert all("has grown" in missing.reason for missing in came.not_built)
    with pytest.raises(ResultError, match="has grown"):
        rebuild(node.bench, late, look(node.bench, study, late), lambda _made: pytest.fail("built"))
