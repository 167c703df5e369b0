"""A head-CT phantom as DICOM: one CT Image (PS3.3 A.3) per slice."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from models.phantom.head_ct import HeadCt
from models.phantom.shared_modules import file_meta, phantom_uid, say_equipment, say_patient, say_times


def to_datasets(head: HeadCt, seed: int, index: int, *, taken_at: datetime) -> list[Dataset]:
    """The series with an invented patient, from the skull base up; the same arguments always give the same objects.

    Parameters
    ----------
    taken_at : datetime
        Study date and time, as the wall clock of the imaginary department shows it.

    Returns
    -------
    list of Dataset
        With file meta information, Explicit VR Little Endian, ready for :meth:`~pydicom.dataset.Dataset.save_as`.
    """
    return [_slice(head, seed, index, number, taken_at) for number in range(len(head))]


def write_series(head: HeadCt, folder: Path, seed: int, index: int, *, taken_at: datetime) -> list[Dataset]:
    """Write ``slice_001.dcm``, … as Part 10 files and return the datasets. Overwrites them."""
    folder.mkdir(parents=True, exist_ok=True)
    datasets = to_datasets(head, seed, index, taken_at=taken_at)
    for number, dataset in enumerate(datasets, start=1):
        dataset.save_as(folder / f"slice_{number:03d}.dcm", enforce_file_format=True)
    return datasets


def _slice(head: HeadCt, seed: int, index: int, number: int, taken_at: datetime) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CTImageStorage
    unseen = head.scanner.unseen
    ds.SOPInstanceUID = phantom_uid(seed, index, f"head/instance/{number}", unseen=unseen)
    ds.StudyInstanceUID = phantom_uid(seed, index, "head/study", unseen=unseen)
    ds.SeriesInstanceUID = phantom_uid(seed, index, "head/series", unseen=unseen)
    ds.FrameOfReferenceUID = phantom_uid(seed, index, "head/frame", unseen=unseen)
    ds.PositionReferenceIndicator = "OM"
    say_patient(
        ds,
        name=f"Phantom^Head{index:04d}",
        patient_id=f"HEAD-{seed}-{index:04d}",
        age=head.head.age,
        sex=head.head.sex,
        taken_at=taken_at,
    )
    _study(ds, head, seed, index, number, taken_at)
    say_equipment(ds, "Synthetic head", unseen=unseen)
    _place(ds, head, number)
    _image(ds, head, number)
    ds.file_meta = file_meta(ds)
    return ds


def _study(ds: Dataset, head: HeadCt, seed: int, index: int, number: int, taken_at: datetime) -> None:
    say_times(ds, taken_at)
    ds.AccessionNumber = f"{'G' if head.scanner.unseen else 'H'}{seed % 10_000_000}-{index:04d}"
    ds.StudyID = str(index)
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "CT head"
    ds.SeriesDescription = "Head axial"
    ds.Modality = "CT"
    ds.SeriesNumber = 2
    ds.AcquisitionNumber = 1
    ds.InstanceNumber = number + 1
    ds.BodyPartExamined = "HEAD"
    ds.PatientPosition = "HFS"


def _place(ds: Dataset, head: HeadCt, number: int) -> None:
    """Image Plane (PS3.3 C.7.6.2) and the CT's own words for it."""
    scanner = head.scanner
    ds.PixelSpacing = [f"{head.pitch:.6f}"] * 2
    ds.ImageOrientationPatient = [f"{value:.8f}" for value in head.orientation]
    ds.ImagePositionPatient = [f"{value:.4f}" for value in head.positions[number]]
    ds.SliceThickness = f"{scanner.thickness:g}"
    ds.SliceLocation = f"{head.positions[number][2]:.2f}"
    ds.GantryDetectorTilt = f"{math.degrees(scanner.tilt):.2f}"
    ds.ReconstructionDiameter = f"{scanner.field:.2f}"
    ds.KVP = str(scanner.kvp)
    ds.ConvolutionKernel = "SOFT" if scanner.kernel > 0.45 else "SHARP"


def _image(ds: Dataset, head: HeadCt, number: int) -> None:
    stored, storage = head.pixels[number], head.scanner.storage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated = 16
    ds.BitsStored = storage.bits_stored
    ds.HighBit = storage.bits_stored - 1
    ds.PixelRepresentation = int(storage.signed)
    if storage.padding is not None:
        ds.add_new(0x00280120, "SS" if storage.signed else "US", storage.padding)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = f"{storage.intercept:g}", f"{storage.slope:g}", "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "80"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.ImageComments = "Synthetic image, no patient"
    ds.PixelData = stored.astype("<i2" if storage.signed else "<u2").tobytes()
    ds["PixelData"].VR = "OW"
