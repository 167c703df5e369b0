"""The heat map as a Secondary Capture: the one kind of picture that every PACS shows (PS3.3 A.8.1)."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from dicom_node.results.codes import SOURCE_IMAGE_FOR_PROCESSING, code_item
from dicom_node.results.common import Making, failures_named
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.evidence import reference
from dicom_node.results.files import seal
from dicom_node.results.identity import SourceHeader
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import LABEL, plain, verdict
from triage.errors import ResultError
from triage.findings import Algorithm, ImageResult

SERIES_NUMBER = 9002
JPEG_QUALITY = 90
"""Keeps the legend free of visible ringing."""
JPEG_METHOD = "ISO_10918_1"
"""ISO/IEC 10918-1 (PS3.3 C.7.6.1.1.5.1)."""

_UNPAIRED = frozenset(
    """ABDOMEN ABDOMENPELVIS AORTA BACK BLADDER BRAIN CEREBELLUM CERVIX CHEST CHESTABDOMEN CHESTABDPELVIS CIRCLEOFWILLIS
    COCCYX COLON CORONARYARTERY CSPINE CTSPINE DUODENUM ESOPHAGUS FACE GALLBLADDER HEAD HEADNECK HEART ILEUM ILIUM JAW
    JEJUNUM LARYNX LIVER LSPINE LSSPINE MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NOSE PANCREAS PELVIS PENIS PHARYNX
    PROSTATE RECTUM SCALP SKULL SPINE SPLEEN SSPINE STERNUM STOMACH THYMUS THYROID TLSPINE TONGUE TRACHEA TSPINE URETER
    URETHRA UTERUS VAGINA VULVA WHOLEBODY""".split()  # noqa: SIM905  sixty quoted words read worse
)
"""Body parts of PS3.16 Annex L without a side, as dciodvfy knows them."""


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
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
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
    transfer_syntax_uid : str
        Explicit VR Little Endian, which everything reads, or JPEG Baseline: a tenth of the size for 4 ms more.

    Raises
    ------
    ResultError
        The object cannot be built, the picture is not RGB, or the transfer syntax is another one.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ResultError(f"A heat map of shape {picture.shape} and type {picture.dtype} is not 8-bit RGB.")
    if transfer_syntax_uid not in (ExplicitVRLittleEndian, JPEGBaseline8Bit):
        raise ResultError(f"Heat maps are not written in transfer syntax {transfer_syntax_uid}.")
    with failures_named("The heat map"):
        header = SourceHeader(source)
        names = ResultNames(
            study_instance_uid=header.text("StudyInstanceUID"), algorithm=algorithm, node=node, revision=revision
        )
        target, _ = Making(source=header, names=names, created_at=created_at).dataset(
            ResultKind.HEAT_MAP,
            sop_class_uid=SecondaryCaptureImageStorage,
            sop_instance_uid=names.heat_map(image.sop_instance_uid, version),
            modality="OT",
            series_number=SERIES_NUMBER,
            series_description=plain(f"{LABEL} heat map {algorithm.name}", 64),
            instance_number=number,
        )
        _put_secondary_capture(target, header, image, algorithm)
        _put_pixels(target, picture, transfer_syntax_uid)
        return seal(target, transfer_syntax_uid)


def _put_secondary_capture(target: Dataset, source: SourceHeader, image: ImageResult, algorithm: Algorithm) -> None:
    """General Series and Image, SC Equipment (PS3.3 C.7.3.1, C.7.6.1, C.8.6.1)."""
    _put_body_part(target, source)
    target.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    target.ConversionType = "WSD"
    target.DateOfSecondaryCapture = target.ContentDate
    target.TimeOfSecondaryCapture = target.ContentTime
    # "Burned in" means text that identifies the patient (PS3.3 C.7.6.1.1.1): scores and names of findings do not, but
    # the picture shows the source's own pixels.
    target.BurnedInAnnotation = "YES" if source.text("BurnedInAnnotation").upper() == "YES" else "NO"
    target.RecognizableVisualFeatures = "NO"
    target.PatientOrientation = _orientation(source)
    item = reference(source.dataset)
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE_FOR_PROCESSING)]
    target.SourceImageSequence = [item]
    verdicts = "; ".join(verdict(finding) for finding in image.findings)
    place = f" on {image.place}" if image.place else ""
    target.DerivationDescription = plain(
        f"Heat map of {algorithm.name} {algorithm.version}{place}: {verdicts}. {algorithm.disclaimer}", 1024
    )
    if source.text("LossyImageCompression") == "01":
        target.LossyImageCompression = "01"
        source.copy("LossyImageCompressionRatio", target)
        source.copy("LossyImageCompressionMethod", target)
    else:
        target.LossyImageCompression = "00"


def _put_body_part(target: Dataset, source: SourceHeader) -> None:
    """Body Part Examined, and Laterality unless the part is an unpaired one (PS3.3 C.7.3.1: 2C)."""
    if source.text("BodyPartExamined"):
        source.copy("BodyPartExamined", target)
    if source.text("BodyPartExamined") in _UNPAIRED:
        return
    sides = (source.text("Laterality"), source.text("ImageLaterality"))
    target.Laterality = next((side for side in sides if side in {"L", "R"}), "")


def _orientation(source: SourceHeader) -> list[str] | str:
    """Patient Orientation of the radiograph in the picture; empty (2C) when the source's is not a legal pair."""
    values = source.texts("PatientOrientation")
    legal = len(values) == 2 and all(value and set(value) <= set("ARLPHF") and len(value) <= 3 for value in values)
    return list(values) if legal else ""


def _put_pixels(target: Dataset, picture: npt.NDArray[np.uint8], transfer_syntax_uid: str) -> None:
    """Image Pixel (PS3.3 C.7.6.3)."""
    target.Rows, target.Columns = picture.shape[:2]
    target.SamplesPerPixel = 3
    target.PlanarConfiguration = 0
    target.BitsAllocated = target.BitsStored = 8
    target.HighBit = 7
    target.PixelRepresentation = 0
    raw = np.ascontiguousarray(picture)
    if transfer_syntax_uid == ExplicitVRLittleEndian:
        target.PhotometricInterpretation = "RGB"
        target.add_new("PixelData", "OB", raw.tobytes())
        return
    # Loaded here: only destinations that ask for JPEG need it.
    import imagecodecs  # noqa: PLC0415

    stream = imagecodecs.jpeg8_encode(raw, level=JPEG_QUALITY, subsampling="422")
    target.PhotometricInterpretation = "YBR_FULL_422"
    target.add_new("PixelData", "OB", encapsulate([bytes(stream)]))
    target["PixelData"].is_undefined_length = True
    ratios = [*_values(target, "LossyImageCompressionRatio"), f"{raw.size / len(stream):.2f}"]
    target.LossyImageCompression = "01"
    target.LossyImageCompressionRatio = ratios
    target.LossyImageCompressionMethod = [*_values(target, "LossyImageCompressionMethod"), JPEG_METHOD]


def _values(target: Dataset, keyword: str) -> list[str]:
    """The steps of lossy compression before ours (multi-valued in order, PS3.3 C.7.6.1.1.5)."""
    return [str(value) for value in SourceHeader(target).texts(keyword)]
