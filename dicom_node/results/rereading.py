"""Our own reports, read back from their files: what a database that was lost knew of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.part10 import read_head
from dicom_node.results import codes
from dicom_node.results.identity import SourceHeader
from dicom_node.results.wording import LABEL, PRODUCT
from triage.errors import DicomError
from triage.findings import NotAnalysedReason, Urgency
from triage.profiles import ResultKind

_DEVICE_OBSERVER_UID: Final = "121012"
_LOGIN_NAME: Final = "128774"
_CLASS: Final = re.compile(r"AI triage class ([A-Z]+)\.$")
_LEFT_OUT: Final = re.compile(r"Not analysed: ([0-9.]+) (.*)")
_WEIGHTS: Final = "weights_sha256="
_HEAD: Final = 4096
_SHOWING: Final = {
    ResultKind.HEAT_MAP: SecondaryCaptureImageStorage,
    ResultKind.SEGMENTATION: SegmentationStorage,
    ResultKind.PARAMETRIC_MAP: ParametricMapStorage,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedReport:
    """A report of ours as its file tells it.

    Attributes
    ----------
    device_uid : str
        Of the installation that made it.
    revision : int
        Of the study's analysis, from 1.
    analysed : frozenset of str
        SOP Instance UIDs of the images that were scored.
    left_out : mapping
        SOP Instance UIDs of the others to why.
    showing : mapping
        SOP Instance UIDs of what it refers to as explanation, pictures first, to what these are.
    positives : tuple of str
        Meanings of the findings that are present.
    urgency : Urgency
        The class that the algorithm asked for; the site's bundle decides what its findings ask for today.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    device_uid: str
    algorithm: str
    version: str
    weights_sha256: str
    research: bool
    revision: int
    created_at: datetime
    analysed: frozenset[str]
    left_out: Mapping[str, NotAnalysedReason]
    showing: Mapping[str, ResultKind]
    positives: tuple[str, ...]
    urgency: Urgency


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedAssessment:
    """An assessment of ours as its file tells it.

    Attributes
    ----------
    report : str
        SOP Instance UID of the report that it is about.
    person : str
        Login name of who assessed.
    serial : int
        Of the person's assessments of that report, from 1.
    created_at : datetime
        Of the latest verdict in it.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    report: str
    person: str
    serial: int
    created_at: datetime


def identity(path: Path) -> tuple[str, bool]:
    """(SOP Instance UID, whether it is a report) of a result file, from its file meta information.

    Raises
    ------
    DicomError
        It is no DICOM file.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        head = read_head(file.read(_HEAD))
    return head.sop_instance_uid, head.sop_class_uid == Comprehensive3DSRStorage


def read_report(path: Path) -> IssuedReport:
    """Read a report back.

    Raises
    ------
    DicomError
        It is not a whole report of ours.
    OSError
        It cannot be read.
    """
    with _whole("report"):
        return _issued(pydicom.dcmread(path))


def read_assessment(path: Path) -> IssuedAssessment:
    """Read an assessment back.

    Raises
    ------
    DicomError
        It is not a whole assessment of ours.
    OSError
        It cannot be read.
    """
    with _whole("assessment"):
        return _assessed(pydicom.dcmread(path))


@contextmanager
def _whole(what: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, EOFError, pydicom.errors.InvalidDicomError) as error:
        raise DicomError(f"The file is no {what} of ours ({type(error).__name__}).") from None


def _assessed(document: Dataset) -> IssuedAssessment:
    if SourceHeader(document).text("Manufacturer") != PRODUCT:
        raise DicomError("The file is no assessment of ours (other equipment).")
    items = list(_items(document))
    (source,) = [item for item in items if _is(item, codes.SOURCE_REPORT.value)]
    (person,) = [str(item.TextValue) for item in items if _is(item, _LOGIN_NAME)]
    maker = document.ContributingEquipmentSequence[0]
    return IssuedAssessment(
        sop_instance_uid=str(document.SOPInstanceUID),
        sop_class_uid=str(document.SOPClassUID),
        series_instance_uid=str(document.SeriesInstanceUID),
        transfer_syntax_uid=str(document.file_meta.TransferSyntaxUID),
        report=str(source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID),
        person=person,
        serial=int(document.InstanceNumber),
        created_at=_moment(maker),
    )


def _moment(maker: Dataset) -> datetime:
    return datetime.strptime(str(maker.ContributionDateTime), "%Y%m%d%H%M%S.%f%z")


def _issued(report: Dataset) -> IssuedReport:
    header = SourceHeader(report)
    if header.text("Manufacturer") != PRODUCT or report.SOPClassUID != Comprehensive3DSRStorage:
        raise DicomError("The file is no report of ours (other equipment or class).")
    items = list(_items(report))
    device = next((str(item.UID) for item in items if _is(item, _DEVICE_OBSERVER_UID)), "")
    if not device:
        raise DicomError("The file is no report of ours: a person observed, not the node.")
    maker = report.ContributingEquipmentSequence[0]
    referenced = [
        (str(reference.ReferencedSOPClassUID), str(reference.ReferencedSOPInstanceUID))
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]
    analysed = frozenset(
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in items if _is(item, codes.SOURCE.value)
    )
    comments = [str(item.TextValue) for item in items if _is(item, codes.COMMENT.value)]
    classes = [found[1] for text in comments if text.startswith(LABEL) and (found := _CLASS.search(text))]
    left_out = {found[1]: _reason(found[2]) for text in comments if (found := _LEFT_OUT.fullmatch(text))}
    return IssuedReport(
        sop_instance_uid=str(report.SOPInstanceUID),
        sop_class_uid=str(report.SOPClassUID),
        series_instance_uid=str(report.SeriesInstanceUID),
        study_instance_uid=str(report.StudyInstanceUID),
        transfer_syntax_uid=str(report.file_meta.TransferSyntaxUID),
        device_uid=device,
        algorithm=str(maker.ManufacturerModelName),
        version=str(maker.SoftwareVersions),
        weights_sha256=next(
            (
                str(item.TextValue).removeprefix(_WEIGHTS)
                for item in items
                if _is(item, codes.ALGORITHM_PARAMETERS.value) and str(item.TextValue).startswith(_WEIGHTS)
            ),
            "",
        ),
        research=report.ContentQualification == "RESEARCH",
        revision=int(report.InstanceNumber),
        created_at=_moment(maker),
        analysed=analysed,
        left_out=left_out,
        showing={
            uid: kind
            for kind, sop_class in _SHOWING.items()
            for of_class, uid in referenced
            if of_class == sop_class and uid not in analysed and uid not in left_out
        },
        positives=tuple(_positives(report)),
        urgency=Urgency(classes[0]) if classes else Urgency.ROUTINE,
    )  # fmt: skip


def _items(parent: Dataset) -> Iterator[Dataset]:
    """All content items below one, depth first."""
    for item in parent.get("ContentSequence", ()):
        yield item
        yield from _items(item)


def _is(item: Dataset, code: str) -> bool:
    names = item.get("ConceptNameCodeSequence")
    return bool(names) and str(names[0].get("CodeValue", "")) == code


def _positives(report: Dataset) -> Iterator[str]:
    """Verdicts of the Qualitative Evaluations container that say Present."""
    for container in report.ContentSequence:
        if not _is(container, codes.QUALITATIVE_EVALUATIONS.value):
            continue
        for item in container.ContentSequence:
            values = item.get("ConceptCodeSequence")
            if values and str(values[0].CodeValue) == codes.PRESENT.value:
                yield str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _reason(sentence: str) -> NotAnalysedReason:
    """The reason whose sentence this is; it may go on with a detail."""
    known = (reason for reason in NotAnalysedReason if sentence.startswith(reason.sentence))
    return max(known, key=lambda reason: len(reason.sentence), default=NotAnalysedReason.NO_BUNDLE)
