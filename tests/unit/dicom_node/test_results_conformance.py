"""The neighbours' judgement: dciodvfy finds no error in any object, DCMTK renders every report."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from result_cases import ALGORITHM, CREATED_AT, NODE, heat_map, objects, positive, radiograph, tool, validator_errors
from test_results_identity import CHARACTER_SETS, with_identity_of

from dicom_node.results import build_report, build_segmentation
from dicom_node.results.files import write
from dicom_node.results.identity import COPIED
from triage.findings import AnalysisResult, NotAnalysed, NotAnalysedReason
from triage.profiles import Profile

pytestmark = pytest.mark.peer

RADIOGRAPHS = [
    "CR-MONO1-10-chest.dcm", "RG1_J2KI.dcm", "RG3_J2KI.dcm", "RG3_JLSN.dcm", "dx_image.dcm", "udacity_test1.dcm",
    "udacity_test4_ribcage.dcm", "udacity_test5_ct.dcm", "nih-derived/00_J2KR_12bit_M2_NoFinding.dcm",
    "nih-derived/01_J2KR_12bit_M2_Effusion.dcm", "nih-derived/02_RLE_8bit_M1_NoFinding.dcm",
    "nih-derived/03_RLE_8bit_M1_Pneumothorax.dcm", "nih-derived/04_JPEG_8bit_M2_NoFinding.dcm",
    "nih-derived/05_JPEG_8bit_M2_Effusion.dcm", "nih-derived/06_DFL_8bit_M2_NoFinding.dcm",
    "nih-derived/07_DFL_8bit_M2_Cardiomegaly.dcm",
]  # fmt: skip
"""Without CR-ModalitySequenceLUT.dcm, whose own SOP Instance UID is illegal: whatever refers to it is too."""


@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_no_error_for_a_real_radiograph(name: str, test_data: Path, tmp_path: Path) -> None:
    header = dcmread(test_data / "radiograph" / name, force=True, stop_before_pixels=True)
    for kind, made in objects(header).items():
        write(made, tmp_path / "result.dcm")
        assert validator_errors(tmp_path / "result.dcm") == [], kind


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_no_error_for_a_patient_of_any_character_set(name: str, test_data: Path, tmp_path: Path) -> None:
    header = dcmread(test_data / "radiograph" / "RG1_J2KI.dcm", stop_before_pixels=True)
    for keyword in (*COPIED, "SpecificCharacterSet"):
        tag = tag_for_keyword(keyword)
        if tag is not None and tag in header and keyword != "StudyInstanceUID":
            del header[tag]
    header = with_identity_of(dcmread(test_data / "charsets" / f"{name}.dcm", force=True), header)
    for kind, made in objects(header).items():
        write(made, tmp_path / "result.dcm")
        assert validator_errors(tmp_path / "result.dcm") == [], kind


ILLEGAL = {
    "PatientSex": "U",
    "PatientAge": "81",
    "StudyDate": "2025.01.02",
    "StudyTime": "07:08:09",
    "PatientBirthDate": "unknown",
    "SpecificCharacterSet": "ISO_IR 6",
    "PatientOrientation": ["left", "foot"],
    "BodyPartExamined": "chest pa",
    "TimezoneOffsetFromUTC": "CET",
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("keyword", ILLEGAL)
def test_no_error_for_an_illegal_value_in_the_source(keyword: str, tmp_path: Path) -> None:
    ascii_only = {"PatientName": "Doe^Jane", "ReferringPhysicianName": "Roe"}
    source = radiograph(**(ascii_only | {keyword: ILLEGAL[keyword]}))
    for kind, made in objects(source).items():
        write(made, tmp_path / "result.dcm")
        assert validator_errors(tmp_path / "result.dcm") == [], kind


def test_no_error_for_jpeg_and_for_a_rerun(tmp_path: Path) -> None:
    source, lateral = radiograph(), radiograph(SOPInstanceUID="1.2.3.4.7")
    image = positive(source)
    picture = heat_map(source, image, profile=Profile(compression="jpeg"))
    left_out = NotAnalysed(sop_instance_uid="1.2.3.4.7", reason=NotAnalysedReason.UNSUPPORTED_VIEW)
    result = AnalysisResult(algorithm=ALGORITHM, images=(image,), not_analysed=(left_out,))
    first = build_report(
        [source, lateral], result, heat_maps={image.sop_instance_uid: picture}, node=NODE, revision=1,
        predecessor=None, created_at=CREATED_AT,
    )  # fmt: skip
    second = build_report(
        [source, lateral], result, heat_maps={image.sop_instance_uid: picture}, node=NODE, revision=2,
        predecessor=first, created_at=CREATED_AT,
    )  # fmt: skip
    for made in (picture, first, second):
        write(made, tmp_path / "result.dcm")
        assert validator_errors(tmp_path / "result.dcm") == []


@pytest.mark.parametrize(
    "form",
    [
        {"compression": "jpeg-2000"}, {"compression": "rle"}, {"eight_bit": True, "compression": "jpeg"},
        {"segmentation": "fractional", "compression": "jpeg-2000", "character_set": "ascii"},
        {"eight_bit": True, "compression": "rle", "character_set": "latin-1", "series_number": 500,
         "series_description": "KI {kind} ({bundle} {version}) und noch viel mehr Text als erlaubt"},
    ],
    ids=str,
)  # fmt: skip
def test_no_error_in_any_form_that_a_destination_asks_for(form: dict[str, Any], tmp_path: Path) -> None:
    source, profile = radiograph(PhotometricInterpretation="MONOCHROME2"), Profile(**form)
    image = positive(source)
    picture = heat_map(source, image, profile=profile)
    maps = {f.key: np.full((int(source.Rows), int(source.Columns)), 0.5, np.float32) for f in image.positives}
    named = {"node": NODE, "revision": 1, "created_at": CREATED_AT, "profile": profile}
    segmentation = build_segmentation(source, maps, image, ALGORITHM, number=1, **named)
    result = AnalysisResult(algorithm=ALGORITHM, images=(image,))
    shown = {image.sop_instance_uid: [segmentation]}
    report = build_report(
        [source], result, heat_maps={image.sop_instance_uid: picture}, activations=shown, predecessor=None, **named
    )
    for made in (picture, segmentation, report):
        write(made, tmp_path / "result.dcm")
        assert validator_errors(tmp_path / "result.dcm") == [], made.Modality
        assert len(made.SeriesDescription) <= 64


@pytest.mark.parametrize("kind", ["SR", "SR negative"])
def test_dcmtk_renders_the_report(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    write(objects(radiograph())[kind], path)
    html = subprocess.run([tool("dsr2html"), str(path)], capture_output=True, check=True).stdout.decode("latin-1")
    assert "Imaging Measurement Report" in html
    assert "Not for primary diagnosis" in html
    assert "M\xfcller" in html
    dump = subprocess.run([tool("dsrdump"), str(path)], capture_output=True, check=True).stdout.decode("latin-1")
    assert "PRELIMINARY" in dump
    assert "UNVERIFIED" in dump
    assert ('"Probability"' in dump) == (kind == "SR")


def test_dcmtk_decodes_the_jpeg(tmp_path: Path) -> None:
    source = radiograph()
    write(heat_map(source, positive(source), profile=Profile(compression="jpeg")), tmp_path / "sc.dcm")
    subprocess.run([tool("dcmdjpeg"), str(tmp_path / "sc.dcm"), str(tmp_path / "raw.dcm")], check=True)
    assert dcmread(tmp_path / "raw.dcm").pixel_array.shape == (32, 40, 3)
