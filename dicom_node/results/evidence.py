"""Source instances as a report refers to them: all that were read, and a description of those analysed."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from pydicom.dataset import Dataset

from dicom_node.results.activations import shown_by
from dicom_node.results.identity import SourceHeader
from dicom_node.results.uids import ResultNames
from triage.errors import MixedPatientsError
from triage.findings import Finding, ImageResult, Region

_PROJECTION = frozenset(("CR", "DX", "IO", "MG", "PX", "RF", "RG", "XA"))
_CROSS_SECTIONAL = frozenset(("CT", "MR", "PT"))
_PROJECTION_VALUES = {"PatientOrientation": 2, "ImagerPixelSpacing": 2}
_CROSS_SECTIONAL_VALUES = {
    "PixelSpacing": 2,
    "SliceThickness": 1,
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
}
"""What TID 1603 and TID 1604 describe an image by, with the number of values."""

_WHO = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")
"""What tells patients apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One finding on one image, with what the report says it by.

    Attributes
    ----------
    image : Dataset
        From :func:`library_header`.
    outline : tuple of (float, float)
        Closed, inside the image; empty where the finding is negative or has no region.
    tracking_uid : str
        The same in every report about this finding on this image.
    explanations : tuple of Dataset
        Items of a Referenced SOP Sequence: what shows where the network looked, the heat map first.
    """

    finding: Finding
    image: Dataset
    outline: tuple[tuple[float, float], ...]
    tracking_uid: str
    explanations: tuple[Dataset, ...]


def observations(
    image: ImageResult, header: Dataset, names: ResultNames, activations: Sequence[Dataset]
) -> tuple[Observation, ...]:
    """What was said about one image, finding by finding; they share the library header.

    Parameters
    ----------
    activations : sequence of Dataset
        Objects that show where the network looked on the image, as :func:`~dicom_node.results.activations.shown_by`
        takes them.
    """
    described = library_header(header)
    tracking = {finding.key: names.tracking(described.SOPInstanceUID, finding.key) for finding in image.findings}
    return tuple(
        Observation(
            finding=finding,
            image=described,
            outline=outline_inside(finding.region, described) if finding.positive else (),
            tracking_uid=tracking[finding.key],
            explanations=tuple(shown_by(finding, tracking[finding.key], activations)),
        )
        for finding in image.findings
    )


def library_header(header: Dataset) -> Dataset:
    """The few attributes that the image library describes an image by (TID 1602), legal and without patient data.

    An image that lacks what its modality is described by counts as Modality OT, which needs none of it.
    """
    source, image = SourceHeader(header), Dataset()
    image.SOPClassUID = source.text("SOPClassUID")
    image.SOPInstanceUID = source.text("SOPInstanceUID")
    image.Rows, image.Columns = header.Rows, header.Columns
    image.Modality = "OT"
    if frame_of_reference := source.text("FrameOfReferenceUID"):
        image.FrameOfReferenceUID = frame_of_reference
    modality = source.text("Modality")
    wanted = (
        _PROJECTION_VALUES
        if modality in _PROJECTION
        else _CROSS_SECTIONAL_VALUES
        if modality in _CROSS_SECTIONAL
        else {}
    )
    values = {keyword: source.texts(keyword) for keyword in wanted}
    if wanted and all(_describes(keyword, values[keyword], count) for keyword, count in wanted.items()):
        image.Modality = modality
        for keyword, texts in values.items():
            setattr(image, keyword, list(texts) if len(texts) > 1 else texts[0])
    return image


def outline_inside(region: Region | None, image: Dataset) -> tuple[tuple[float, float], ...]:
    """The region's outline, closed and inside the image's pixel matrix; empty when nothing of an area is left.

    As Graphic Data will hold it (PS3.3 C.18.6.1, VR FL): an area that single precision makes vanish is none.
    """
    if region is None or not all(math.isfinite(value) for point in region.outline for value in point):
        return ()
    width, height = float(image.Columns), float(image.Rows)
    points = [(_single(min(max(c, 0.0), width)), _single(min(max(r, 0.0), height))) for c, r in region.outline]
    if points[0] != points[-1]:
        points.append(points[0])
    twice_the_area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(points))
    return tuple(points) if abs(twice_the_area) > 0 else ()


def require_one_patient(evidence: Iterable[Dataset]) -> None:
    """See to it that all headers name one patient and one study.

    Patients differ when Patient ID or its issuer do, or name and birth date both: one of these alone may be a typing
    error, a name in another script or a name that was left out. What is empty contradicts nothing.

    Raises
    ------
    MixedPatientsError
        They do not; the message names the attributes.
    """
    seen: list[tuple[dict[str, str], str]] = []
    for header in evidence:
        source = SourceHeader(header)
        identity = {keyword: source.text(keyword).rstrip("^") for keyword in _WHO}
        if (identity, source.text("StudyInstanceUID")) not in seen:
            seen.append((identity, source.text("StudyInstanceUID")))
    if len({study for _, study in seen}) > 1:
        raise MixedPatientsError("The images belong to different studies: StudyInstanceUID (0020,000D) differs.")
    for (one, _), (other, _) in combinations(seen, 2):
        differing = [keyword for keyword in _WHO if one[keyword] and other[keyword] and one[keyword] != other[keyword]]
        if {"PatientID", "IssuerOfPatientID"} & set(differing) or {"PatientName", "PatientBirthDate"} <= set(differing):
            raise MixedPatientsError(f"The images name different patients: {', '.join(differing)}.")


def reference(instance: Dataset) -> Dataset:
    """The item that names an instance by class and UID (PS3.3 Table 10-11)."""
    source, item = SourceHeader(instance), Dataset()
    item.ReferencedSOPClassUID = source.text("SOPClassUID")
    item.ReferencedSOPInstanceUID = source.text("SOPInstanceUID")
    return item


def hierarchical_references(study_instance_uid: str, instances: Iterable[Dataset]) -> list[Dataset]:
    """Instances of one study grouped by series (PS3.3 Table C.17-3); sorted: their order of arrival is no input."""
    series: dict[str, dict[str, Dataset]] = {}
    for instance in instances:
        item = reference(instance)
        uid = SourceHeader(instance).text("SeriesInstanceUID")
        series.setdefault(uid, {})[item.ReferencedSOPInstanceUID] = item
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = [_series_item(uid, series[uid]) for uid in sorted(series)]
    return [study]


def _single(value: float) -> float:
    """The nearest number of single precision."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _series_item(uid: str, references: dict[str, Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    item.ReferencedSOPSequence = [references[instance] for instance in sorted(references)]
    return item


def _describes(keyword: str, values: Sequence[str], count: int) -> bool:
    if len(values) != count or not all(values):
        return False
    if keyword == "PatientOrientation":
        return all(value.isascii() and value.isalpha() for value in values)
    try:
        return all(math.isfinite(float(value)) for value in values)
    except ValueError:
        return False
