"""Objects of one or more frames over a source image: what segmentations and parametric maps share (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset

from dicom_node.results.codes import SOURCE_IMAGE_FOR_PROCESSING, code_item
from dicom_node.results.evidence import reference
from dicom_node.results.geometry import Plane, decimal_strings
from dicom_node.results.identity import SourceHeader
from triage.findings import Code
from triage.identifiers import derive_uid


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """What tells the frames apart: an attribute of a functional group."""

    keyword: str
    group_keyword: str


_POSITION: Final = Dimension(keyword="ImagePositionPatient", group_keyword="PlanePositionSequence")


def put_frames(
    target: Dataset,
    source: SourceHeader,
    plane: Plane | None,
    frames: Sequence[Dataset],
    *,
    told_apart_by: Dimension,
    derivation: Code,
) -> None:
    """Set frames, dimensions, functional groups and references of an object whose frames all lie on one image.

    Parameters
    ----------
    plane : Plane or None
        Of the image; None: a frame lies on its pixels and nowhere in space.
    frames : sequence of Dataset
        What is particular to each frame: its own functional groups. They are completed here.
    derivation : Code
        How the pixels came about (CID 7203).
    """
    target.NumberOfFrames = len(frames)
    dimensions = [told_apart_by] if plane is None else [told_apart_by, _POSITION]
    _put_dimensions(target, dimensions)
    shared = Dataset()
    if plane is not None:
        target.FrameOfReferenceUID = plane.frame_of_reference_uid
        source.copy("PositionReferenceIndicator", target)
        if "PositionReferenceIndicator" not in target:
            target.PositionReferenceIndicator = ""
        _put_plane(shared, plane)
    for number, frame in enumerate(frames, start=1):
        content = Dataset()
        content.DimensionIndexValues = [number] if plane is None else [number, 1]
        frame.FrameContentSequence = [content]
        frame.DerivationImageSequence = [_derivation_item(source, derivation)]
        if plane is not None:
            position = Dataset()
            position.ImagePositionPatient = decimal_strings(plane.position)
            frame.PlanePositionSequence = [position]
    target.SharedFunctionalGroupsSequence = [shared]
    target.PerFrameFunctionalGroupsSequence = list(frames)
    series = Dataset()
    series.SeriesInstanceUID = source.text("SeriesInstanceUID")
    series.ReferencedInstanceSequence = [reference(source.dataset)]
    target.ReferencedSeriesSequence = [series]


def _put_dimensions(target: Dataset, dimensions: Sequence[Dimension]) -> None:
    """Multi-frame Dimension (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = derive_uid(str(target.SOPInstanceUID), "dimension organization")
    target.DimensionOrganizationSequence = [organization]
    indices = []
    for dimension in dimensions:
        index = Dataset()
        index.DimensionOrganizationUID = organization.DimensionOrganizationUID
        index.DimensionIndexPointer = _tag(dimension.keyword)
        index.FunctionalGroupPointer = _tag(dimension.group_keyword)
        index.DimensionDescriptionLabel = dictionary_description(_tag(dimension.keyword))
        indices.append(index)
    target.DimensionIndexSequence = indices


def _put_plane(shared: Dataset, plane: Plane) -> None:
    """Pixel Measures and Plane Orientation (PS3.3 C.7.6.16.2.1 and .4)."""
    measures = Dataset()
    if plane.thickness is not None:
        measures.SliceThickness = decimal_strings((plane.thickness,))[0]
    measures.PixelSpacing = decimal_strings(plane.spacing)
    shared.PixelMeasuresSequence = [measures]
    orientation = Dataset()
    orientation.ImageOrientationPatient = decimal_strings(plane.orientation)
    shared.PlaneOrientationSequence = [orientation]


def _derivation_item(source: SourceHeader, derivation: Code) -> Dataset:
    """Derivation Image (PS3.3 C.7.6.16.2.6): frame and source share their pixel matrix."""
    image = reference(source.dataset)
    image.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE_FOR_PROCESSING)]
    image.SpatialLocationsPreserved = "YES"
    item = Dataset()
    item.DerivationCodeSequence = [code_item(derivation)]
    item.SourceImageSequence = [image]
    return item


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no attribute")
    return tag
