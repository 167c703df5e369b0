"""Verdicts become a document of their own: due after a minute or when the case is read, once, superseding."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
from content_trees import children, evidence_of, groups
from node_under_test import Node, opened
from pydicom.dataset import Dataset

from triage import tables
from triage.assessment import Opinion, OpinionReason
from triage.errors import NotFoundError, StateError
from triage.peers import Destination
from triage.repositories import missed, verdicts, worklist
from triage.states import DeliveryStatus
from workers.analysis import analyse_due
from workers.assessing import assess_due
from workers.custody import Inspection
from workers.reindexing import rebuild

Draw = Callable[..., Dataset]


def analysed(node: Node, phantom: Draw) -> Dataset:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    return dataset


def finding(node: Node, dataset: Dataset, key: str = "pneumothorax", look: int = -1) -> tables.Finding:
    return next(f for i in node.study(dataset).analyses[look].images for f in i.findings if f.key == key)


def judge(node: Node, dataset: Dataset, finding_id: int, opinion: Opinion = Opinion.AGREE, who: str = "weber") -> None:
    reason = None if opinion is Opinion.AGREE else OpinionReason.ARTEFACT
    with node.bench.database.write() as session:
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID), to_change=True)
        verdicts.give(session, study, finding_id, opinion, reason=reason, comment="", who=who, at=node.clock())


def documents(node: Node, dataset: Dataset) -> list[tables.ResultObject]:
    rows = [r for a in node.study(dataset).analyses for r in a.result_objects if r.kind == "ASSESSMENT"]
    return sorted(rows, key=lambda row: row.id)


def content(node: Node, row: tables.ResultObject) -> Dataset:
    return pydicom.dcmread(node.bench.settings.results / row.relative_path)


def due(node: Node) -> bool:
    with node.bench.database.read() as session:
        return verdicts.any_due(session, node.clock())


def test_an_assessment_comes_back_when_the_database_is_lost(node: Node, phantom: Draw, tmp_path: Path) -> None:
    """Behind its report, with its number, owed only when asked for; the next one would be another document."""
    pacs = Destination.model_validate({"address": "OLD@h:1", "series_number": 500})
    node.bench.settings = node.bench.settings.model_copy(update={"destinations": (pacs,)})
    dataset = analysed(node, phantom)
    for opinion in (Opinion.AGREE, Opinion.DISAGREE):
        judge(node, dataset, finding(node, dataset).id, opinion)
        node.clock.pass_by(minutes=2)
        assert assess_due(node.bench) == 1
    before = {row.sop_instance_uid: (row.variant, row.sha256) for row in documents(node, dataset)}
    assert len(before) == 4  # of two verdicts, in the default form and in that of the destination
    for name in ("archive", "results"):
        shutil.copytree(node.bench.settings.data / name, tmp_path / "again" / name)
    with opened(tmp_path / "again") as fresh:
        fresh.bench.settings = fresh.bench.settings.model_copy(update={"destinations": (pacs,)})
        inspection = Inspection(
            settings=fresh.bench.settings, database=fresh.bench.database, archive=fresh.bench.archive,
            clock=fresh.clock, live=False, deep=True,
        )  # fmt: skip
        recovered = rebuild(inspection, owe=True)
        rows = documents(fresh, dataset)
        with fresh.bench.database.read() as session:
            (assessment,) = session.scalars(sa.select(tables.Assessment))
    assert (recovered.reports, recovered.assessments) == (1, 4)
    assert {row.sop_instance_uid: (row.variant, row.sha256) for row in rows} == before
    assert [len(row.deliveries) for row in rows] == [bool(row.variant) for row in rows]
    assert (assessment.who, assessment.documents, assessment.due_at) == ("weber", 2, None)


def test_a_minute_after_the_last_verdict_the_destinations_are_owed_an_assessment(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    judge(node, dataset, finding(node, dataset).id)
    node.clock.pass_by(seconds=59)
    assert not due(node)
    judge(node, dataset, finding(node, dataset, "cardiomegaly").id, Opinion.DISAGREE)
    node.clock.pass_by(seconds=59)
    assert assess_due(node.bench) == 0
    node.clock.pass_by(seconds=2)
    assert due(node)
    assert assess_due(node.bench) == 1
    assert not due(node)
    assert assess_due(node.bench) == 0
    (row,) = documents(node, dataset)
    owed = sorted((d.destination, d.status) for d in row.deliveries)
    assert owed == [
        ("ARCHIVE@127.0.0.1:9", DeliveryStatus.PENDING),
        ("PACS@127.0.0.1:9", DeliveryStatus.PENDING),
    ]
    document = content(node, row)
    assert len(groups(document)) == 2
    assert document.PatientID == dataset.PatientID
    (analysis,) = node.study(dataset).analyses
    report = next(r for r in analysis.result_objects if r.kind == "SR")
    assert children(document, "128225")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report.sop_instance_uid
    assert evidence_of(document)[report.series_instance_uid] == [report.sop_instance_uid]
    told = [event.kind for event in node.study(dataset).events]
    assert (told.count("verdict_given"), told.count("assessment_issued")) == (2, 1)


def test_when_the_case_is_read_nobody_waits(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    judge(node, dataset, finding(node, dataset).id)
    with node.bench.database.write() as session:
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID), to_change=True)
        worklist.mark_read(session, study, who="weber", at=node.clock())
    assert assess_due(node.bench) == 1


def test_a_later_verdict_supersedes_and_the_history_stays(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    about = finding(node, dataset).id
    for opinion in (Opinion.AGREE, Opinion.DISAGREE):
        judge(node, dataset, about, opinion)
        node.clock.pass_by(minutes=2)
        assess_due(node.bench)
    first, second = (content(node, row) for row in documents(node, dataset))
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    with node.bench.database.read() as session:
        given = session.scalars(sa.select(tables.FindingVerdict).order_by(tables.FindingVerdict.id)).all()
        assert [v.opinion for v in given] == [Opinion.AGREE, Opinion.DISAGREE]
        assert verdicts.standing(session, about).opinion is Opinion.DISAGREE


def test_two_people_have_a_document_each(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    about = finding(node, dataset).id
    judge(node, dataset, about, who="weber")
    judge(node, dataset, about, Opinion.CANNOT_TELL, who="fischer")
    node.clock.pass_by(minutes=2)
    assert assess_due(node.bench) == 2
    one, other = (content(node, row) for row in documents(node, dataset))
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    assert "PredecessorDocumentsSequence" not in other


def test_the_same_verdict_once_more_makes_no_document(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    about = finding(node, dataset).id
    judge(node, dataset, about)
    node.clock.pass_by(minutes=2)
    assess_due(node.bench)
    judge(node, dataset, about)
    node.clock.pass_by(minutes=2)
    assert assess_due(node.bench) == 0
    assert len(documents(node, dataset)) == 1


def test_a_verdict_that_comes_while_the_document_is_built_is_not_left_out(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    judge(node, dataset, finding(node, dataset).id)
    node.clock.pass_by(minutes=2)
    with node.bench.database.read() as session:
        (draft,) = verdicts.due(session, node.clock(), 9)
    judge(node, dataset, finding(node, dataset, "cardiomegaly").id)
    with node.bench.database.write() as session:
        assert verdicts.conclude(session, draft, [], at=node.clock()) == []
    assert assess_due(node.bench) == 0
    node.clock.pass_by(minutes=2)
    assert assess_due(node.bench) == 1
    assert len(groups(content(node, documents(node, dataset)[0]))) == 2


def test_a_document_that_cannot_be_built_is_tried_again_and_given_up(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    judge(node, dataset, finding(node, dataset).id)
    shutil.rmtree(node.bench.settings.results)
    for _ in range(verdicts.ATTEMPTS + 2):
        node.clock.pass_by(hours=2)
        assert assess_due(node.bench) == 0
    told = [event for event in node.study(dataset).events if event.kind == "assessment_failed"]
    assert [event.detail["reason"] for event in told] == [
        "The report that the verdicts are about is not here any more."
    ]
    assert not due(node)


def test_only_what_a_report_says_can_be_judged(node: Node, phantom: Draw) -> None:
    dataset = phantom(1, {"pneumothorax"})
    association = node.receive(dataset, close=False)
    analyse_due(node.bench)  # scored, and the report waits for the rest of the study
    with pytest.raises(StateError, match="No report"):
        judge(node, dataset, finding(node, dataset).id)
    node.close(association)
    analyse_due(node.bench)
    other = phantom(2)
    node.receive(other)
    analyse_due(node.bench)
    with pytest.raises(NotFoundError):
        judge(node, dataset, finding(node, other).id)
    judge(node, dataset, finding(node, dataset).id)


def test_who_has_the_report_in_a_form_of_its_own_gets_the_assessment_of_that(node: Node, phantom: Draw) -> None:
    special = Destination.model_validate({"address": "SPECIAL@127.0.0.1:9", "series_number": 500, "heat_map": False})
    pictures = Destination.model_validate({"address": "PICTURES@127.0.0.1:9", "objects": ["SC"]})
    plain = Destination.model_validate({"address": "PLAIN@127.0.0.1:9"})
    node.bench.settings = node.bench.settings.model_copy(update={"destinations": (special, pictures, plain)})
    dataset = analysed(node, phantom)
    judge(node, dataset, finding(node, dataset).id)
    node.clock.pass_by(minutes=2)
    assert assess_due(node.bench) == 1
    told = {d.destination: content(node, row) for row in documents(node, dataset) for d in row.deliveries}
    assert told.keys() == {"SPECIAL@127.0.0.1:9", "PLAIN@127.0.0.1:9"}
    (analysis,) = node.study(dataset).analyses
    reports = {d.destination: r for r in analysis.result_objects if r.kind == "SR" for d in r.deliveries}
    for address, document in told.items():
        named = children(document, "128225")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert named == reports[address].sop_instance_uid
    assert {address: document.SeriesNumber for address, document in told.items()} == {
        "SPECIAL@127.0.0.1:9": 507,
        "PLAIN@127.0.0.1:9": 9008,
    }


def test_a_case_that_somebody_else_reads_is_theirs_to_judge(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    with node.bench.database.write() as session:
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID), to_change=True)
        worklist.claim(session, study, who="fischer", at=node.clock())
    with pytest.raises(StateError, match="fischer"):
        judge(node, dataset, finding(node, dataset).id, who="weber")
    judge(node, dataset, finding(node, dataset).id, who="fischer")


def mark(node: Node, dataset: Dataset, key: str, text: str = "", who: str = "weber") -> int:
    with node.bench.database.write() as session:
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID), to_change=True)
        row = missed.record(session, study, key, laterality=None, text=text, who=who, at=node.clock())
        return row.id


def test_what_was_missed_stands_in_the_assessment_and_is_taken_back_in_the_next(node: Node, phantom: Draw) -> None:
    dataset = analysed(node, phantom)
    first = mark(node, dataset, "nodule_mass")
    mark(node, dataset, "", "rib fracture")
    node.clock.pass_by(seconds=61)
    assert assess_due(node.bench) == 1
    (row,) = documents(node, dataset)
    document = content(node, row)
    nodule, other = groups(document)
    assert [item.ConceptCodeSequence[0].CodeMeaning for item in children(nodule, "27925004")] == ["Present"]
    assert [item.TextValue for item in children(other, "121106")] == ["Missed by the AI", "rib fracture"]
    assert str(dataset.SOPInstanceUID) in str(evidence_of(document))
    with node.bench.database.write() as session:
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID), to_change=True)
        missed.withdraw(session, study, first, who="weber", at=node.clock())
    node.clock.pass_by(seconds=61)
    assert assess_due(node.bench) == 1
    before, after = documents(node, dataset)
    assert before.sop_instance_uid != after.sop_instance_uid
    nodule, _ = groups(content(node, after))
    assert [item.ConceptCodeSequence[0].CodeMeaning for item in children(nodule, "27925004")] == ["Absent"]
    judge(node, dataset, finding(node, dataset).id)
    node.clock.pass_by(seconds=61)
    assert assess_due(node.bench) == 1
    assert len(groups(content(node, documents(node, dataset)[-1]))) == 3
