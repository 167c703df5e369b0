"""A person's verdicts as a document: about the AI's findings, in the patient's name, by the person."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import pytest
from content_trees import children, evidence_of, groups, texts, walk
from pydicom.dataset import Dataset
from result_cases import ALGORITHM, NODE, objects, positive, radiograph, tool, validator_errors

from dicom_node.results import build_assessment, is_own_result
from dicom_node.results.files import write
from dicom_node.results.rereading import read_report
from triage.assessment import Assessed, Opinion, OpinionReason
from triage.errors import DicomError, ResultError
from triage.findings import Laterality

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SOURCE_REPORT, CATEGORY = "128225", "111005"


def verdict_on(source: Dataset, which: int, opinion: Opinion, **more: object) -> Assessed:
    finding = positive(source).findings[which]
    given = {"reason": None, "comment": "", "at": AT, **more}
    return Assessed(sop_instance_uid=str(source.SOPInstanceUID), finding=finding, opinion=opinion, **given)  # type: ignore[arg-type]


def assessment(source: Dataset, *assessed: Assessed, **changes: object) -> Dataset:
    arguments: dict[str, object] = {
        "images": {source.SOPInstanceUID: source}, "algorithm": ALGORITHM, "person": "weber", "node": NODE,
        "number": 7, "serial": 1, "predecessor": None,
    }  # fmt: skip
    return build_assessment(objects(source)["SR"], assessed, **(arguments | changes))  # type: ignore[arg-type]


def coded(group: Dataset, concept: str) -> list[str]:
    return [item.ConceptCodeSequence[0].CodeMeaning for item in children(group, concept)]


def test_each_verdict_says_what_the_person_sees_and_whether_the_ai_saw_it_too() -> None:
    source = radiograph()
    effusion, pneumothorax = 0, 1  # absent and present, says the AI
    document = assessment(
        source,
        verdict_on(source, effusion, Opinion.DISAGREE, reason=OpinionReason.MISSED),
        verdict_on(source, pneumothorax, Opinion.AGREE),
    )
    first, second = groups(document)
    assert coded(first, "60046008") == ["Present"]
    assert coded(first, CATEGORY) == ["Disagreement with prior findings"]
    assert [item.TextValue for item in children(first, "121106")] == ["Reason: it is there and was missed"]
    assert coded(second, "36118008") == ["Present"]
    assert coded(second, CATEGORY) == ["Agreement with prior findings"]
    undecided = groups(assessment(source, verdict_on(source, pneumothorax, Opinion.CANNOT_TELL)))[0]
    assert (coded(undecided, "36118008"), coded(undecided, CATEGORY)) == (["Indeterminate"], ["Indeterminate"])
    assert texts(document)[0] == (
        "AI firstread: verdicts of weber on findings of cxr-research 1.2.0: 1 agreed, 1 disagreed."
    )
    assert texts(document)[1] == (
        'Image 1.2.3.4.5: disagrees with "Pleural effusion 0.12 < 0.60 negative": it is there and was missed.'
    )


def test_it_tracks_what_the_report_tracks_and_names_it() -> None:
    source = radiograph()
    report = objects(source)["SR"]
    document = assessment(source, verdict_on(source, 1, Opinion.AGREE))
    assert [children(g, "112040")[0].UID for g in groups(document)] == [
        children(g, "112040")[0].UID for g in groups(report)
    ]
    (named,) = children(document, SOURCE_REPORT)
    assert (named.ValueType, named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) == (
        "COMPOSITE",
        report.SOPInstanceUID,
    )
    assert evidence_of(document) == {
        "1.2.3.4": ["1.2.3.4.5"],
        report.SeriesInstanceUID: [report.SOPInstanceUID],
    }


def test_the_observer_is_the_person_who_has_not_signed_it() -> None:
    document = assessment(radiograph(), verdict_on(radiograph(), 1, Opinion.AGREE))
    assert coded(document, "121005") == ["Person"]
    assert children(document, "121008")[0].PersonName.family_name == "weber"
    assert not [item for item in walk(document) if item.ValueType == "UIDREF" and NODE.device_uid == item.UID]
    assert (document.VerificationFlag, document.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert (document.ContentQualification, document.SeriesNumber) == ("RESEARCH", 9008)
    assert "VerifyingObserverSequence" not in document


def test_patient_study_and_order_are_the_reports() -> None:
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = "RP1", "Röntgen Thorax"
    source = radiograph(RequestAttributesSequence=[request])
    report, document = objects(source)["SR"], assessment(source, verdict_on(source, 1, Opinion.AGREE))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "SpecificCharacterSet"):
        assert document[keyword].value == report[keyword].value
    assert document.ReferencedRequestSequence[0].RequestedProcedureDescription == "Röntgen Thorax"
    assert document.SeriesDescription.startswith("AI firstread")
    assert is_own_result(document)


def test_a_later_one_supersedes_in_the_same_series_under_its_own_name() -> None:
    source = radiograph()
    first = assessment(source, verdict_on(source, 1, Opinion.AGREE))
    again = assessment(source, verdict_on(source, 1, Opinion.AGREE))
    later = assessment(source, verdict_on(source, 1, Opinion.DISAGREE), number=9, serial=2, predecessor=first)
    somebody = assessment(source, verdict_on(source, 1, Opinion.AGREE), person="fischer")
    assert again == first
    assert later.SeriesInstanceUID == first.SeriesInstanceUID != somebody.SeriesInstanceUID
    assert len({first.SOPInstanceUID, later.SOPInstanceUID, somebody.SOPInstanceUID}) == 3
    (study,) = later.PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_a_comment_is_told_whole_or_not_at_all() -> None:
    source = radiograph()
    for comment, told in (
        ("skin fold, not a line", "skin fold, not a line"),
        ("Hautfalte über der Spitze?", "Hautfalte uber der Spitze?"),
        ("皮膚のしわ", "A comment in another script is kept at the node."),
    ):
        group = groups(assessment(source, verdict_on(source, 1, Opinion.DISAGREE, comment=comment)))[0]
        assert [item.TextValue for item in children(group, "121106")] == [told]


def test_an_image_that_retention_removed_is_still_named() -> None:
    source, bare = radiograph(), Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    bare.StudyInstanceUID, bare.SeriesInstanceUID = source.StudyInstanceUID, source.SeriesInstanceUID
    document = assessment(source, verdict_on(source, 1, Opinion.AGREE), images={source.SOPInstanceUID: bare})
    assert evidence_of(document)["1.2.3.4"] == ["1.2.3.4.5"]
    with pytest.raises(ResultError, match=r"1\.2\.3\.4\.5"):
        assessment(source, verdict_on(source, 1, Opinion.AGREE), images={})


def test_it_is_not_taken_for_a_report_of_ours(tmp_path: Path) -> None:
    source = radiograph()
    write(assessment(source, verdict_on(source, 1, Opinion.AGREE)), tmp_path / "assessment.dcm")
    with pytest.raises(DicomError):
        read_report(tmp_path / "assessment.dcm")


@pytest.mark.peer
def test_the_neighbours_read_it(tmp_path: Path) -> None:
    source = radiograph()
    sided = verdict_on(source, 1, Opinion.DISAGREE, reason=OpinionReason.ARTEFACT, comment="skin fold")
    sided = replace(sided, finding=replace(sided.finding, laterality=Laterality.LEFT))
    path = tmp_path / "assessment.dcm"
    write(assessment(source, verdict_on(source, 0, Opinion.AGREE), sided), path)
    assert validator_errors(path) == []
    shown = subprocess.run([tool("dsrdump"), str(path)], capture_output=True, check=True)
    assert b"Disagreement with prior findings" in shown.stdout
    assert len(hd.sr.srread(path).content.get_image_measurement_groups()) == 2
