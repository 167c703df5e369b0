"""Objects to ingest: CT slices of half a megabyte in two studies, radiographs of ten megabytes in a study each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from triage.identifiers import derive_uid

COUNTS: Final = {"ct": 400, "cr": 40}
"""How many of each kind one run sends."""
_SHAPES: Final = {"ct": (512, 512), "cr": (2500, 2048)}
_PER_STUDY: Final = {"ct": 200, "cr": 1}


def write(folder: Path, kind: str, count: int, seed: int) -> list[Path]:
    """Write ``count`` objects of a kind; the same seed gives the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 4096, _SHAPES[kind], dtype=np.uint16)
    paths = []
    for number in range(count):
        path = folder / f"{kind}{number:04d}.dcm"
        _dataset(kind, number, np.roll(pixels, number, axis=0), seed).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _dataset(kind: str, number: int, pixels: np.ndarray, seed: int) -> Dataset:
    study = number // _PER_STUDY[kind]
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"] + (["AXIAL"] if kind == "ct" else [])
    dataset.SOPClassUID = CTImageStorage if kind == "ct" else DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = derive_uid("ingest", str(seed), kind, str(number)).replace(
        "2.25.", "1.2.826.0.1.3680043.10.", 1
    )[:64]
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20260101"
    dataset.StudyTime = dataset.ContentTime = "101500"
    dataset.AccessionNumber = f"A{study:06d}"
    dataset.Modality = "CT" if kind == "ct" else "DX"
    dataset.Manufacturer = "BENCH"
    dataset.ReferringPhysicianName = "Ref^Doc"
    dataset.StudyDescription = "SYNTHETIC"
    dataset.PatientName, dataset.PatientID = f"Synth^{kind}{study}", f"{kind}{study}"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    if kind == "ct":
        dataset.SliceThickness, dataset.KVP = "1.0", "120"
    else:
        dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.StudyInstanceUID = derive_uid("ingest study", str(seed), kind, str(study))
    dataset.SeriesInstanceUID = derive_uid("ingest series", str(seed), kind, str(study))
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number + 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset
