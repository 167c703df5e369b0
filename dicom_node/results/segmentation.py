"""What the network looked at, as a Segmentation on the image's own pixels (PS3.3 A.51).

Two forms. *Binary*: the region that the report outlines, filled, which viewers show. *Fractional*: the whole map in 256
steps. Each positive finding is a segment with the code and the tracking UID that it has in the report. Its label says
that it is activation: where a network looked is not the outline of a lesion.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from dicom_node.results import codes
from dicom_node.results.codes import code_item
from dicom_node.results.common import Making, failures_named
from dicom_node.results.compressing import lossless
from dicom_node.results.derived_image import put_body_part, put_lossy_history, put_orientation
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.evidence import outline_inside
from dicom_node.results.files import seal
from dicom_node.results.geometry import plane_of
from dicom_node.results.identity import SourceHeader
from dicom_node.results.multi_frame import Dimension, put_frames
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import name_of, plain, verdict
from triage.errors import ResultError
from triage.findings import Algorithm, Finding, ImageResult
from triage.profiles import DEFAULT, Profile

FULL: Final = 255
"""Maximum Fractional Value: full activation, or inside the region."""

_COLOURS: Final = ((45707, 29792, 23985), (46227, 37104, 52071), (37807, 21130, 36221), (39919, 42827, 30141))
"""Sky blue, orange, bluish green and reddish purple of Okabe and Ito (2008), which readers with any colour vision tell
apart, as CIELab (PS3.3 C.10.7.1.1)."""


class _Form(StrEnum):
    """What a segment's pixels say."""

    BINARY = "inside the region or outside, one bit"
    REGION = "the same in 8 bits, 0 or 255"
    FRACTIONAL = "the activation, 0 to 255"

    @staticmethod
    def of(profile: Profile) -> _Form:
        if profile.segmentation == "fractional":
            return _Form.FRACTIONAL
        return _Form.REGION if profile.eight_bit else _Form.BINARY


def build_segmentation(
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
    """Segment one analysed image. The same arguments give the same bytes.

    A frame has the matrix of the image: one bit per pixel and segment, or one byte (5 MB for 2500 x 2048). It lies in
    space where the image does; a radiograph lies nowhere, and the frame then lies on its pixels.

    Parameters
    ----------
    source : Dataset
        Header of the analysed image, as dcmread returned it.
    maps : mapping of str to ndarray of float32, shape (Rows, Columns), range [0, 1]
        Finding key to activation, laid over the image; needed where the profile asks for a fractional one.
    number : int
        Instance Number, from 1.
    version : int
        Of the analysed image: 2 for its first corrected header.
    profile : Profile
        What its destination wants.

    Raises
    ------
    ResultError
        No positive finding marks anything, the source has several frames, or the object cannot be built.
    """
    form = _Form.of(profile)
    with failures_named("The segmentation"):
        header = SourceHeader(source)
        rows, columns = int(source.Rows), int(source.Columns)
        if int(header.text("NumberOfFrames") or 1) > 1:
            raise ResultError("A segmentation is not available for an image of several frames.")
        found = [(finding, _pixels(finding, maps, header, form)) for finding in image.positives]
        segments = [(finding, pixels) for finding, pixels in found if pixels is not None]
        if not segments:
            raise ResultError("A segmentation is not available: no positive finding marks a part of the image.")
        names = ResultNames(
            study_instance_uid=header.text("StudyInstanceUID"), algorithm=algorithm, node=node, revision=revision,
            profile=profile,
        )  # fmt: skip
        target, _ = Making(source=header, names=names, created_at=created_at).dataset(
            ResultKind.SEGMENTATION,
            sop_class_uid=SegmentationStorage,
            sop_instance_uid=names.of_image(ResultKind.SEGMENTATION, image.sop_instance_uid, version),
            modality="SEG",
            instance_number=number,
        )
        plane = plane_of(header)
        put_body_part(target, header)
        put_lossy_history(target, header)
        if plane is None:
            put_orientation(target, header)
        _put_segmentation(target, image, algorithm, form)
        target.SegmentSequence = [
            _segment(number, finding, names, image) for number, (finding, _) in enumerate(segments, start=1)
        ]
        put_frames(
            target,
            header,
            plane,
            [_frame(number) for number in range(1, len(segments) + 1)],
            told_apart_by=Dimension(keyword="ReferencedSegmentNumber", group_keyword="SegmentIdentificationSequence"),
            derivation=codes.SEGMENTATION,
        )
        target.Rows, target.Columns = rows, columns
        syntax = _put_pixels(target, [pixels for _, pixels in segments], form, profile)
        return seal(target, syntax, character_set=profile.character_set)


def _pixels(
    finding: Finding, maps: Mapping[str, npt.NDArray[np.float32]], source: SourceHeader, form: _Form
) -> npt.NDArray[np.uint8] | None:
    """uint8 (Rows, Columns), 0 to 255; None where the finding marks nothing."""
    image = source.dataset
    if form is not _Form.FRACTIONAL:
        outline = outline_inside(finding.region, image)
        inside = filled(outline, int(image.Rows), int(image.Columns)) if outline else None
        return inside * np.uint8(FULL) if inside is not None and inside.any() else None
    activation = maps.get(finding.key)
    if activation is None:
        return None
    if activation.shape != (image.Rows, image.Columns):
        raise ResultError(f"A map of shape {activation.shape} does not lie on an image of {image.Rows} rows.")
    steps = np.rint(np.clip(activation, 0.0, 1.0) * FULL).astype(np.uint8)
    return steps if steps.any() else None


def filled(outline: tuple[tuple[float, float], ...], rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """The pixels whose centres lie inside a closed polygon, by the even-odd rule.

    Parameters
    ----------
    outline : tuple of (float, float)
        (column, row), (0, 0) at the outer corner of the first pixel; the first point equals the last.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        1 inside, 0 outside.
    """
    points = np.asarray(outline, np.float64)
    # Every edge runs downwards, or rounding would depend on which way the outline is walked.
    down = points[:-1, 1:] <= points[1:, 1:]
    (x0, y0), (x1, y1) = np.where(down, points[:-1], points[1:]).T, np.where(down, points[1:], points[:-1]).T
    centres = np.arange(rows) + 0.5
    # Each edge crosses the rows whose centres lie between its ends; a pixel right of an odd number of crossings is in.
    crosses = (y0 <= centres[:, None]) & (centres[:, None] < y1)
    row, edge = np.nonzero(crosses)
    at = x0[edge] + (centres[row] - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    first_right = np.clip(np.ceil(at - 0.5).astype(np.intp), 0, columns)
    turns = np.zeros((rows, columns + 1), np.uint8)
    np.bitwise_xor.at(turns, (row, first_right), np.uint8(1))
    return np.bitwise_xor.accumulate(turns, axis=1)[:, :columns]


def _put_segmentation(target: Dataset, image: ImageResult, algorithm: Algorithm, form: _Form) -> None:
    """Segmentation Image (PS3.3 C.8.20.2) without its segments."""
    target.ImageType = ["DERIVED", "PRIMARY"]
    target.ContentLabel = "AI_ACTIVATION"
    target.ContentDescription = plain(f"Where {algorithm.name} looked; not lesion outlines", 64)
    target.ContentCreatorName = ""
    verdicts = "; ".join(verdict(finding) for finding in image.positives)
    target.ImageComments = plain(f"{verdicts}. {algorithm.disclaimer}", 10240)
    target.SegmentsOverlap = "UNDEFINED"
    if form is _Form.BINARY:
        target.SegmentationType = "BINARY"
        return
    target.SegmentationType = "FRACTIONAL"
    target.SegmentationFractionalType = "OCCUPANCY" if form is _Form.REGION else "PROBABILITY"
    target.MaximumFractionalValue = FULL


def _segment(number: int, finding: Finding, names: ResultNames, image: ImageResult) -> Dataset:
    """Segment Description (PS3.3 Table C.8.20-4), tied to the report by its tracking identifier."""
    algorithm = names.algorithm
    segment = Dataset()
    segment.SegmentNumber = number
    segment.SegmentLabel = plain(f"AI activation: {name_of(finding)}", 64)
    segment.SegmentDescription = "Where the network looked; not a lesion outline"
    segment.SegmentAlgorithmType = "AUTOMATIC"
    segment.SegmentAlgorithmName = plain(f"{algorithm.name} {algorithm.version}", 64)
    segment.SegmentationAlgorithmIdentificationSequence = [_algorithm(algorithm)]
    segment.SegmentedPropertyCategoryCodeSequence = [code_item(codes.MORPHOLOGICALLY_ABNORMAL)]
    segment.SegmentedPropertyTypeCodeSequence = [code_item(finding.code)]
    if finding.site is not None:
        site = code_item(finding.site)
        if finding.laterality is not None:
            site.AnatomicRegionModifierSequence = [code_item(codes.SIDES[finding.laterality])]
        segment.AnatomicRegionSequence = [site]
    segment.TrackingID = f"{plain(algorithm.name)}/{plain(finding.key)}"
    segment.TrackingUID = names.tracking(image.sop_instance_uid, finding.key)
    segment.RecommendedDisplayCIELabValue = list(_COLOURS[(number - 1) % len(_COLOURS)])
    return segment


def _algorithm(algorithm: Algorithm) -> Dataset:
    """Algorithm Identification (PS3.3 Table 10-19)."""
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [code_item(codes.ARTIFICIAL_INTELLIGENCE)]
    item.AlgorithmName = plain(algorithm.name, 64)
    item.AlgorithmVersion = plain(algorithm.version, 64)
    item.AlgorithmSource = plain(algorithm.manufacturer, 64)
    item.AlgorithmParameters = plain("; ".join((f"weights_sha256={algorithm.weights_sha256}", *algorithm.parameters)))
    return item


def _frame(segment_number: int) -> Dataset:
    identification, frame = Dataset(), Dataset()
    identification.ReferencedSegmentNumber = segment_number
    frame.SegmentIdentificationSequence = [identification]
    return frame


def _put_pixels(target: Dataset, frames: list[npt.NDArray[np.uint8]], form: _Form, profile: Profile) -> str:
    """Image Pixel (PS3.3 C.7.6.3, C.8.20.2.1); returns the Transfer Syntax UID."""
    target.SamplesPerPixel = 1
    target.PhotometricInterpretation = "MONOCHROME2"
    target.PixelRepresentation = 0
    bits = 1 if form is _Form.BINARY else 8
    target.BitsAllocated = target.BitsStored = bits
    target.HighBit = bits - 1
    if bits == 1:
        # Frames follow each other bit by bit (PS3.5 8.1.1).
        target.add_new("PixelData", "OB", np.packbits(np.stack(frames) > 0, bitorder="little").tobytes())
        return str(ExplicitVRLittleEndian)
    if profile.compression == "none" or profile.compression == "jpeg":  # noqa: PLR1714  mypy narrows this; jpeg is lossy
        target.add_new("PixelData", "OB", np.stack(frames).tobytes())
        return str(ExplicitVRLittleEndian)
    encoded = [lossless(frame, profile.compression) for frame in frames]
    target.add_new("PixelData", "OB", encapsulate([stream for stream, _ in encoded]))
    target["PixelData"].is_undefined_length = True
    return str(encoded[0][1])
