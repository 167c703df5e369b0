"""What every phantom image says alike, whatever it is a picture of: its invented patient, its maker, its file."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from models.metadata import PHANTOM_MANUFACTURER

_NAMESPACE = uuid.UUID("0f7a86cc-6f0c-5b5e-9d8e-3c1f8a4b2d10")
_IMPLEMENTATION = "2.25.265190841227186394201527906187305491047"


def phantom_uid(seed: int, index: int, level: str, *, unseen: bool = False) -> str:
    """The UID of one object of one phantom: the same arguments, the same UID.

    Parameters
    ----------
    unseen : bool
        Taken on the scanner that no training saw: the same patient, another examination.
    """
    scanner = "/unseen" if unseen else ""
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{seed}/{index}/{level}{scanner}').int}"


def say_patient(ds: Dataset, *, name: str, patient_id: str, age: int, sex: str, taken_at: datetime) -> None:
    """Patient and Patient Study (PS3.3 C.7.1.1, C.7.2.2); ``age`` in years at the time of the image."""
    born = taken_at - timedelta(days=age * 365.25 + 100)
    ds.PatientName = name
    ds.PatientID = patient_id
    ds.PatientBirthDate = born.strftime("%Y%m%d")
    ds.PatientSex = sex
    ds.PatientAge = f"{age:03d}Y"


def say_times(ds: Dataset, taken_at: datetime) -> None:
    """Dates and times of study, series, acquisition and content."""
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = taken_at.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = taken_at.strftime("%H%M%S")


def say_equipment(ds: Dataset, model_name: str, *, unseen: bool = False) -> None:
    """General Equipment (PS3.3 C.7.5.1); routing knows a phantom by its manufacturer, whatever its scanner."""
    ds.Manufacturer = PHANTOM_MANUFACTURER
    ds.ManufacturerModelName = f"{model_name}, unseen scanner" if unseen else model_name
    ds.InstitutionName = "firstread phantom hospital"
    ds.StationName = "PHANTOM"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"


def file_meta(ds: Dataset) -> FileMetaDataset:
    """File meta information (PS3.10 7.1) for Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    meta.ImplementationVersionName = "FIRSTREAD_PH"
    return meta
