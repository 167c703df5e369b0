"""The key object selection: which images, why, and where they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from odd_sources import ODD, radiograph
from pydicom.dataset import Dataset
from result_cases import ALGORITHM, CREATED_AT, EFFUSION, NODE, PNEUMOTHORAX, finding, negative, positive

from dicom_node.results import build_key_objects, flagged, is_own_result
from triage.errors import ResultError
from triage.findings import AnalysisResult, ImageResult, Urgency


def key_objects(headers: list[Dataset], *images: ImageResult, revision: int = 1) -> Dataset:
    result = AnalysisResult(algorithm=ALGORITHM, images=images)
    return build_key_objects(headers, result, node=NODE, revision=revision, created_at=CREATED_AT)


def of_class(header: Dataset, urgency: Urgency) -> ImageResult:
    found = replace(finding(EFFUSION, 0.9), urgency=urgency)
    return ImageResult(sop_instance_uid=str(header.SOPInstanceUID), findings=(found,))


def test_images_of_all_series_in_order_of_urgency() -> None:
    first, second = radiograph(), radiograph(SOPInstanceUID="1.2.9.1", SeriesInstanceUID="1.2.9")
    third = radiograph(SOPInstanceUID="1.2.9.2", SeriesInstanceUID="1.2.9")
    made = key_objects(
        [first, second, third], of_class(first, Urgency.URGENT), of_class(second, Urgency.STAT), negative(third)
    )
    images = [item.ReferencedSOPSequence[0] for item in made.ContentSequence if item.ValueType == "IMAGE"]
    assert [image.ReferencedSOPInstanceUID for image in images] == [second.SOPInstanceUID, first.SOPInstanceUID]
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    assert {
        series.SeriesInstanceUID: [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    } == {first.SeriesInstanceUID: [first.SOPInstanceUID], second.SeriesInstanceUID: [second.SOPInstanceUID]}


def test_what_moves_no_case_is_flagged_only_where_nothing_else_is() -> None:
    routine, urgent = of_class(radiograph(), Urgency.ROUTINE), positive(radiograph(SOPInstanceUID="1.2.9.1"))
    assert flagged(AnalysisResult(algorithm=ALGORITHM, images=(routine, urgent))) == (urgent,)
    assert flagged(AnalysisResult(algorithm=ALGORITHM, images=(routine,))) == (routine,)


def test_title_observer_and_reason() -> None:
    source = radiograph()
    made = key_objects([source], positive(source))
    assert made.ConceptNameCodeSequence[0].CodeMeaning == "Of Interest"
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    assert made.Modality == "KO"
    named = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item
        for item in made.ContentSequence
        if "ConceptNameCodeSequence" in item
    }
    assert named["Observer Type"].ConceptCodeSequence[0].CodeMeaning == "Device"
    assert NODE.device_uid == named["Device Observer UID"].UID
    reason = named["Key Object Description"].TextValue
    assert "Pneumothorax 0.94 >= 0.60 POSITIVE" in reason
    assert "AI triage class STAT" in reason
    assert reason.endswith("Not for primary diagnosis")


def test_nothing_positive_flags_nothing() -> None:
    source = radiograph()
    with pytest.raises(ResultError, match="no key image"):
        key_objects([source], negative(source))


def test_an_image_that_is_not_here_cannot_be_flagged() -> None:
    with pytest.raises(ResultError, match="among the evidence"):
        key_objects([], ImageResult(sop_instance_uid="1.2.3", findings=(finding(PNEUMOTHORAX, 0.9),)))


def test_a_rerun_is_another_instance_of_the_same_series() -> None:
    source = radiograph()
    first, second = (key_objects([source], positive(source), revision=revision) for revision in (1, 2))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)


def test_the_orders_of_the_source_are_named() -> None:
    source = ODD["two orders"].make()
    made = key_objects([source], positive(source))
    assert [item.RequestedProcedureID for item in made.ReferencedRequestSequence] == ["RP-1", "RP-2"]


def test_it_is_known_as_our_own() -> None:
    source = radiograph()
    assert is_own_result(key_objects([source], positive(source)))
