"""The image library of a report (TID 1600): which images it was made from, and what they are like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset

from dicom_node.results import codes
from dicom_node.results.content_items import (
    Relationship,
    coded,
    container,
    image,
    number,
    text,
    unique_identifier,
)
from dicom_node.results.evidence import CROSS_SECTIONAL, PROJECTION, reference
from triage.findings import Code

_ACQUISITION = Relationship.ACQUISITION_CONTEXT


def image_library(images: Iterable[Dataset], silent: Iterable[Dataset] = ()) -> Dataset:
    """TID 1600; OHIF cannot open a report without one.

    Parameters
    ----------
    images : iterable of Dataset
        From :func:`~dicom_node.results.evidence.library_header`.
    silent : iterable of Dataset
        Items of :func:`~dicom_node.results.evidence.reference`: images that are listed without description.
    """
    entries = [_described(header) for header in images]
    entries += [image(codes.SOURCE, item) for item in silent]
    return container(codes.IMAGE_LIBRARY, [container(codes.IMAGE_LIBRARY_GROUP, entries)])


def _described(header: Dataset) -> Dataset:
    """TID 1601. An image of a class that has no code for its modality is listed without description."""
    entry = image(codes.SOURCE, reference(header))
    modality = _MODALITIES.get(header.SOPClassUID)
    if modality is not None:
        entry.ContentSequence = list(_descriptors(header, modality))
    return entry


def _descriptors(header: Dataset, modality: Code) -> Iterator[Dataset]:
    """TID 1602, and TID 1603 of a radiograph or TID 1604 of a slice."""
    yield coded(_MODALITY, modality, _ACQUISITION)
    if "FrameOfReferenceUID" in header:
        yield unique_identifier(_FRAME_OF_REFERENCE_UID, header.FrameOfReferenceUID, _ACQUISITION)
    yield number(_ROWS, header.Rows, _PIXELS, _ACQUISITION)
    yield number(_COLUMNS, header.Columns, _PIXELS, _ACQUISITION)
    if header.Modality in CROSS_SECTIONAL:
        yield from _spacing(header.PixelSpacing)
        yield number(_SLICE_THICKNESS, header.SliceThickness, _MILLIMETRES, _ACQUISITION)
        for name, position in zip(_POSITION, header.ImagePositionPatient, strict=True):
            yield number(name, position, _MILLIMETRES, _ACQUISITION)
        for name, cosine in zip(_ORIENTATION, header.ImageOrientationPatient, strict=True):
            yield number(name, cosine, _COSINE, _ACQUISITION)
    elif header.Modality in PROJECTION:
        along_row, along_column = header.PatientOrientation
        yield text(_ORIENTATION_OF_ROW, along_row, _ACQUISITION)
        yield text(_ORIENTATION_OF_COLUMN, along_column, _ACQUISITION)
        yield from _spacing(header.ImagerPixelSpacing)


def _spacing(spacing: Iterable[float]) -> Iterator[Dataset]:
    between_rows, between_columns = spacing
    yield number(_HORIZONTAL_SPACING, between_columns, _MILLIMETRES, _ACQUISITION)
    yield number(_VERTICAL_SPACING, between_rows, _MILLIMETRES, _ACQUISITION)


def _dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


_MODALITY: Final = _dcm("121139", "Modality")
_FRAME_OF_REFERENCE_UID: Final = _dcm("112227", "Frame of Reference UID")
_ROWS: Final = _dcm("110910", "Pixel Data Rows")
_COLUMNS: Final = _dcm("110911", "Pixel Data Columns")
_ORIENTATION_OF_ROW: Final = _dcm("111044", "Patient Orientation Row")
_ORIENTATION_OF_COLUMN: Final = _dcm("111043", "Patient Orientation Column")
_HORIZONTAL_SPACING: Final = _dcm("111026", "Horizontal Pixel Spacing")
_VERTICAL_SPACING: Final = _dcm("111066", "Vertical Pixel Spacing")
_SLICE_THICKNESS: Final = _dcm("112225", "Slice Thickness")
_POSITION: Final = tuple(_dcm(f"11090{n}", f"Image Position (Patient) {axis}") for n, axis in enumerate("XYZ", 1))
_ORIENTATION: Final = tuple(
    _dcm(f"11090{n}", f"Image Orientation (Patient) {axis}")
    for n, axis in enumerate(("Row X", "Row Y", "Row Z", "Column X", "Column Y", "Column Z"), 4)
)
_PIXELS: Final = Code(value="{pixels}", scheme="UCUM", meaning="Pixels")
_MILLIMETRES: Final = Code(value="mm", scheme="UCUM", meaning="mm")
_COSINE: Final = Code(value="{-1:1}", scheme="UCUM", meaning="{-1:1}")

_CLASSES: Final = {
    _dcm("CR", "Computed Radiography"): (uid.ComputedRadiographyImageStorage,),
    _dcm("DX", "Digital Radiography"): (
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.XRay3DCraniofacialImageStorage,
    ),
    _dcm("MG", "Mammography"): (
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.BreastTomosynthesisImageStorage,
    ),
    _dcm("IO", "Intra-oral Radiography"): (
        uid.DigitalIntraOralXRayImageStorageForPresentation,
        uid.DigitalIntraOralXRayImageStorageForProcessing,
    ),
    _dcm("XA", "X-Ray Angiography"): (
        uid.XRayAngiographicImageStorage,
        uid.EnhancedXAImageStorage,
        uid.XRay3DAngiographicImageStorage,
    ),
    _dcm("RF", "Radiofluoroscopy"): (uid.XRayRadiofluoroscopicImageStorage, uid.EnhancedXRFImageStorage),
    _dcm("CT", "Computed Tomography"): (
        uid.CTImageStorage,
        uid.EnhancedCTImageStorage,
        uid.LegacyConvertedEnhancedCTImageStorage,
    ),
    _dcm("MR", "Magnetic Resonance"): (
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.EnhancedMRColorImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
    ),
    _dcm("PT", "Positron emission tomography"): (
        uid.PositronEmissionTomographyImageStorage,
        uid.EnhancedPETImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage,
    ),
    _dcm("NM", "Nuclear Medicine"): (uid.NuclearMedicineImageStorage,),
    _dcm("US", "Ultrasound"): (
        uid.UltrasoundImageStorage,
        uid.UltrasoundMultiFrameImageStorage,
        uid.EnhancedUSVolumeStorage,
    ),
    _dcm("ES", "Endoscopy"): (uid.VLEndoscopicImageStorage, uid.VideoEndoscopicImageStorage),
    _dcm("GM", "General Microscopy"): (uid.VLMicroscopicImageStorage, uid.VideoMicroscopicImageStorage),
    _dcm("SM", "Slide Microscopy"): (
        uid.VLSlideCoordinatesMicroscopicImageStorage,
        uid.VLWholeSlideMicroscopyImageStorage,
    ),
    _dcm("XC", "External-camera Photography"): (uid.VLPhotographicImageStorage, uid.VideoPhotographicImageStorage),
    _dcm("OP", "Ophthalmic Photography"): (
        uid.OphthalmicPhotography8BitImageStorage,
        uid.OphthalmicPhotography16BitImageStorage,
    ),
    _dcm("OPT", "Ophthalmic Tomography"): (uid.OphthalmicTomographyImageStorage,),
    _dcm("OT", "Other"): (
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    ),
}
_MODALITIES: Final = {str(of): modality for modality, classes in _CLASSES.items() for of in classes}
"""SOP Class UID to modality (CID 29 and 32) of the classes of images that networks read."""
