"""Sources and analyses that the tests of result objects share."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.results import NodeIdentity, build_heat_map, build_report
from triage.findings import (
    Algorithm,
    AnalysisResult,
    Code,
    Finding,
    ImageResult,
    NotAnalysed,
    Region,
    Score,
    ScoreKind,
    Urgency,
)

NODE = NodeIdentity(software_version="0.1.0", name="node-01", device_uid="2.25.77")
ALGORITHM = Algorithm(
    name="cxr-research",
    version="1.2.0",
    manufacturer="firstread authors",
    weights_sha256="ab" * 32,
    research=True,
    disclaimer="Not for primary diagnosis",
    parameters=("calibration=temperature 1.34", "input=224x224"),
)
CREATED_AT = datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)

PNEUMOTHORAX = Code(value="36118008", scheme="SCT", meaning="Pneumothorax")
EFFUSION = Code(value="60046008", scheme="SCT", meaning="Pleural effusion")
LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")


def box(left: float, top: float, right: float, bottom: float) -> Region:
    outline = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return Region(outline=outline, peak=((left + right) / 2, (top + bottom) / 2))


def finding(
    code: Code,
    value: float,
    *,
    threshold: float = 0.6,
    kind: ScoreKind = ScoreKind.CALIBRATED_PROBABILITY,
    site: Code | None = LUNG,
    region: Region | None = None,
) -> Finding:
    key = code.meaning.lower().replace(" ", "_")
    score = Score(value=value, threshold=threshold, kind=kind)
    return Finding(key=key, code=code, site=site, score=score, urgency=Urgency.STAT, region=region)


def positive(header: Dataset, **kwargs: ScoreKind) -> ImageResult:
    """Pneumothorax with a region, no effusion."""
    region = box(1.0, 1.0, header.Columns / 2, header.Rows / 2)
    found = finding(PNEUMOTHORAX, 0.94, region=region, **kwargs)
    return ImageResult(sop_instance_uid=str(header.SOPInstanceUID), findings=(finding(EFFUSION, 0.12, **kwargs), found))


def negative(header: Dataset) -> ImageResult:
    return ImageResult(
        sop_instance_uid=str(header.SOPInstanceUID),
        findings=(finding(PNEUMOTHORAX, 0.2), finding(EFFUSION, 0.12, site=None)),
    )


def radiograph(transfer_syntax_uid: str = ExplicitVRLittleEndian, **attributes: object) -> Dataset:
    """Header of a small legal CR, as dcmread returns it; None deletes an attribute."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    header.SOPInstanceUID, header.SeriesInstanceUID, header.StudyInstanceUID = "1.2.3.4.5", "1.2.3.4", "1.2.3"
    header.PatientName, header.PatientID, header.IssuerOfPatientID = "Müller^Jörg", "P-1", "HOSPITAL"
    header.PatientBirthDate, header.PatientSex = "19500102", "M"
    header.StudyDate, header.StudyTime, header.StudyID = "20261121", "070809", "S1"
    header.AccessionNumber, header.ReferringPhysicianName = "A-1", "Weiß^Anna"
    header.StudyDescription, header.SeriesDescription = "Thorax", "Thorax PA"
    header.Manufacturer, header.ManufacturerModelName = "Scanner AG", "X1"
    header.Modality, header.BodyPartExamined, header.ViewPosition = "CR", "CHEST", "PA"
    header.PatientOrientation, header.ImagerPixelSpacing = ["L", "F"], [0.2, 0.2]
    header.Rows, header.Columns = 64, 48
    for keyword, value in attributes.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    syntax = UID(transfer_syntax_uid)
    buffer = BytesIO()
    header.save_as(buffer, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    buffer.seek(0)
    return dcmread(buffer, force=True)


def report(header: Dataset, image: ImageResult, *, not_analysed: tuple[NotAnalysed, ...] = ()) -> Dataset:
    """The report of one image without heat map."""
    return build_report(
        [header],
        AnalysisResult(algorithm=ALGORITHM, images=(image,), not_analysed=not_analysed),
        heat_maps={},
        node=NODE,
        revision=1,
        predecessor=None,
        created_at=CREATED_AT,
    )


def heat_map(header: Dataset, image: ImageResult, **kwargs: str) -> Dataset:
    picture = np.zeros((32, 40, 3), np.uint8)
    return build_heat_map(
        header, picture, image, ALGORITHM, node=NODE, revision=1, created_at=CREATED_AT, number=1, **kwargs
    )


def objects(header: Dataset) -> dict[str, Dataset]:
    """One object of each kind, the report linked to the heat map."""
    image = positive(header)
    picture = heat_map(header, image)
    linked = build_report(
        [header],
        AnalysisResult(algorithm=ALGORITHM, images=(image,)),
        heat_maps={image.sop_instance_uid: picture},
        node=NODE,
        revision=1,
        predecessor=None,
        created_at=CREATED_AT,
    )
    return {"SC": picture, "SR": linked, "SR negative": report(header, negative(header))}


def tool(name: str) -> str:
    """The path of a neighbour's program; the test is skipped without it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def validator_errors(path: Path) -> list[str]:
    """Lines of dciodvfy that say Error."""
    run = subprocess.run([tool("dciodvfy"), str(path)], capture_output=True, check=False)
    output = (run.stdout + run.stderr).decode("latin-1")
    assert any(line in ("Comprehensive3DSR", "SCImage", "Segmentation") for line in output.splitlines()), output
    return [line for line in output.splitlines() if "Error" in line]
