"""The report: content tree after TID 1500, header, determinism, and every odd source still gets one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import highdicom as hd
import pytest
from content_trees import EVALUATIONS, MEASUREMENTS, children, evidence_of, groups, name, texts, walk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from result_cases import (
    ALGORITHM,
    CREATED_AT,
    EFFUSION,
    NODE,
    PNEUMOTHORAX,
    box,
    finding,
    heat_map,
    negative,
    objects,
    positive,
    radiograph,
    report,
)

from dicom_node.results import build_report, warm_up
from dicom_node.results.evidence import library_header, outline_inside
from dicom_node.results.files import write
from triage.errors import MixedPatientsError, ResultError
from triage.findings import (
    AnalysisResult,
    Finding,
    ImageResult,
    Laterality,
    NotAnalysed,
    NotAnalysedReason,
    Region,
    ScoreKind,
    Urgency,
)

PROBABILITY, VISUAL_EXPLANATION = "122157", "130401"
PRIORITY, LATERALITY, SITE = "260870009", "272741003", "363698007"
IMAGE_LIBRARY = "111028"


def verdicts(document: Dataset) -> dict[str, str]:
    container = children(document, EVALUATIONS)[0]
    return {
        name(item): item.ConceptCodeSequence[0].CodeMeaning
        for item in container.ContentSequence
        if item.ValueType == "CODE"
    }


def build(header: Dataset, *images: ImageResult, **changes: object) -> Dataset:
    arguments: dict[str, object] = {
        "heat_maps": {},
        "node": NODE,
        "revision": 1,
        "predecessor": None,
        "created_at": CREATED_AT,
    }
    algorithm = changes.pop("algorithm", ALGORITHM)
    evidence = changes.pop("evidence", [header])
    result = AnalysisResult(algorithm=algorithm, images=images)  # type: ignore[arg-type]
    return build_report(evidence, result, **(arguments | changes))  # type: ignore[arg-type]


def test_document_title_and_template() -> None:
    document = objects(radiograph())["SR"]
    assert document.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert (name(document), document.ValueType) == ("126000", "CONTAINER")
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert [name(item) for item in document.ContentSequence if item.ValueType == "CONTAINER"] == [
        IMAGE_LIBRARY,
        MEASUREMENTS,
        EVALUATIONS,
    ]
    assert [item.ConceptCodeSequence[0].CodeValue for item in children(document, "121058")] == ["363679005"]


def test_the_observer_is_the_node_and_no_person() -> None:
    document = objects(radiograph())["SR"]
    assert children(document, "121005")[0].ConceptCodeSequence[0].CodeValue == "121007"
    assert NODE.device_uid == children(document, "121012")[0].UID
    assert not [item for item in walk(document) if item.ValueType == "PNAME"]


def test_a_positive_with_a_region_is_a_planar_roi_group() -> None:
    source = radiograph()
    made = objects(source)
    (group,) = groups(made["SR"])
    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
    assert children(group, "121071")[0].ConceptCodeSequence[0].CodeValue == PNEUMOTHORAX.value
    assert children(group, "363698007")[0].ConceptCodeSequence[0].CodeMeaning == "Lung"
    (number,) = children(group, PROBABILITY)
    assert number.MeasuredValueSequence[0].NumericValue == 0.94
    assert number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "1"
    (region,) = children(group, "111030")
    points = list(zip(region.GraphicData[::2], region.GraphicData[1::2], strict=True))
    assert region.GraphicType == "POLYLINE"
    assert points[0] == points[-1]
    assert points == list(box(1.0, 1.0, 24.0, 32.0).outline)
    assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    (explanation,) = children(group, VISUAL_EXPLANATION)
    assert explanation.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == made["SC"].SOPInstanceUID
    assert [item.TextValue for item in children(group, "111001")] == [ALGORITHM.name]
    assert [item.TextValue for item in children(group, "111003")] == [ALGORITHM.version]
    assert {item.TextValue for item in children(group, "111002")} == {
        "score=0.94",
        "threshold=0.6",
        "score_kind=calibrated probability",
        f"weights_sha256={ALGORITHM.weights_sha256}",
        *ALGORITHM.parameters,
    }


def test_all_verdicts_stand_in_the_evaluations_without_numbers() -> None:
    document = objects(radiograph())["SR"]
    assert verdicts(document) == {
        PNEUMOTHORAX.value: "Present",
        EFFUSION.value: "Absent",
        PRIORITY: "Emergency",
    }
    assert {item.ValueType for item in children(document, EVALUATIONS)[0].ContentSequence} == {"CODE", "TEXT"}


def test_without_a_region_each_finding_is_an_image_group_without_numbers() -> None:
    source = radiograph()
    for image in (negative(source), replace(negative(source), findings=(finding(PNEUMOTHORAX, 0.9),))):
        document = report(source, image)
        assert len(groups(document)) == len(image.findings)
        for group in groups(document):
            assert group.ContentTemplateSequence[0].TemplateIdentifier == "1501"
            assert [item for item in walk(group) if item.ValueType in ("NUM", "SCOORD")] == []
            assert [item.ValueType for item in children(group, "121112")] == ["IMAGE"]


def test_highdicom_reads_what_we_write(tmp_path: Path) -> None:
    write(objects(radiograph())["SR"], tmp_path / "sr.dcm")
    document = hd.sr.srread(tmp_path / "sr.dcm")
    (group,) = document.content.get_planar_roi_measurement_groups(finding_type=PNEUMOTHORAX_CONCEPT)
    assert group.roi.graphic_type is hd.sr.GraphicTypeValues.POLYLINE
    assert group.get_measurements(name=codes.DCM.Probability)[0].value == 0.94
    assert group.finding_sites[0].topographical_modifier is None
    write(report(radiograph(), negative(radiograph())), tmp_path / "sr.dcm")
    assert len(hd.sr.srread(tmp_path / "sr.dcm").content.get_image_measurement_groups()) == 2


PNEUMOTHORAX_CONCEPT = hd.sr.CodedConcept("36118008", "SCT", "Pneumothorax")


def test_what_is_almost_certain_is_not_encoded_as_certain() -> None:
    source = radiograph()
    found = finding(PNEUMOTHORAX, 0.99977, threshold=0.99975, region=box(1.0, 1.0, 9.0, 9.0))
    (group,) = groups(report(source, ImageResult(sop_instance_uid="1.2.3.4.5", findings=(found,))))
    assert children(group, PROBABILITY)[0].MeasuredValueSequence[0].NumericValue == 0.9998
    assert {"score=0.9998", "threshold=0.9998"} <= {item.TextValue for item in children(group, "111002")}
    below = finding(PNEUMOTHORAX, 0.59996, region=None)
    (group,) = groups(report(source, ImageResult(sop_instance_uid="1.2.3.4.5", findings=(below,))))
    assert {"score=0.59996", "threshold=0.6"} <= {item.TextValue for item in children(group, "111002")}


def test_a_score_that_is_no_probability_is_never_encoded_as_one() -> None:
    source = radiograph()
    document = report(source, positive(source, kind=ScoreKind.OPERATING_POINT))
    assert [item for item in walk(groups(document)[0]) if item.ValueType == "NUM"] == []
    assert children(groups(document)[0], "111030")
    assert "score_kind=relative to the operating point, not a probability" in {
        item.TextValue for item in children(groups(document)[0], "111002")
    }
    assert any("0.94 >= 0.60" in text for text in texts(document))


def test_an_uncalibrated_probability_says_so() -> None:
    source = radiograph()
    document = report(source, positive(source, kind=ScoreKind.UNCALIBRATED_PROBABILITY))
    assert children(groups(document)[0], PROBABILITY)
    assert any("uncalibrated" in item.TextValue for item in children(groups(document)[0], "111002"))


def test_what_a_person_reads() -> None:
    source = radiograph()
    left_out = NotAnalysed(
        sop_instance_uid="1.2.99", reason=NotAnalysedReason.UNSUPPORTED_VIEW, detail="ViewPosition LL"
    )
    said = texts(report(source, positive(source), not_analysed=(left_out,)))
    assert said == [
        "AI firstread (cxr-research 1.2.0): Pneumothorax above threshold. AI triage class STAT.",
        "Not for primary diagnosis",
        "Image 1.2.3.4.5: Pneumothorax 0.94 >= 0.60 POSITIVE; Pleural effusion 0.12 < 0.60 negative.",
        "Scores: calibrated probability.",
        "No heat map shows where the scores of image 1.2.3.4.5 come from.",
        "Not analysed: 1.2.99 no model for this view: ViewPosition LL",
    ]


def test_the_worst_image_decides() -> None:
    first = radiograph(SOPInstanceUID="1.2.3.4.6")
    second = radiograph()
    document = build(first, negative(first), positive(second), evidence=[first, second])
    assert verdicts(document)[PNEUMOTHORAX.value] == "Present"
    assert len(groups(document)) == 1


@pytest.mark.parametrize(
    ("urgency", "said"),
    [(Urgency.STAT, "25876001"), (Urgency.URGENT, "103391001"), (Urgency.ROUTINE, "373113001")],
)
def test_the_class_is_coded_for_each_positive_and_for_the_study(urgency: Urgency, said: str) -> None:
    source = radiograph()
    found = replace(finding(PNEUMOTHORAX, 0.9, region=box(1.0, 1.0, 9.0, 9.0)), urgency=urgency)
    absent = finding(EFFUSION, 0.1)
    document = report(source, ImageResult(sop_instance_uid="1.2.3.4.5", findings=(absent, found)))
    for item in (groups(document)[0], children(document, EVALUATIONS)[0]):
        assert [child.ConceptCodeSequence[0].CodeValue for child in children(item, PRIORITY)] == [said]


def test_what_is_absent_asks_for_no_class_of_its_own() -> None:
    document = report(radiograph(), negative(radiograph()))
    assert all(not children(group, PRIORITY) for group in groups(document))
    (item,) = children(children(document, EVALUATIONS)[0], PRIORITY)
    assert item.ConceptCodeSequence[0].CodeMeaning == "Routine procedure"


def test_sides_are_findings_of_their_own_where_the_bundle_knows_them() -> None:
    source = radiograph()
    left = replace(finding(EFFUSION, 0.9, region=box(1.0, 1.0, 9.0, 9.0)), key="left", laterality=Laterality.LEFT)
    right = replace(finding(EFFUSION, 0.1), key="right", laterality=Laterality.RIGHT)
    document = report(source, ImageResult(sop_instance_uid="1.2.3.4.5", findings=(left, right)))
    (site,) = children(groups(document)[0], SITE)
    assert children(site, LATERALITY)[0].ConceptCodeSequence[0].CodeValue == "7771000"
    said = {
        children(item, LATERALITY)[0].ConceptCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0].CodeMeaning
        for item in children(children(document, EVALUATIONS)[0], EFFUSION.value)
    }
    assert said == {"Left": "Present", "Right": "Absent"}
    assert "Pleural effusion (left) above threshold" in texts(document)[0]


@pytest.mark.parametrize(
    ("reason", "flag"),
    [
        (NotAnalysedReason.UNSUPPORTED_VIEW, "COMPLETE"),
        (NotAnalysedReason.DECODE_ERROR, "PARTIAL"),
        (NotAnalysedReason.REMOVED, "PARTIAL"),
    ],
)
def test_a_report_is_partial_when_an_image_could_not_be_read(reason: NotAnalysedReason, flag: str) -> None:
    source = radiograph()
    left_out = NotAnalysed(sop_instance_uid="1.2.99", reason=reason)
    document = report(source, negative(source), not_analysed=(left_out,))
    assert document.CompletionFlag == flag
    assert document.get("CompletionFlagDescription", "") == (
        "1 of the images could not be read" if flag == "PARTIAL" else ""
    )


OTHER_PATIENT: dict[str, dict[str, object]] = {
    "PatientID": {"PatientID": "P-2"},
    "IssuerOfPatientID": {"IssuerOfPatientID": "CLINIC"},
    "PatientName, PatientBirthDate": {"PatientName": "Other", "PatientBirthDate": "19600102"},
    "without any Patient ID": {"PatientID": "", "PatientName": "Other", "PatientBirthDate": "19600102"},
    "StudyInstanceUID": {"StudyInstanceUID": "1.2.4"},
}
SAME_PATIENT: dict[str, dict[str, object]] = {
    "nothing": {},
    "no Patient ID": {"PatientID": ""},
    "another spelling": {"PatientName": "Mueller^Joerg"},
    "a trailing delimiter": {"PatientName": "Müller^Jörg^^"},
    "a birth date mistyped": {"PatientBirthDate": "19500103"},
    "nobody": {"PatientID": None, "PatientName": "", "PatientBirthDate": None, "IssuerOfPatientID": None},
    "another sex": {"PatientSex": "F"},
}


@pytest.mark.parametrize("differing", OTHER_PATIENT)
def test_no_report_mixes_two_patients(differing: str) -> None:
    source = radiograph()
    other = radiograph(SOPInstanceUID="1.2.3.4.6", **OTHER_PATIENT[differing])
    with pytest.raises(MixedPatientsError) as failure:
        build(source, negative(source), evidence=[source, other])
    assert "Other" not in str(failure.value)
    assert "P-2" not in str(failure.value)


@pytest.mark.parametrize("differing", SAME_PATIENT)
def test_what_is_missing_or_mistyped_is_no_other_patient(differing: str) -> None:
    source = radiograph()
    other = radiograph(SOPInstanceUID="1.2.3.4.6", **SAME_PATIENT[differing])
    document = build(source, negative(source), evidence=[source, other])
    assert evidence_of(document) == {"1.2.3.4": ["1.2.3.4.5", "1.2.3.4.6"]}


def test_an_area_that_single_precision_loses_is_none() -> None:
    image = library_header(radiograph())
    sliver = ((40.0, 1.0), (40.0 + 1e-9, 1.0), (40.0 + 1e-9, 9.0), (40.0, 9.0), (40.0, 1.0))
    assert outline_inside(Region(outline=sliver, peak=(40.0, 5.0)), image) == ()


def test_flags_say_that_software_wrote_it() -> None:
    document = objects(radiograph())["SR"]
    assert (document.CompletionFlag, document.PreliminaryFlag, document.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )
    assert document.ContentQualification == "RESEARCH"
    assert "VerifyingObserverSequence" not in document
    cleared = build(radiograph(), positive(radiograph()), algorithm=replace(ALGORITHM, research=False))
    assert cleared.ContentQualification == "PRODUCT"


def test_series_and_equipment_are_ours() -> None:
    document = objects(radiograph())["SR"]
    assert document.SeriesNumber == 9001
    assert document.SeriesDescription == "AI firstread report cxr-research"
    assert (document.Manufacturer, document.ManufacturerModelName) == ("firstread", "firstread")
    assert (document.SoftwareVersions, document.DeviceSerialNumber) == ("0.1.0", "node-01")
    algorithm, scanner = document.ContributingEquipmentSequence
    assert (algorithm.ManufacturerModelName, algorithm.SoftwareVersions) == (ALGORITHM.name, ALGORITHM.version)
    assert scanner.Manufacturer == "Scanner AG"
    assert document.Modality == "SR"


@pytest.mark.parametrize("change", ["name", "version", "weights_sha256"])
def test_the_algorithms_device_uid_changes_with_what_it_is(change: str) -> None:
    source = radiograph()
    first = build(source, positive(source))
    second = build(source, positive(source), algorithm=replace(ALGORITHM, **{change: "other"}))
    one, other = (document.ContributingEquipmentSequence[0].DeviceUID for document in (first, second))
    assert one != other
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


def test_every_instance_read_is_evidence_grouped_by_series() -> None:
    first = radiograph()
    lateral = radiograph(SOPInstanceUID="1.2.3.4.7")
    other = radiograph(SOPInstanceUID="1.2.3.9.1", SeriesInstanceUID="1.2.3.9")
    picture = heat_map(first, positive(first))
    document = build(
        first, positive(first), evidence=[other, lateral, first], heat_maps={first.SOPInstanceUID: picture}
    )
    assert evidence_of(document) == {
        "1.2.3.4": ["1.2.3.4.5", "1.2.3.4.7"],
        "1.2.3.9": ["1.2.3.9.1"],
        picture.SeriesInstanceUID: [picture.SOPInstanceUID],
    }
    library = children(document, IMAGE_LIBRARY)[0]
    listed = [item for item in walk(library) if item.ValueType == "IMAGE"]
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in listed] == ["1.2.3.4.5"]


def test_the_order_is_named_as_the_modality_knew_it() -> None:
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = "RP1", "Röntgen Thorax"
    request.ScheduledProcedureStepID = "SPS1"
    source = radiograph(RequestAttributesSequence=[request])
    (item,) = report(source, positive(source)).ReferencedRequestSequence
    assert (item.RequestedProcedureID, item.RequestedProcedureDescription) == ("RP1", "Röntgen Thorax")
    assert (item.AccessionNumber, item.StudyInstanceUID) == ("A-1", "1.2.3")
    assert item.FillerOrderNumberImagingServiceRequest == ""


def test_a_rerun_names_what_it_supersedes_and_keeps_its_tracking() -> None:
    source = radiograph()
    first = build(source, positive(source))
    second = build(source, positive(source), revision=2, predecessor=first)
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesInstanceUID == first.SeriesInstanceUID
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    (study,) = second.PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert [children(g, "112040")[0].UID for g in groups(first)] == [
        children(g, "112040")[0].UID for g in groups(second)
    ]
    assert "PredecessorDocumentsSequence" not in first


def test_tracking_uids_are_distinct() -> None:
    source = radiograph()
    uids = [children(group, "112040")[0].UID for group in groups(report(source, negative(source)))]
    assert len(set(uids)) == 2


def test_two_builds_are_byte_equal_whatever_the_order_of_evidence(tmp_path: Path) -> None:
    def once(folder: str, *, swap: bool) -> tuple[str, int]:
        both = [
            radiograph(),
            radiograph(SOPInstanceUID="1.2.3.4.7"),
            radiograph(SOPInstanceUID="1.2.3.9.1", SeriesInstanceUID="1.2.3.9"),
        ]
        picture = heat_map(both[0], positive(both[0]))
        evidence = both[::-1] if swap else both
        document = build(both[0], positive(both[0]), evidence=evidence, heat_maps={both[0].SOPInstanceUID: picture})
        return write(document, tmp_path / folder)

    assert once("a", swap=False) == once("b", swap=True)


def test_an_open_outline_is_closed_and_one_without_area_is_none() -> None:
    image = library_header(radiograph())
    corners = ((1.0, 1.0), (9.0, 1.0), (9.0, 9.0), (1.0, 9.0))
    assert outline_inside(Region(outline=corners, peak=(5.0, 5.0)), image) == (*corners, corners[0])
    for line in (((1.0, 1.0), (9.0, 9.0), (1.0, 1.0)), ((60.0, 1.0), (70.0, 9.0), (80.0, 1.0), (60.0, 1.0))):
        assert outline_inside(Region(outline=line, peak=(1.0, 1.0)), image) == ()
    assert outline_inside(Region(outline=(*corners[:3], (float("nan"), 1.0)), peak=(5.0, 5.0)), image) == ()


def test_another_node_gives_other_names() -> None:
    source = radiograph()
    here = build(source, positive(source))
    there = build(source, positive(source), node=replace(NODE, device_uid="2.25.78"))
    assert here.SOPInstanceUID != there.SOPInstanceUID


def test_content_time_follows_the_zone_that_the_source_declares() -> None:
    source = radiograph(TimezoneOffsetFromUTC="-0430")
    document = report(source, positive(source))
    assert (document.ContentDate, document.ContentTime) == ("20261121", "033000.123456")
    assert document.ContributingEquipmentSequence[0].ContributionDateTime == "20261121033000.123456-0430"


def test_a_time_without_zone_is_refused() -> None:
    naive = datetime(2026, 11, 21)  # noqa: DTZ001
    with pytest.raises(ResultError, match="ValueError"):
        build(radiograph(), positive(radiograph()), created_at=naive)


def test_an_analysed_image_must_be_evidence() -> None:
    with pytest.raises(ResultError, match=r"1\.2\.3\.4\.5"):
        build(radiograph(), positive(radiograph()), evidence=[radiograph(SOPInstanceUID="1.2.8")])


def test_an_error_says_where_but_not_what_the_header_holds() -> None:
    source = radiograph(Rows=None)
    with pytest.raises(ResultError) as failure:
        report(source, negative(source))
    assert "evidence.py" in str(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


REGIONS = st.one_of(
    st.none(),
    st.lists(
        st.tuples(st.floats(min_value=-5, max_value=60), st.floats(min_value=-5, max_value=80)), min_size=3, max_size=12
    ).map(lambda points: Region(outline=(*points, points[0]), peak=points[0])),
)
FINDINGS = st.lists(
    st.tuples(st.sampled_from([PNEUMOTHORAX, EFFUSION]), st.floats(min_value=0, max_value=1), REGIONS),
    min_size=1,
    max_size=4,
).map(lambda drawn: tuple(finding(code, value, region=region) for code, value, region in drawn))


@settings(max_examples=40, deadline=None)
@given(FINDINGS)
def test_any_findings_make_a_report_of_one_kind_of_group(found: tuple[Finding, ...]) -> None:
    source = radiograph()
    document = report(source, ImageResult(sop_instance_uid=source.SOPInstanceUID, findings=found))
    templates = {group.ContentTemplateSequence[0].TemplateIdentifier for group in groups(document)}
    assert templates in ({"1410"}, {"1501"})
    for region in (item for item in walk(document) if item.ValueType == "SCOORD"):
        assert all(0 <= column <= source.Columns for column in region.GraphicData[::2])
        assert all(0 <= row <= source.Rows for row in region.GraphicData[1::2])
        assert list(region.GraphicData[:2]) == list(region.GraphicData[-2:])
    expected = {code.value: "Absent" for code in (f.code for f in found)}
    expected[PRIORITY] = "Emergency" if any(f.positive for f in found) else "Routine procedure"
    expected |= {f.code.value: "Present" for f in found if f.positive}
    assert verdicts(document) == expected
    if templates == {"1501"}:
        assert not [item for group in groups(document) for item in walk(group) if item.ValueType == "NUM"]


ODDITIES: dict[str, dict[str, object]] = {
    "no ImagerPixelSpacing": {"ImagerPixelSpacing": None},
    "empty ImagerPixelSpacing": {"ImagerPixelSpacing": ""},
    "no PatientOrientation": {"PatientOrientation": None},
    "empty PatientOrientation": {"PatientOrientation": ""},
    "combined orientation": {"PatientOrientation": ["L", "FP"]},
    "no Manufacturer": {"Manufacturer": None},
    "PatientSex U": {"PatientSex": "U"},
    "PatientSex m": {"PatientSex": "m"},
    "charset ISO_IR 6": {"SpecificCharacterSet": "ISO_IR 6", "PatientName": "A^B", "ReferringPhysicianName": "C"},
    "one component": {"PatientName": "DOE JANE"},
    "long accession": {"AccessionNumber": "A" * 20},
    "old date": {"StudyDate": "2025.01.02"},
    "secondary capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "for processing": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1", "Modality": "DX"},
    "private class": {"SOPClassUID": "1.2.3.4.5.6.7"},
    "frame of reference": {"FrameOfReferenceUID": "1.2.3.4.8"},
    "CT without geometry": {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
    "no modality": {"Modality": None},
    "no body part": {"BodyPartExamined": None},
    "strange body part": {"BodyPartExamined": "chest pa"},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("oddity", ODDITIES)
def test_every_odd_source_gets_its_objects(oddity: str, tmp_path: Path) -> None:
    source = radiograph(**ODDITIES[oddity])
    for kind, made in objects(source).items():
        write(made, tmp_path / "result.dcm")
        assert dcmread(tmp_path / "result.dcm").StudyInstanceUID == "1.2.3", kind


def test_warming_up_builds_a_report() -> None:
    warm_up(NODE)


def test_created_later_is_another_content_time_only() -> None:
    source = radiograph()
    later = build(source, positive(source), created_at=CREATED_AT + timedelta(hours=1))
    assert later.SOPInstanceUID == build(source, positive(source)).SOPInstanceUID
    assert later.ContentTime == "090000.123456"
    assert CREATED_AT.tzinfo is UTC


def test_slices_without_a_finding_of_their_own_are_in_the_library_and_counted_once() -> None:
    slices = [radiograph(SOPInstanceUID=f"2.25.{n}") for n in range(1, 6)]
    images = [
        replace(positive(header), place=f"slice {n} of 5")
        if n == 3
        else ImageResult(sop_instance_uid=f"2.25.{n}", findings=(), place=f"slice {n} of 5")
        for n, header in enumerate(slices, start=1)
    ]
    document = build(slices[0], *images, evidence=slices)
    library = children(children(document, IMAGE_LIBRARY)[0], "126200")[0]
    assert {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in library.ContentSequence} == {
        f"2.25.{n}" for n in range(1, 6)
    }
    lines = [line for line in texts(document) if line.startswith("Image ")]
    assert len(lines) == 1
    assert lines[0].startswith("Image 2.25.3 (slice 3 of 5): ")
    assert "4 further slices were read; a finding of a series stands on its key slice." in texts(document)
    assert len(groups(document)) == 1
