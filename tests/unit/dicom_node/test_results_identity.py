"""Patient and study reach the result in the source's own bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from odd_sources import ODD
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from result_cases import objects, positive, radiograph, report

from dicom_node.results.files import write
from dicom_node.results.identity import COPIED, REQUIRED, SourceHeader, put_identity

CHARACTER_SETS = [
    "chrArab", "chrFren", "chrFrenMulti", "chrGB2312", "chrGerm", "chrGreek", "chrH31", "chrH32", "chrHbrw", "chrI2",
    "chrJapMulti", "chrJapMultiExplicitIR6", "chrKoreanMulti", "chrRuss", "chrSQEncoding", "chrSQEncoding1", "chrX1",
    "chrX2",
]  # fmt: skip


def raw(dataset: Dataset, keyword: str) -> bytes | None:
    """The encoded value without padding; None when absent."""
    if keyword not in dataset:
        return None
    element = dataset.get_item(tag_for_keyword(keyword))  # type: ignore[arg-type]
    assert isinstance(element, RawDataElement), f"{keyword} was decoded"
    return bytes(element.value or b"").rstrip(b"\x00 ")


def with_identity_of(patient: Dataset, header: Dataset) -> Dataset:
    """A radiograph of this patient: the header with the patient's elements, undecoded."""
    for keyword in (*COPIED, "SpecificCharacterSet"):
        tag = tag_for_keyword(keyword)
        if keyword != "StudyInstanceUID" and tag is not None and tag in patient:
            header[tag] = patient.get_item(tag)
    header.set_original_encoding(*patient.original_encoding, patient.original_character_set)
    return header


def stored(dataset: Dataset, folder: Path) -> Dataset:
    write(dataset, folder / "result.dcm")
    return dcmread(folder / "result.dcm")


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_identity_is_byte_equal_in_every_character_set(name: str, test_data: Path, tmp_path: Path) -> None:
    source, pristine = (
        with_identity_of(
            dcmread(test_data / "charsets" / f"{name}.dcm", force=True),
            radiograph(PatientName="Doe^Jane", ReferringPhysicianName="Roe", SpecificCharacterSet=None),
        )
        for _ in range(2)
    )
    single = [k for k in COPIED if k in pristine and dictionary_VR(tag_for_keyword(k)) != "SQ"]  # type: ignore[arg-type]
    expected = {keyword: raw(pristine, keyword) for keyword in single}
    assert len(expected) > 9
    for kind, made in objects(source).items():
        result = stored(made, tmp_path)
        assert {keyword: raw(result, keyword) for keyword in single} == expected, kind
        assert result.get("SpecificCharacterSet") == pristine.get("SpecificCharacterSet")
        assert result.PatientName == pristine.PatientName


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_identity_survives_every_encoding_of_the_source(syntax: str, tmp_path: Path) -> None:
    item = Dataset()
    item.PatientID, item.TypeOfPatientID, item.IssuerOfPatientID = "7ü", "TEXT", "Klinik Süd"
    source = radiograph(syntax, OtherPatientIDsSequence=[item], PatientWeight="70.5", PatientAge="076Y")
    result = stored(report(source, positive(source)), tmp_path)
    assert raw(result, "PatientName") == "Müller^Jörg".encode("latin-1")
    assert result.PatientName == "Müller^Jörg"
    assert result.ReferringPhysicianName == "Weiß^Anna"
    other = result.OtherPatientIDsSequence[0]
    assert (other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID) == ("7ü", "Klinik Süd", "TEXT")
    assert (result.PatientWeight, result.PatientAge) == (70.5, "076Y")


def test_a_nested_character_set_is_kept(test_data: Path, tmp_path: Path) -> None:
    item = Dataset()
    item.SpecificCharacterSet, item.PatientID, item.TypeOfPatientID = "ISO_IR 192", "山田", "TEXT"
    source = radiograph(OtherPatientIDsSequence=[item])
    result = stored(report(source, positive(source)), tmp_path)
    assert result.OtherPatientIDsSequence[0].PatientID == "山田"
    assert result.PatientName == "Müller^Jörg"


def test_elements_that_were_looked_at_before_still_mean_the_same(tmp_path: Path) -> None:
    source = radiograph()
    assert source.PatientName == "Müller^Jörg"
    assert source.StudyDescription == "Thorax"
    result = stored(report(source, positive(source)), tmp_path)
    assert raw(result, "PatientName") == "Müller^Jörg".encode("latin-1")
    assert result.PatientName == "Müller^Jörg"


@pytest.mark.parametrize("keyword", REQUIRED)
def test_what_a_source_lacks_is_there_and_empty(keyword: str) -> None:
    source = radiograph(**{keyword: None})
    result = report(source, positive(source))
    assert keyword in result
    assert raw(result, keyword) == b""


@pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:The value length")
def test_an_illegal_code_is_blanked_and_named_and_nothing_else_changes() -> None:
    source = radiograph(PatientSex="U", PatientAge="81", StudyDate="2025.01.02", AccessionNumber="A" * 20)
    target = Dataset()
    adjusted = put_identity(SourceHeader(source), target)
    assert sorted(adjusted) == ["PatientAge", "PatientSex", "StudyDate"]
    assert target.PatientSex == ""
    assert "PatientAge" not in target
    assert raw(target, "StudyDate") == b"20250102"
    assert raw(target, "AccessionNumber") == b"A" * 20
    assert raw(target, "PatientName") == "Müller^Jörg".encode("latin-1")


def test_a_report_names_what_it_corrected_without_the_values() -> None:
    source = radiograph(PatientSex="U")
    texts = [
        item.TextValue
        for container in report(source, positive(source)).ContentSequence
        if container.ValueType == "CONTAINER"
        for item in container.ContentSequence
        if item.ValueType == "TEXT"
    ]
    assert texts[-1].endswith("differ here: PatientSex.")


def test_a_legal_source_needs_no_adjustment() -> None:
    assert put_identity(SourceHeader(radiograph()), Dataset()) == ()


def test_no_private_element_and_no_pixel_reaches_a_result() -> None:
    source = radiograph()
    block = source.private_block(0x0011, "SOMEONE", create=True)
    block.add_new(0x01, "LO", "secret")
    result = report(source, positive(source))
    assert not [tag for tag in result.keys() if tag.is_private]  # noqa: SIM118
    assert "PixelData" not in result


def test_a_torn_sequence_does_not_stop_the_report() -> None:
    buffer = BytesIO()
    radiograph().save_as(buffer, implicit_vr=False, little_endian=True)
    # (0010,1002) whose item is longer than the sequence holds
    torn = b"\x10\x00\x02\x10SQ\x00\x00\x08\x00\x00\x00\xfe\xff\x00\xe0\xff\x00\x00\x00"
    header = dcmread(BytesIO(buffer.getvalue() + torn), force=True)
    assert report(header, positive(header)).PatientID == "P-1"


def test_every_copied_keyword_is_a_dicom_attribute() -> None:
    for keyword in COPIED:
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        assert keyword_for_tag(tag) == keyword


def test_letters_without_a_declared_set_stay_as_undeclared_as_they_were(tmp_path: Path) -> None:
    header = radiograph(SpecificCharacterSet=None, PatientName="x", ReferringPhysicianName="y")
    value = b"M\xfcller^J\xf6rg "
    tag = BaseTag(0x00100010)
    header[tag] = RawDataElement(tag, "PN", len(value), value, 0, False, True)
    for made in objects(header).values():
        result = stored(made, tmp_path)
        assert raw(result, "PatientName") == value.rstrip()
        assert "SpecificCharacterSet" not in result


def test_utf_8_that_nobody_declared_is_declared_and_named() -> None:
    source = ODD["undeclared UTF-8"].make()
    target = Dataset()
    assert put_identity(SourceHeader(source), target) == ("SpecificCharacterSet",)
    assert target.SpecificCharacterSet == "ISO_IR 192"
    assert raw(target, "PatientName") == "Müller^Jörg".encode()


def test_other_text_that_nobody_declared_stays_undeclared() -> None:
    source = ODD["undeclared Latin 1"].make()
    target = Dataset()
    assert put_identity(SourceHeader(source), target) == ()
    assert "SpecificCharacterSet" not in target
    assert raw(target, "PatientName") == "Müller^Jörg".encode("latin-1")


@pytest.mark.parametrize(
    ("said", "method"),
    [({}, "Not stated by the source"), ({"DeidentificationMethod": "by hand"}, "by hand")],
)
def test_how_a_patient_was_de_identified_is_said(said: dict[str, str], method: str) -> None:
    target = Dataset()
    put_identity(SourceHeader(radiograph(PatientIdentityRemoved="YES", **said)), target)
    assert target.DeidentificationMethod == method
