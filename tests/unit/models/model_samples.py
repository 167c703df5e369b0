"""Small images and metadata that the tests of the models share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from models.metadata import BundleMetadata, Calibration, FindingSpec, InputSpec, RoutingConditions, TrainingSummary
from triage.findings import Code, ScoreKind

PNEUMOTHORAX = Code(value="36118008", scheme="SCT", meaning="Pneumothorax")
EFFUSION = Code(value="60046008", scheme="SCT", meaning="Pleural effusion")
PLEURA = Code(value="3120008", scheme="SCT", meaning="Pleural structure")
ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("FIRSTREAD_TEST_DATA", ROOT.parent / "shared" / "data"))


def data_files(*patterns: str) -> list[Any]:
    """Real files below the test data as parameters, or one skipped parameter where they are absent."""
    if not DATA.is_dir():
        return [pytest.param(DATA, marks=pytest.mark.skip(f"no test data at {DATA}: set FIRSTREAD_TEST_DATA"))]
    found = sorted(path for pattern in patterns for path in DATA.glob(pattern) if path.is_file())
    return [pytest.param(path, id=str(path.relative_to(DATA))) for path in found]


def make_metadata(**changes: Any) -> BundleMetadata:
    fields: dict[str, Any] = {
        "format_version": 1,
        "name": "tiny-cxr",
        "version": "0.1.0",
        "manufacturer": "firstread",
        "licence": "Apache-2.0",
        "intended_use": "Tests.",
        "limits": ("Random weights: it knows nothing.",),
        "research": True,
        "disclaimer": "NOT FOR DIAGNOSIS",
        "architecture": "shufflenet_v2_x0_5",
        "input": InputSpec(height=64, width=96, mean=0.5, std=0.25),
        "findings": (
            FindingSpec(key="pneumothorax", code=PNEUMOTHORAX, site=PLEURA, threshold=0.5, temperature=2.0),
            FindingSpec(key="pleural_effusion", code=EFFUSION, threshold=0.4, bias=0.3),
        ),
        "calibration": Calibration(score_kind=ScoreKind.UNCALIBRATED_PROBABILITY, method="none"),
        "routing": RoutingConditions(manufacturer_not=("firstread phantom",), min_age_years=18, gate="none"),
        "training": TrainingSummary(data="none", images=0, seed=0, date="2026-01-01"),
    }
    return BundleMetadata.model_validate({**fields, **changes})


def make_dataset(pixels: NDArray[Any], *, bits_stored: int | None = None, **elements: Any) -> Dataset:
    """A DX image for presentation, uncompressed, of a chest, with these pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.SOPInstanceUID = "2.25.1"
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits_stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset
