"""A phantom as a DICOM image: Digital X-Ray Image For Presentation (PS3.3 A.26) or Computed Radiography (A.2)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from models.phantom.radiograph import Phantom
from models.phantom.shared_modules import file_meta, phantom_uid, say_equipment, say_patient, say_times


def to_dataset(phantom: Phantom, seed: int, index: int, *, taken_at: datetime) -> Dataset:
    """The image with an invented patient; the same arguments always give the same object.

    Parameters
    ----------
    taken_at : datetime
        Study date and time, as the wall clock of the imaginary department shows it.

    Returns
    -------
    Dataset
        With file meta information, Explicit VR Little Endian, ready for :meth:`~pydicom.dataset.Dataset.save_as`.
    """
    digital = phantom.scanner.modality == "DX"
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    unseen = phantom.scanner.unseen
    ds.SOPInstanceUID = phantom_uid(seed, index, "instance", unseen=unseen)
    ds.StudyInstanceUID = phantom_uid(seed, index, "study", unseen=unseen)
    ds.SeriesInstanceUID = phantom_uid(seed, index, "series", unseen=unseen)
    say_patient(
        ds,
        name=f"Phantom^Case{index:04d}",
        patient_id=f"PHANTOM-{seed}-{index:04d}",
        age=phantom.anatomy.age,
        sex=phantom.anatomy.sex,
        taken_at=taken_at,
    )
    _study(ds, phantom, seed, index, taken_at)
    say_equipment(ds, "Synthetic chest", unseen=unseen)
    _image(ds, phantom, taken_at)
    _projection(ds, phantom)
    if digital:
        _digital_xray(ds, phantom)
    _display(ds, phantom)
    ds.file_meta = file_meta(ds)
    return ds


def write_dicom(phantom: Phantom, path: Path, seed: int, index: int, *, taken_at: datetime) -> Dataset:
    """Write the phantom as a Part 10 file and return its dataset. Overwrites `path`."""
    dataset = to_dataset(phantom, seed, index, taken_at=taken_at)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def _study(ds: Dataset, phantom: Phantom, seed: int, index: int, taken_at: datetime) -> None:
    say_times(ds, taken_at)
    ds.AccessionNumber = f"{'Q' if phantom.scanner.unseen else 'P'}{seed % 10_000_000}-{index:04d}"
    ds.StudyID = str(index)
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Chest X-ray"
    ds.SeriesDescription = f"Chest {_view(phantom)}"
    ds.Modality = phantom.scanner.modality
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.AcquisitionNumber = 1


def _image(ds: Dataset, phantom: Phantom, taken_at: datetime) -> None:
    rows, columns = phantom.pixels.shape
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""] if phantom.scanner.modality == "DX" else ["ORIGINAL", "PRIMARY"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = phantom.scanner.photometric
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated = 16
    ds.BitsStored = phantom.scanner.bits_stored
    ds.HighBit = phantom.scanner.bits_stored - 1
    ds.PixelRepresentation = 0
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.PatientOrientation = ["L", "F"]
    ds.AcquisitionDateTime = taken_at.strftime("%Y%m%d%H%M%S")
    ds.ImageComments = "Synthetic image, no patient"
    ds.PixelData = phantom.pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"


def _projection(ds: Dataset, phantom: Phantom) -> None:
    pitch = f"{phantom.spacing:.6f}"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = _view(phantom)
    ds.KVP = f"{phantom.scanner.kvp:g}"
    ds.ImagerPixelSpacing = [pitch, pitch]
    ds.DistanceSourceToDetector = "1000" if phantom.anatomy.anteroposterior else "1800"
    # CR: plate and cassette are type 2 in PS3.3 C.8.1.1; the values are the manufacturer's words.
    if phantom.scanner.modality == "CR":
        ds.PlateType = ds.CassetteOrientation = None


def _digital_xray(ds: Dataset, phantom: Phantom) -> None:
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageLaterality = "U"
    ds.PositionerType = "NONE"
    ds.DetectorType = "DIRECT"
    ds.PixelIntensityRelationship = "LOG"
    # The sign says how stored values follow the beam: 1 where more photons give higher values (C.8.11.3).
    ds.PixelIntensityRelationshipSign = 1 if phantom.scanner.photometric == "MONOCHROME1" else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape = "INVERSE" if phantom.scanner.photometric == "MONOCHROME1" else "IDENTITY"
    ds.AnatomicRegionSequence = [_code("816094009", "SCT", "Chest")]
    ds.AcquisitionContextSequence = []
    view = ("399348003", "antero-posterior") if phantom.anatomy.anteroposterior else ("272479007", "postero-anterior")
    ds.ViewCodeSequence = [_code(view[0], "SCT", view[1])]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []


def _display(ds: Dataset, phantom: Phantom) -> None:
    if phantom.scanner.window is not None:
        center, width = phantom.scanner.window
        ds.WindowCenter, ds.WindowWidth = f"{center:g}", f"{width:g}"
    elif phantom.scanner.voi_lut is not None:
        lut = Dataset()
        lut.LUTDescriptor = [len(phantom.scanner.voi_lut), 0, 12]
        lut["LUTDescriptor"].VR = "US"
        lut.add_new(0x00283006, "OW", phantom.scanner.voi_lut.astype("<u2").tobytes())
        lut.LUTExplanation = "Chest"
        ds.VOILUTSequence = [lut]


def _view(phantom: Phantom) -> str:
    return "AP" if phantom.anatomy.anteroposterior else "PA"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
