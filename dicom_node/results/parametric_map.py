"""The activation itself, as numbers in the image's geometry (Parametric Map, PS3.3 A.75).

It lies in a frame of reference, which slices have and radiographs do not: for those it is not available, since a
geometry that nobody measured must not be made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage

from dicom_node.results import codes
from dicom_node.results.codes import code_item
from dicom_node.results.common import Making, failures_named
from dicom_node.results.derived_image import put_body_part, put_laterality, put_lossy_history
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.files import seal
from dicom_node.results.geometry import plane_of
from dicom_node.results.identity import SourceHeader
from dicom_node.results.multi_frame import Dimension, put_frames
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import name_of, plain, verdict
from triage.errors import ResultError
from triage.findings import Algorithm, Finding, ImageResult
from triage.profiles import DEFAULT, Profile

_TYPE: Final = ("DERIVED", "PRIMARY", "VOLUME", "QUANTITY")


def build_parametric_map(
    source: Dataset,
    maps: Mapping[str, npt.NDArray[np.float32]],
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
    """Put the activation of each positive finding on one slice, a frame each. The same arguments give the same bytes.

    Pixels are 32-bit floating point, never compressed: 1 MB per finding for 512 x 512.

    Parameters
    ----------
    source : Dataset
        Header of the analysed image, as dcmread returned it.
    maps : mapping of str to ndarray of float32, shape (Rows, Columns), range [0, 1]
        Finding key to activation, laid over the image.
    number : int
        Instance Number, from 1.
    version : int
        Of the analysed image: 2 for its first corrected header.
    profile : Profile
        What its destination wants.

    Raises
    ------
    ResultError
        The image lies in no frame of reference, no positive finding has a map, or the object cannot be built.
    """
    with failures_named("The parametric map"):
        header = SourceHeader(source)
        plane = plane_of(header)
        if plane is None or plane.thickness is None or int(header.text("NumberOfFrames") or 1) > 1:
            raise ResultError(
                "A parametric map is not available for this image: its header has no frame of reference, position, "
                "orientation, spacing and thickness of one plane.",
                next_step="Nothing: radiographs have none. Ask for SEG or SC, which lie on the image's pixels.",
            )
        mapped = [finding for finding in image.positives if finding.key in maps]
        if not mapped:
            raise ResultError("A parametric map is not available: no positive finding has an activation map.")
        names = ResultNames(
            study_instance_uid=header.text("StudyInstanceUID"), algorithm=algorithm, node=node, revision=revision,
            profile=profile,
        )  # fmt: skip
        target, _ = Making(source=header, names=names, created_at=created_at).dataset(
            ResultKind.PARAMETRIC_MAP,
            sop_class_uid=ParametricMapStorage,
            sop_instance_uid=names.of_image(ResultKind.PARAMETRIC_MAP, image.sop_instance_uid, version),
            modality="OT",
            instance_number=number,
        )
        put_body_part(target, header)
        put_laterality(target, header)
        put_lossy_history(target, header)
        _put_parametric_map(target, image, algorithm)
        put_frames(
            target,
            header,
            plane,
            [_frame(number, finding) for number, finding in enumerate(mapped, start=1)],
            told_apart_by=Dimension(keyword="LUTLabel", group_keyword="RealWorldValueMappingSequence"),
            derivation=codes.VISUAL_EXPLANATION,
        )
        _put_shared_groups(target.SharedFunctionalGroupsSequence[0])
        _put_pixels(target, [_pixels(maps[finding.key], source) for finding in mapped])
        return seal(target, character_set=profile.character_set)


def _put_parametric_map(target: Dataset, image: ImageResult, algorithm: Algorithm) -> None:
    """Parametric Map Image (PS3.3 C.8.32.2)."""
    target.ImageType = list(_TYPE)
    target.BurnedInAnnotation = "NO"
    target.RecognizableVisualFeatures = "NO"
    target.ContentLabel = "AI_ACTIVATION"
    target.ContentDescription = plain(f"Where {algorithm.name} looked; no measurement", 64)
    target.ContentCreatorName = ""
    verdicts = "; ".join(verdict(finding) for finding in image.positives)
    target.ImageComments = plain(f"{verdicts}. {algorithm.disclaimer}", 10240)
    target.PresentationLUTShape = "IDENTITY"
    target.AcquisitionContextSequence = []


def _put_shared_groups(shared: Dataset) -> None:
    """Frame type, identity transformation and window of all frames (PS3.3 C.8.32.3.1, C.7.6.16.2.9b, .10)."""
    frame_type = Dataset()
    frame_type.FrameType = list(_TYPE)
    shared.ParametricMapFrameTypeSequence = [frame_type]
    identity = Dataset()
    identity.RescaleIntercept, identity.RescaleSlope, identity.RescaleType = "0", "1", "US"
    shared.PixelValueTransformationSequence = [identity]
    window = Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = "0.5", "1", "LINEAR_EXACT"
    shared.FrameVOILUTSequence = [window]


def _frame(number: int, finding: Finding) -> Dataset:
    """What the numbers mean (PS3.3 C.7.6.16.2.11): the share of the strongest activation, for one finding."""
    quantity = Dataset()
    quantity.ValueType = "CODE"
    quantity.ConceptNameCodeSequence = [code_item(codes.QUANTITY)]
    quantity.ConceptCodeSequence = [code_item(codes.VISUAL_EXPLANATION)]
    about = Dataset()
    about.ValueType = "CODE"
    about.ConceptNameCodeSequence = [code_item(codes.FINDING)]
    about.ConceptCodeSequence = [code_item(finding.code)]
    mapping = Dataset()
    mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, 1.0
    mapping.DoubleFloatRealWorldValueFirstValueMapped = 0.0
    mapping.DoubleFloatRealWorldValueLastValueMapped = 1.0
    mapping.LUTExplanation = plain(f"AI activation: {name_of(finding)}", 64)
    mapping.LUTLabel = f"{number} {plain(finding.key)}"[:16].rstrip()
    mapping.MeasurementUnitsCodeSequence = [code_item(codes.NO_UNITS)]
    mapping.QuantityDefinitionSequence = [quantity, about]
    frame = Dataset()
    frame.RealWorldValueMappingSequence = [mapping]
    return frame


def _pixels(activation: npt.NDArray[np.float32], source: Dataset) -> npt.NDArray[np.float32]:
    if activation.shape != (source.Rows, source.Columns):
        raise ResultError(f"A map of shape {activation.shape} does not lie on an image of {source.Rows} rows.")
    return np.clip(activation, 0.0, 1.0).astype("<f4")


def _put_pixels(target: Dataset, frames: list[npt.NDArray[np.float32]]) -> None:
    """Floating Point Image Pixel (PS3.3 C.7.6.24)."""
    target.Rows, target.Columns = frames[0].shape
    target.SamplesPerPixel = 1
    target.PhotometricInterpretation = "MONOCHROME2"
    target.BitsAllocated = 32
    target.add_new("FloatPixelData", "OF", np.stack(frames).tobytes())
