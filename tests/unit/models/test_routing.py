"""Which headers a chest model reads, and the reason it gives for the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_samples import data_files, make_dataset
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from models.decoding import read
from models.image_facts import ImageFacts
from models.metadata import CT_IMAGE_STORAGE, RoutingConditions
from models.routing import addressed_to, remarks, screen
from triage.errors import DicomError
from triage.findings import NotAnalysedReason as Reason

ADULT_CHEST = RoutingConditions(min_age_years=18, manufacturer_not=("firstread phantom",))
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


def header(**elements: Any) -> Dataset:
    """Of an adult's frontal chest radiograph, changed by ``elements`` (None takes one away)."""
    dataset = make_dataset(np.zeros((1024, 1024), np.uint8), PatientAge="040Y", Manufacturer="Maker")
    del dataset.PixelData
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
        if value is None:
            delattr(dataset, keyword)
    return dataset


def item(value: str, meaning: str = "") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code


def outcome(dataset: Dataset, conditions: RoutingConditions = ADULT_CHEST) -> Reason | None:
    refusal = screen(ImageFacts.from_dataset(dataset), conditions)
    return refusal.reason if refusal else None


def test_adults_frontal_chest_is_read_without_remark() -> None:
    facts = ImageFacts.from_dataset(header())
    assert screen(facts, ADULT_CHEST) is None
    assert remarks(facts, ADULT_CHEST) == ()


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Manufacturer": "firstread"}, Reason.OWN_RESULT),
        ({"Manufacturer": "firstread phantom"}, Reason.NO_BUNDLE),
        ({"PresentationIntentType": "FOR PROCESSING"}, Reason.FOR_PROCESSING),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, Reason.FOR_PROCESSING),
        ({"SOPClassUID": SECONDARY_CAPTURE}, Reason.UNSUPPORTED_SOP_CLASS),
        ({"SOPClassUID": None}, Reason.UNSUPPORTED_SOP_CLASS),
        ({"SOPClassUID": COMPREHENSIVE_SR, "Modality": "SR", "Rows": None}, Reason.UNSUPPORTED_SOP_CLASS),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}, Reason.UNSUPPORTED_MODALITY),
        ({"Modality": "MG"}, Reason.UNSUPPORTED_MODALITY),
        ({"Rows": None}, Reason.NO_PIXELS),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, Reason.COLOUR_IMAGE),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.COLOUR_IMAGE),
        ({"NumberOfFrames": 12}, Reason.MULTI_FRAME),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, Reason.DERIVED_IMAGE),
        ({"SeriesDescription": "CHEST PA BONE SUPPRESSED"}, Reason.DERIVED_IMAGE),
        ({"PatientAge": "005Y"}, Reason.UNSUPPORTED_PATIENT),
        ({"PatientAge": "017Y"}, Reason.UNSUPPORTED_PATIENT),
        ({"PatientAge": "011M"}, Reason.UNSUPPORTED_PATIENT),
        ({"PatientAge": None, "PatientBirthDate": "20200101", "StudyDate": "20240101"}, Reason.UNSUPPORTED_PATIENT),
        ({"PatientSpeciesDescription": "Canine"}, Reason.UNSUPPORTED_PATIENT),
        ({"PatientSpeciesCodeSequence": [item("448771007", "Canis lupus familiaris")]}, Reason.UNSUPPORTED_PATIENT),
        ({"AcquisitionDeviceProcessingDescription": "CANINE THORAX"}, Reason.UNSUPPORTED_PATIENT),
        ({"BodyPartExamined": "HAND"}, Reason.UNSUPPORTED_BODY_PART),
        ({"BodyPartExamined": "RIBCAGE"}, Reason.UNSUPPORTED_BODY_PART),
        ({"BodyPartExamined": "TSPINE"}, Reason.UNSUPPORTED_BODY_PART),
        ({"BodyPartExamined": None}, Reason.UNSUPPORTED_BODY_PART),
        ({"BodyPartExamined": "", "StudyDescription": "Knie rechts"}, Reason.UNSUPPORTED_BODY_PART),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "ABDOMEN AP"}, Reason.UNSUPPORTED_BODY_PART),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": [item("113197003", "Rib")]}, Reason.UNSUPPORTED_BODY_PART),
        ({"BodyPartExamined": "PHANTOM"}, Reason.UNSUPPORTED_BODY_PART),
        ({"BodyPartExamined": "", "StudyDescription": "腰椎"}, Reason.UNSUPPORTED_BODY_PART),
        ({"ViewPosition": "LL"}, Reason.UNSUPPORTED_VIEW),
        ({"ViewPosition": "LATERAL"}, Reason.UNSUPPORTED_VIEW),
        ({"ViewPosition": "LLD"}, Reason.UNSUPPORTED_VIEW),
        ({"ViewPosition": "RAO"}, Reason.UNSUPPORTED_VIEW),
        ({"ViewPosition": "AP LORDOTIC"}, Reason.UNSUPPORTED_VIEW),
        ({"ViewPosition": "", "SeriesDescription": "Thorax seitlich"}, Reason.UNSUPPORTED_VIEW),
        ({"ViewPosition": "", "ViewCodeSequence": [item("399173006")]}, Reason.UNSUPPORTED_VIEW),
        ({"ViewPosition": "", "ViewCodeSequence": [item("1", "left lateral")]}, Reason.UNSUPPORTED_VIEW),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, Reason.UNSUPPORTED_VIEW),
        ({"PatientOrientation": ["P", "F"]}, Reason.UNSUPPORTED_VIEW),
        ({"PatientOrientation": ["R", "F"]}, Reason.UNSUPPORTED_VIEW),  # mirrored: the heart on the other side
        ({"PatientOrientation": ["RH", "FR"]}, Reason.UNSUPPORTED_VIEW),
        ({"PatientOrientation": ["R", "H"]}, Reason.UNSUPPORTED_VIEW),  # upside down
        ({"PatientOrientation": ["F", "R"]}, Reason.UNSUPPORTED_VIEW),  # on its side
        ({"Rows": 200}, Reason.UNUSABLE_GEOMETRY),
        ({"Rows": 1, "Columns": 1}, Reason.UNUSABLE_GEOMETRY),
        ({"Rows": 3000, "Columns": 1000}, Reason.UNUSABLE_GEOMETRY),
    ],
)  # fmt: skip
def test_refused(elements: dict[str, Any], reason: Reason) -> None:
    assert outcome(header(**elements)) is reason


@pytest.mark.parametrize(
    "elements",
    [
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "Modality": "CR", "PresentationIntentType": None},
        {"ImageType": ["DERIVED", "PRIMARY"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "", "RT"]},
        {"PatientIdentityRemoved": "YES"},
        {"PatientAge": "018Y"},
        {"PatientAge": None},
        {"PatientAge": "81"},
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"PatientSpeciesCodeSequence": [item("337915000", "homo sapiens")]},
        {"InstitutionName": "Veterans Affairs"},
        {"BodyPartExamined": "THORAX"},
        {"BodyPartExamined": "LUNG"},
        {"BodyPartExamined": "chest "},
        {"BodyPartExamined": "", "AnatomicRegionSequence": [item("51185008")]},
        {"BodyPartExamined": "", "SeriesDescription": "Röntgen Thorax p.a."},
        {"BodyPartExamined": None, "StudyDescription": "RX TÓRAX"},
        {"BodyPartExamined": None, "StudyDescription": "胸部正面"},
        {"BodyPartExamined": None, "StudyDescription": "Рентгенография органов грудной клетки"},
        {"StudyDescription": "Hip fracture, preoperative"},
        {"StudyDescription": "CHEST PA AND LATERAL"},
        {"ViewPosition": "PA", "SeriesDescription": "CHEST PA/LAT"},
        {"ViewPosition": "AP"},
        {"PatientOrientation": ["LF", "FR"]},  # slightly turned
        {"PatientOrientation": ["L"]},
        {"PatientOrientation": ["", ""]},
        {"ViewPosition": "AP SUPINE"},
        {"ViewPosition": "POSTERO-ANTERIOR"},
        {"ViewPosition": ""},
        {"ViewPosition": None, "PatientOrientation": ["L", "F"]},
        {"ViewPosition": "", "ViewCodeSequence": [item("399348003")]},
        {"NumberOfFrames": 1},
    ],
)
def test_read(elements: dict[str, Any]) -> None:
    assert outcome(header(SpecificCharacterSet="ISO_IR 192", **elements)) is None


def test_own_equipment_among_the_contributors() -> None:
    equipment = Dataset()
    equipment.Manufacturer = "Firstread"
    assert outcome(header(ContributingEquipmentSequence=[equipment])) is Reason.OWN_RESULT


@pytest.mark.parametrize(
    ("elements", "remark"),
    [
        ({"ViewPosition": ""}, "view not stated"),
        ({"PatientAge": None}, "age not stated"),
        ({"BodyPartExamined": "", "StudyDescription": "Chest"}, "body part taken from a description"),
        ({"BurnedInAnnotation": "YES"}, "annotation burnt into the image"),
    ],
)
def test_what_is_missing_is_remarked(elements: dict[str, Any], remark: str) -> None:
    facts = ImageFacts.from_dataset(header(**elements))
    assert screen(facts, ADULT_CHEST) is None
    assert remarks(facts, ADULT_CHEST) == (remark,)


def test_conditions_can_be_wider() -> None:
    wide = RoutingConditions(sop_classes=(SECONDARY_CAPTURE,), body_parts=("ARM",), allow_missing_body_part=True)
    assert outcome(header(SOPClassUID=SECONDARY_CAPTURE, BodyPartExamined="HAND"), wide) is None
    assert outcome(header(SOPClassUID=SECONDARY_CAPTURE, BodyPartExamined=""), wide) is None
    assert outcome(header(BodyPartExamined="HAND"), wide) is Reason.UNSUPPORTED_SOP_CLASS


def test_phantoms_go_to_their_own_model() -> None:
    phantoms = RoutingConditions(manufacturer_equals=("firstread phantom",))
    assert outcome(header(Manufacturer="FIRSTREAD PHANTOM "), phantoms) is None
    assert outcome(header(), phantoms) is Reason.NO_BUNDLE


def test_details_name_no_patient() -> None:
    refusal = screen(ImageFacts.from_dataset(header(PatientAge="005Y", PatientName="Doe^Jane")), ADULT_CHEST)
    assert refusal is not None
    assert refusal.detail == "younger than 18 years"


@given(
    st.dictionaries(
        st.sampled_from(
            ["BodyPartExamined", "ViewPosition", "SeriesDescription", "Modality", "PatientAge", "ImageType"]
        ),
        st.text(max_size=40),
    )
)
def test_any_text_gives_an_answer(texts: dict[str, str]) -> None:
    dataset = header(SpecificCharacterSet="ISO_IR 192")
    for keyword, text in texts.items():
        dataset[keyword] = DataElement(keyword, "UT", text)  # the type without rules for its content
    screen(ImageFacts.from_dataset(dataset), ADULT_CHEST)


REAL = {
    "radiograph/CR-MONO1-10-chest.dcm": None,
    "radiograph/RG1_J2KI.dcm": None,
    "radiograph/CR-ModalitySequenceLUT.dcm": Reason.UNSUPPORTED_BODY_PART,  # teeth
    "radiograph/RG3_J2KI.dcm": Reason.UNSUPPORTED_BODY_PART,  # a leg
    "radiograph/dx_image.dcm": Reason.UNSUPPORTED_PATIENT,  # a dog, tagged THORAX
    "radiograph/udacity_test1.dcm": Reason.UNSUPPORTED_SOP_CLASS,  # secondary captures of a chest
    "radiograph/udacity_test4_ribcage.dcm": Reason.UNSUPPORTED_SOP_CLASS,
    "radiograph/udacity_test5_ct.dcm": Reason.UNSUPPORTED_MODALITY,
    "ct/CT_small.dcm": Reason.UNSUPPORTED_MODALITY,
    "mr/MR_small.dcm": Reason.UNSUPPORTED_MODALITY,
    "us/examples_ybr_color.dcm": Reason.UNSUPPORTED_MODALITY,
    "objects/test-SR.dcm": Reason.UNSUPPORTED_SOP_CLASS,
}


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_headers(test_data: Path, name: str) -> None:
    assert outcome(read(test_data / name)) is REAL[name]


@pytest.mark.parametrize("path", data_files("radiograph/nih-derived/*.dcm"))
def test_real_chests_are_read(path: Path) -> None:
    assert outcome(read(path)) is None


@pytest.mark.parametrize("path", data_files("damaged/*.dcm", "objects/*.dcm", "charsets/*.dcm"))
def test_odd_objects_are_refused_with_a_reason(path: Path) -> None:
    try:
        dataset = read(path)
    except DicomError as error:
        assert str(error)
        return
    assert outcome(dataset) is not None


HEAD_CT = RoutingConditions(sop_classes=(CT_IMAGE_STORAGE,), modalities=("CT",), body_parts=("HEAD",), min_side=128)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({}, None),
        ({"PatientOrientation": ["L", "P"]}, None),  # axial slices have a side that points to the back
        ({"SeriesDescription": "Head soft tissue"}, None),  # a kernel, not a processed twin
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, Reason.DERIVED_IMAGE),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "Chest"}, Reason.UNSUPPORTED_BODY_PART),
        ({"Modality": "MR"}, Reason.UNSUPPORTED_MODALITY),
    ],
)
def test_slices_of_a_head_ct(elements: dict[str, Any], reason: Reason | None) -> None:
    slice_header = header(
        **{
            "SOPClassUID": CT_IMAGE_STORAGE,
            "Modality": "CT",
            "PresentationIntentType": None,
            "ViewPosition": None,
            "BodyPartExamined": "HEAD",
            **elements,
        }
    )
    assert outcome(slice_header, HEAD_CT) is reason


@pytest.mark.parametrize(
    ("condition", "good", "bad"),
    [
        ({"max_side_ratio": 1.2}, {"Rows": 1200}, {"Rows": 1300}),
        ({"min_bits_stored": 10}, {"BitsStored": 10}, {"BitsStored": 8}),
        ({"max_pixel_spacing": 0.3}, {"PixelSpacing": [0.2, 0.3]}, {"PixelSpacing": [0.2, 0.31]}),
        ({"min_pixel_spacing": 0.1}, {"PixelSpacing": [0.1, 0.1]}, {"PixelSpacing": [0.09, 0.1]}),
        ({"max_pixel_spacing": 0.3}, {"ImagerPixelSpacing": [0.2, 0.2]}, {"ImagerPixelSpacing": [9, 9]}),
    ],
)
def test_conditions_on_the_picture_itself(condition: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]) -> None:
    conditions = RoutingConditions(**condition)
    assert outcome(header(**good), conditions) is None
    assert outcome(header(**bad), conditions) is Reason.UNUSABLE_GEOMETRY


def test_what_such_a_condition_cannot_see_is_recorded() -> None:
    conditions = RoutingConditions(min_bits_stored=10, max_pixel_spacing=0.3)
    facts = ImageFacts.from_dataset(header(BitsStored=None))
    assert screen(facts, conditions) is None
    assert remarks(facts, conditions) == ("bits stored not stated", "pixel spacing not stated")
    assert remarks(facts, RoutingConditions()) == ()


@pytest.mark.parametrize("spacing", [[0.1], [0.1, 0], [0.1, -1], ["x", "y"], [0.1, "nan"], []])
def test_a_spacing_that_means_nothing_counts_as_not_stated(spacing: list[Any]) -> None:
    dataset = header()
    dataset[0x00280030] = DataElement(0x00280030, "LO", [str(value) for value in spacing])
    assert ImageFacts.from_dataset(dataset).pixel_spacing is None


def test_only_the_named_senders_images_are_read() -> None:
    conditions = RoutingConditions(calling_ae_titles=("CR_ROOM1",))
    facts = ImageFacts.from_dataset(header())
    assert screen(replace(facts, calling_ae_title="CR_ROOM1"), conditions) is None
    refusal = screen(replace(facts, calling_ae_title="CR_ROOM2"), conditions)
    assert refusal is not None
    assert (refusal.reason, refusal.detail) == (Reason.NO_BUNDLE, "another sender's images")
    assert not addressed_to(facts, conditions)
