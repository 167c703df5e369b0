"""Regions and words on the source image itself: a Grayscale Softcopy Presentation State (PS3.3 A.33.1).

A viewer that applies it shows the untouched source with the outlines of the regions and one line per finding over it,
and takes them away again at a key. One state is about one image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from dicom_node.results.common import Making, failures_named
from dicom_node.results.derived_image import put_body_part, put_laterality
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.evidence import outline_inside, reference
from dicom_node.results.files import seal
from dicom_node.results.grey_scale import pixel_aspect_ratio, put_grey_scale
from dicom_node.results.identity import SourceHeader
from dicom_node.results.legend import outlined
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import LABEL, comparison, name_of, plain
from triage.errors import ResultError
from triage.findings import Algorithm, Finding, ImageResult
from triage.profiles import DEFAULT, Profile

LAYER: Final = "AI"
_SOURCE_OVERLAYS: Final = "SOURCE"
_LIGHT_BLUE: Final = (55974, 25070, 27089)
"""The outline of the pictures, RGB 110, 231, 255, as CIELab (D50) in 16 bits (PS3.3 C.10.7.1.1)."""
_BRIGHT: Final = 0xFFFF
_FOOT: Final = ((0.2, 0.93), (0.8, 1.0))
"""Where the words about the whole image stand, as shares of the displayed area: no side marker lies there."""
_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)


def build_presentation_state(
    source: Dataset,
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
    """Build the presentation state of one analysed image. The same arguments give the same bytes.

    Parameters
    ----------
    source : Dataset
        Header of the analysed image, as dcmread returned it.
    number : int
        Instance Number, from 1.
    version : int
        Of the analysed image: 2 for its first corrected header.
    profile : Profile
        What its destination wants.

    Returns
    -------
    Dataset
        Its grey scale is the source's (modality LUT, VOI LUT or first window, polarity); outlines in PIXEL units,
        (0, 0) at the outer corner of the first pixel (PS3.3 C.10.5.1.2); one layer with a colour.

    Raises
    ------
    ResultError
        It cannot be built, or the source is not one grey frame.
    """
    with failures_named("The presentation state"):
        header = SourceHeader(source)
        if not header.text("PhotometricInterpretation").startswith("MONOCHROME"):
            raise ResultError("A greyscale presentation state needs a greyscale image.")
        names = ResultNames(
            study_instance_uid=header.text("StudyInstanceUID"), algorithm=algorithm, node=node, revision=revision,
            profile=profile,
        )  # fmt: skip
        target, _ = Making(source=header, names=names, created_at=created_at).dataset(
            ResultKind.PRESENTATION_STATE,
            sop_class_uid=GrayscaleSoftcopyPresentationStateStorage,
            sop_instance_uid=names.of_image(ResultKind.PRESENTATION_STATE, image.sop_instance_uid, version),
            modality="PR",
            instance_number=number,
        )
        put_body_part(target, header)
        put_laterality(target, header)
        _put_identification(target, algorithm)
        _put_relationship(target, header)
        _put_displayed_area(target, header)
        put_grey_scale(target, header)
        _put_annotations(target, header, image, algorithm)
        return seal(target, character_set=profile.character_set)


def _put_identification(target: Dataset, algorithm: Algorithm) -> None:
    """Presentation State Identification (PS3.3 C.11.10)."""
    target.ContentLabel = "AI FINDINGS"
    target.ContentDescription = plain(f"Findings of {algorithm.name} {algorithm.version}", 64)
    target.PresentationCreationDate, target.PresentationCreationTime = target.ContentDate, target.ContentTime
    del target.ContentDate, target.ContentTime
    target.ContentCreatorName = ""


def _put_relationship(target: Dataset, source: SourceHeader) -> None:
    """Presentation State Relationship (PS3.3 C.11.11): the one image, to which everything here applies."""
    series = Dataset()
    source.copy("SeriesInstanceUID", series)
    series.ReferencedImageSequence = [reference(source.dataset)]
    target.ReferencedSeriesSequence = [series]


def _put_displayed_area(target: Dataset, source: SourceHeader) -> None:
    """Displayed Area (PS3.3 C.10.4): the whole image, as large as fits."""
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [int(source.dataset.Columns), int(source.dataset.Rows)]
    area.PresentationSizeMode = "SCALE TO FIT"
    area.PresentationPixelAspectRatio = list(pixel_aspect_ratio(source))
    target.DisplayedAreaSelectionSequence = [area]


def _put_annotations(target: Dataset, source: SourceHeader, image: ImageResult, algorithm: Algorithm) -> None:
    """Graphic Annotation and Graphic Layer (PS3.3 C.10.5, C.10.7)."""
    numbers = {finding.key: number for finding, number in outlined(image)}
    annotations = [
        annotation
        for finding in image.positives
        if (annotation := _on_region(finding, numbers.get(finding.key, 0), source.dataset)) is not None
    ]
    annotations.append(_item(text=[_text_in_box("\r\n".join(_foot(image, algorithm, numbers)))]))
    target.GraphicAnnotationSequence = annotations
    layers = [_layer(LAYER, 1, f"{LABEL} findings")]
    layers[0].GraphicLayerRecommendedDisplayGrayscaleValue = _BRIGHT
    layers[0].GraphicLayerRecommendedDisplayCIELabValue = list(_LIGHT_BLUE)
    overlays = [group for group in _OVERLAY_GROUPS if (group, 0x3000) in source.dataset]
    for group in overlays:
        # An overlay of the source that no layer shows is hidden by the state, and it may be the side marker (C.11.7).
        target.add_new((group, 0x1001), "CS", _SOURCE_OVERLAYS)
    if overlays:
        layers.append(_layer(_SOURCE_OVERLAYS, 2, "Overlays of the source image"))
    target.GraphicLayerSequence = layers


def _on_region(finding: Finding, number: int, source: Dataset) -> Dataset | None:
    """Outline and line of one finding; None where nothing of its region lies in the image."""
    points = outline_inside(finding.region, source)
    if not points:
        return None
    graphic = Dataset()
    graphic.GraphicAnnotationUnits = "PIXEL"
    graphic.GraphicDimensions = 2
    graphic.NumberOfGraphicPoints = len(points)
    graphic.GraphicData = [value for point in points for value in point]
    graphic.GraphicType = "POLYLINE"
    graphic.GraphicFilled = "N"
    label = f"{number} {_line(finding)}" if number else _line(finding)
    highest = min(points, key=lambda point: point[1])
    return _item(text=[_text_at(label, highest)], graphics=[graphic])


def _item(*, text: Sequence[Dataset], graphics: Sequence[Dataset] = ()) -> Dataset:
    """A Graphic Annotation Sequence item (PS3.3 Table C.10-5), about every image of the state."""
    item = Dataset()
    item.GraphicLayer = LAYER
    item.TextObjectSequence = list(text)
    if graphics:
        item.GraphicObjectSequence = list(graphics)
    return item


def _text_at(words: str, anchor: tuple[float, float]) -> Dataset:
    text = Dataset()
    text.AnchorPointAnnotationUnits = "PIXEL"
    text.UnformattedTextValue = words
    text.AnchorPoint = list(anchor)
    text.AnchorPointVisibility = "N"
    return text


def _text_in_box(words: str) -> Dataset:
    text = Dataset()
    text.BoundingBoxAnnotationUnits = "DISPLAY"
    text.UnformattedTextValue = words
    text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner = (list(corner) for corner in _FOOT)
    text.BoundingBoxTextHorizontalJustification = "CENTER"
    return text


def _foot(image: ImageResult, algorithm: Algorithm, numbers: dict[str, int]) -> Iterator[str]:
    """What is said about the whole image, and who says it."""
    place = f" {plain(image.place)}" if image.place else ""
    yield f"{LABEL} {plain(algorithm.name)} {plain(algorithm.version)}{place}"
    for finding in image.positives:
        if finding.key not in numbers:
            yield _line(finding)
    if not image.positives:
        yield "No finding above its threshold"
    standing = "RESEARCH ONLY. " if algorithm.research else ""
    if standing or algorithm.disclaimer:
        yield f"{standing}{plain(algorithm.disclaimer)}".strip()


def _line(finding: Finding) -> str:
    return f"{name_of(finding)} {comparison(finding.score)}"


def _layer(name: str, order: int, description: str) -> Dataset:
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder, layer.GraphicLayerDescription = name, order, description
    return layer
