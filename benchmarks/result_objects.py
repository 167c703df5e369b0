"""What a report and its picture cost, beside the same made with the bare calls of highdicom, OpenCV and imagecodecs.

A synthetic DX of 2500 × 2048 with five findings, one of them positive. Both sides begin with the image as it is looked
at and its activation map, and end with the encoded Comprehensive 3D SR and Secondary Capture (JPEG baseline). They take
turns within one run. Ours says more than the bare calls do: outline, legend, contributing equipment, evidence, image
library, identity byte for byte; and reads back what it encoded. Goal: at most 1.5 times the bare calls.

Usage: ``python benchmarks/result_objects.py --repeats 15 --write``
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import cv2
import highdicom
import imagecodecs
import numpy as np
import pydicom
from alternating import Timing, alternate
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node import results
from triage.findings import (
    Algorithm,
    AnalysisResult,
    Code,
    Finding,
    ImageResult,
    Region,
    Score,
    ScoreKind,
    Urgency,
)
from triage.profiles import Profile

ROOT: Final = Path(__file__).parents[1]
GOAL: Final = 1.5
SHAPE: Final = (2500, 2048)
SIDE: Final = 1024
_JPEG: Final = Profile(compression="jpeg")
_NODE: Final = results.NodeIdentity(software_version="0", name="BENCH", device_uid="2.25.1")
_AT: Final = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
_ALGORITHM: Final = Algorithm(
    name="bench", version="1", manufacturer="bench", weights_sha256="ab" * 32, research=True,
    disclaimer="Not for diagnosis", parameters=("input=320x320",),
)  # fmt: skip
_KINDS: Final = (
    ("Pneumothorax", "36118008", 0.94), ("Pleural effusion", "60046008", 0.12), ("Cardiomegaly", "8186001", 0.3),
    ("Lung consolidation", "95436008", 0.05), ("Nodule", "27925004", 0.2),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="keep the table in docs/measurements/")
    arguments = parser.parse_args()
    table = measure(arguments.repeats)
    print(table)
    if arguments.write:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        stamp = datetime.now(UTC)
        (ROOT / "docs" / "measurements" / f"result-objects-{stamp:%Y-%m-%d}.md").write_text(
            f"# Report and picture of a radiograph, {stamp:%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}\n\n"
            f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}, highdicom "
            f"{highdicom.__version__}, {arguments.repeats} repeats, one thread. Written by "
            f"`benchmarks/result_objects.py --write`.\n\n{table}\n",
            encoding="utf-8",
        )


def measure(repeats: int) -> str:
    """A Markdown table: each step, ours beside the bare calls."""
    cv2.setNumThreads(1)
    header, display, activation = _header(), _display(), _activation()
    return _page(alternate({**_ours(header, display, activation), **_bare(header, display, activation)}, repeats))


def _ours(
    header: Dataset, display: NDArray[np.float32], activation: NDArray[np.float32]
) -> dict[str, Callable[[], Any]]:
    """Our steps, each with what those before it made at hand, and all of them after each other."""
    image = _result(header)
    marked = image.positives[0]
    picture = results.compose_heat_map(display, activation, image, _ALGORITHM, marked=marked)

    def compose() -> NDArray[np.uint8]:
        return results.compose_heat_map(display, activation, image, _ALGORITHM, marked=marked)

    def capture(shown: NDArray[np.uint8]) -> Dataset:
        return results.build_heat_map(
            header, shown, image, _ALGORITHM, node=_NODE, revision=1, created_at=_AT, number=1, profile=_JPEG
        )

    def report(heat_map: Dataset) -> Dataset:
        return results.build_report(
            [header], AnalysisResult(algorithm=_ALGORITHM, images=(image,)),
            heat_maps={image.sop_instance_uid: heat_map}, node=_NODE, revision=1, predecessor=None, created_at=_AT,
            profile=_JPEG,
        )  # fmt: skip

    made = capture(picture)

    return {
        "ours: picture": compose,
        "ours: SC": lambda: capture(picture),
        "ours: SR": lambda: report(made),
        "ours: all": lambda: report(capture(compose())),
    }


def _bare(
    header: Dataset, display: NDArray[np.float32], activation: NDArray[np.float32]
) -> dict[str, Callable[[], Any]]:
    """The bare calls: overlay by OpenCV, SC and SR by highdicom, JPEG by imagecodecs."""
    decoded = copy.deepcopy(header)
    for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName"):
        if keyword not in decoded:
            setattr(decoded, keyword, "")
    grey = np.zeros((SIDE, round(SIDE * SHAPE[1] / SHAPE[0])), np.uint8)
    overlay = _overlay(display, activation, grey.shape)

    def blend() -> NDArray[np.uint8]:
        return _overlay(display, activation, grey.shape)

    def capture(shown: NDArray[np.uint8]) -> bytes:
        made = highdicom.sc.SCImage.from_ref_dataset(
            ref_dataset=decoded, pixel_array=shown, photometric_interpretation="RGB", bits_allocated=8,
            coordinate_system="PATIENT", series_instance_uid=highdicom.UID(), series_number=9002,
            sop_instance_uid=highdicom.UID(), instance_number=1, manufacturer="bench", patient_orientation=("L", "F"),
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )  # fmt: skip
        stream = imagecodecs.jpeg8_encode(shown, level=90, subsampling="422")
        made.PixelData = pydicom.encaps.encapsulate([bytes(stream)])
        made["PixelData"].is_undefined_length = True
        made.PhotometricInterpretation = "YBR_FULL_422"
        made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        return _saved(made)

    def report() -> bytes:
        return _saved(_bare_report(decoded))

    def everything() -> None:
        capture(blend())
        report()

    return {
        "bare: picture": blend,
        "bare: SC": lambda: capture(overlay),
        "bare: SR": report,
        "bare: all": everything,
    }


def _overlay(
    display: NDArray[np.float32], activation: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    size = shape[1], shape[0]
    grey = (cv2.resize(display, size, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)
    heat = cv2.applyColorMap((cv2.resize(activation, size) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.addWeighted(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), 0.6, heat[:, :, ::-1].copy(), 0.4, 0))


def _bare_report(source: Dataset) -> Dataset:
    """TID 1500 with one TID 1410 group, as highdicom's own examples write it, and the other findings as evaluations."""
    observer = highdicom.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=highdicom.sr.DeviceObserverIdentifyingAttributes(uid="2.25.1", name="BENCH"),
    )
    image = highdicom.sr.SourceImageForRegion.from_source_image(source)
    outline = np.array([[x, y] for x, y in _region().outline], np.float64)
    group = highdicom.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(uid=highdicom.UID(), identifier="bench"),
        finding_type=CodedConcept("36118008", "SCT", "Pneumothorax"),
        referenced_region=highdicom.sr.ImageRegion(highdicom.sr.GraphicTypeValues.POLYLINE, outline, image),
        measurements=[highdicom.sr.Measurement(name=codes.DCM.Probability, value=0.94, unit=codes.UCUM.NoUnits)],
        qualitative_evaluations=[
            highdicom.sr.QualitativeEvaluation(CodedConcept(value, "SCT", meaning), codes.DCM.Present)
            for meaning, value, _ in _KINDS
        ],
        algorithm_id=highdicom.sr.AlgorithmIdentification(
            name="bench", version="1", family=codes.DCM.ArtificialIntelligence
        ),
    )  # fmt: skip
    content = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return highdicom.sr.Comprehensive3DSR(
        evidence=[source], content=content, series_instance_uid=highdicom.UID(), series_number=9001,
        sop_instance_uid=highdicom.UID(), instance_number=1, manufacturer="bench", is_complete=True,
    )  # fmt: skip


def _page(taken: dict[str, Timing]) -> str:
    lines = ["| step | ours, ms | bare calls, ms | ratio |", "|---|---|---|---|"]
    for step, words in _STEPS.items():
        ours, bare = taken[f"ours: {step}"], taken[f"bare: {step}"]
        lines.append(f"| {words} | {ours.text()} | {bare.text()} | {ours.median / bare.median:.2f} |")
    lines += ["", f"Goal for all of it: at most {GOAL} times the bare calls."]
    return "\n".join(lines)


_STEPS: Final = {
    "picture": "picture: shrink, colours, outline, legend",
    "SC": "Secondary Capture: header, JPEG, encoding",
    "SR": "report: content tree, header, encoding",
    "all": "all of it",
}


def _saved(made: Dataset) -> bytes:
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _result(header: Dataset) -> ImageResult:
    found = tuple(
        Finding(
            key=meaning, code=Code(value=value, scheme="SCT", meaning=meaning),
            site=Code(value="39607008", scheme="SCT", meaning="Lung"), urgency=Urgency.STAT,
            score=Score(value=score, threshold=0.6, kind=ScoreKind.CALIBRATED_PROBABILITY),
            region=_region() if score > 0.6 else None,
        )
        for meaning, value, score in _KINDS
    )  # fmt: skip
    return ImageResult(sop_instance_uid=str(header.SOPInstanceUID), findings=found)


def _region() -> Region:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = [(600 + 200 * float(np.cos(angle)), 700 + 250 * float(np.sin(angle))) for angle in angles]
    return Region(outline=(*points, points[0]), peak=(600.0, 700.0))


def _display() -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    smooth = cv2.resize(rng.random((20, 16)), SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 0.01, SHAPE), 0, 1).astype(np.float32)


def _activation() -> NDArray[np.float32]:
    y, x = np.mgrid[0:1024, 0:838] / 1024
    return np.exp(-((x - 0.3) ** 2 + (y - 0.3) ** 2) * 40).astype(np.float32)


def _header() -> Dataset:
    header: Any = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    header.SOPInstanceUID, header.SeriesInstanceUID, header.StudyInstanceUID = "2.25.2", "2.25.3", "2.25.4"
    header.PatientName, header.PatientID = "Bench^Mark", "B-1"
    header.PatientBirthDate, header.PatientSex = "19500102", "M"
    header.StudyDate, header.StudyTime, header.StudyID = "20261128", "070809", "S1"
    header.AccessionNumber, header.ReferringPhysicianName = "A-1", "Roe^Ann"
    header.Manufacturer, header.Modality, header.BodyPartExamined = "Scanner AG", "DX", "CHEST"
    header.SeriesNumber, header.InstanceNumber = 1, 1
    header.PatientOrientation, header.ImagerPixelSpacing = ["L", "F"], [0.143, 0.143]
    header.Rows, header.Columns = SHAPE
    buffer = BytesIO()
    header.save_as(buffer, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    read = pydicom.dcmread(buffer, force=True)
    read.file_meta = pydicom.dataset.FileMetaDataset()
    read.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return read


if __name__ == "__main__":
    main()
