"""The heat map as a Secondary Capture: the one kind of picture that every PACS shows (PS3.3 A.8.1)."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.results.codes import SOURCE_IMAGE_FOR_PROCESSING, code_item
from dicom_node.results.common import Making, failures_named
from dicom_node.results.compressing import put_picture
from dicom_node.results.derived_image import put_body_part, put_laterality, put_lossy_history, put_orientation
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.evidence import reference
from dicom_node.results.files import seal
from dicom_node.results.identity import SourceHeader
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import plain, verdict
from triage.errors import ResultError
from triage.findings import Algorithm, ImageResult
from triage.profiles import DEFAULT, Profile


def build_heat_map(
    source: Dataset,
    picture: npt.NDArray[np.uint8],
    image: ImageResult,
    algorithm: Algorithm,
    *,
    node: NodeIdentity,
    revision: int,
    created_at: datetime,
    number: int,
    version: int = 1,
    profile: Profile = DEFAULT,
) -> Dataset:
    """Wrap a composed picture as an instance of the source's study. The same arguments give the same bytes.

    Parameters
    ----------
    source : Dataset
        Header of the analysed image, as dcmread returned it.
    picture : ndarray of uint8, shape (rows, columns, 3), RGB
        From :func:`~dicom_node.results.picture.compose_heat_map`; nothing in it may identify the patient.
    number : int
        Instance Number, from 1.
    version : int
        Of the analysed image: 2 for its first corrected header.
    profile : Profile
        What its destination wants.

    Raises
    ------
    ResultError
        The object cannot be built, or the picture is not RGB.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ResultError(f"A heat map of shape {picture.shape} and type {picture.dtype} is not 8-bit RGB.")
    with failures_named("The heat map"):
        header = SourceHeader(source)
        names = ResultNames(
            study_instance_uid=header.text("StudyInstanceUID"), algorithm=algorithm, node=node, revision=revision,
            profile=profile,
        )  # fmt: skip
        target, _ = Making(source=header, names=names, created_at=created_at).dataset(
            ResultKind.HEAT_MAP,
            sop_class_uid=SecondaryCaptureImageStorage,
            sop_instance_uid=names.heat_map(image.sop_instance_uid, version),
            modality="OT",
            instance_number=number,
        )
        _put_secondary_capture(target, header, image, algorithm)
        transfer_syntax_uid = put_picture(target, picture, profile.compression)
        return seal(target, transfer_syntax_uid, character_set=profile.character_set)


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """The picture in the file of an uncompressed heat map, uint8 (rows, columns, 3), RGB.

    Raises
    ------
    ResultError
        There is no such file, or it is another object.
    """
    try:
        capture = dcmread(path)
        shape = int(capture.Rows), int(capture.Columns), 3
        if capture.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
            raise ResultError("The picture of a report is compressed.")
        return np.frombuffer(capture.PixelData, np.uint8, math.prod(shape)).reshape(shape)
    except (OSError, AttributeError, ValueError, TypeError, EOFError, pydicom.errors.InvalidDicomError) as error:
        raise ResultError(f"A heat map could not be read back ({type(error).__name__}).") from None


def _put_secondary_capture(target: Dataset, source: SourceHeader, image: ImageResult, algorithm: Algorithm) -> None:
    """General Series and Image, SC Equipment (PS3.3 C.7.3.1, C.7.6.1, C.8.6.1)."""
    put_body_part(target, source)
    put_laterality(target, source)
    target.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    target.ConversionType = "WSD"
    target.DateOfSecondaryCapture = target.ContentDate
    target.TimeOfSecondaryCapture = target.ContentTime
    # "Burned in" means text that identifies the patient (PS3.3 C.7.6.1.1.1): scores and names of findings do not, but
    # the picture shows the source's own pixels.
    target.BurnedInAnnotation = "YES" if source.text("BurnedInAnnotation").upper() == "YES" else "NO"
    target.RecognizableVisualFeatures = "NO"
    put_orientation(target, source)
    item = reference(source.dataset)
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE_FOR_PROCESSING)]
    target.SourceImageSequence = [item]
    verdicts = "; ".join(verdict(finding) for finding in image.findings)
    place = f" on {image.place}" if image.place else ""
    target.DerivationDescription = plain(
        f"Heat map of {algorithm.name} {algorithm.version}{place}: {verdicts}. {algorithm.disclaimer}", 1024
    )
    put_lossy_history(target, source)
