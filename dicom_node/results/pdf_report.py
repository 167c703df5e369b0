"""The report as a document for people and for systems that know no SR: an Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from dicom_node.header import decoded
from dicom_node.results.codes import IMAGING_MEASUREMENT_REPORT, code_item
from dicom_node.results.common import Making, failures_named
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.evidence import reference
from dicom_node.results.files import seal
from dicom_node.results.identity import SourceHeader
from dicom_node.results.report_pages import ReportFacts, report_pages
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import LABEL, plain
from triage.errors import ResultError
from triage.findings import AnalysisResult
from triage.profiles import DEFAULT, Profile

MIME_TYPE: Final = "application/pdf"


def build_pdf_report(
    evidence: Sequence[Dataset],
    result: AnalysisResult,
    *,
    pictures: Mapping[str, npt.NDArray[np.uint8]],
    node: NodeIdentity,
    revision: int,
    created_at: datetime,
    profile: Profile = DEFAULT,
) -> Dataset:
    """Build the PDF report of an analysis. The same arguments give the same bytes.

    Parameters
    ----------
    evidence : sequence of Dataset
        Headers of all source instances read for the study, as dcmread returned them. Patient and study are those of the
        first analysed image.
    pictures : mapping of str to ndarray of uint8, shape (rows, columns, 3), RGB
        SOP Instance UID of an analysed image to its heat map; empty where none is to be shown.
    revision : int
        1 for the first report, one more for each re-run.
    profile : Profile
        What its destination wants.

    Raises
    ------
    ResultError
        It cannot be built, or an analysed image is not among the evidence.
    """
    with failures_named("The PDF report"):
        headers = {SourceHeader(header).text("SOPInstanceUID"): header for header in evidence}
        missing = [i.sop_instance_uid for i in result.images if i.sop_instance_uid not in headers]
        if missing:
            raise ResultError(f"{len(missing)} analysed images are not among the evidence, e.g. {missing[0]}.")
        source = SourceHeader(headers[result.images[0].sop_instance_uid])
        names = ResultNames(
            study_instance_uid=source.text("StudyInstanceUID"), algorithm=result.algorithm, node=node,
            revision=revision, profile=profile,
        )  # fmt: skip
        target, _ = Making(source=source, names=names, created_at=created_at).dataset(
            ResultKind.PDF,
            sop_class_uid=EncapsulatedPDFStorage,
            sop_instance_uid=names.instance(ResultKind.PDF),
            modality="DOC",
            instance_number=revision,
        )
        whose = SourceHeader(target)
        pages = report_pages(
            ReportFacts(
                patient=_patient(whose),
                identity=_identity(whose),
                result=result,
                views={i.sop_instance_uid: _view(SourceHeader(headers[i.sop_instance_uid])) for i in result.images},
                pictures=pictures,
                node=f"{plain(node.manufacturer)} {plain(node.software_version)}, {plain(node.name)}",
                revision=revision,
                created_at=created_at,
            )
        )
        _put_document(target, pages, [reference(headers[image.sop_instance_uid]) for image in result.images])
        return seal(target, character_set=profile.character_set)


def _put_document(target: Dataset, pages: bytes, sources: list[Dataset]) -> None:
    """Encapsulated Document (PS3.3 C.24.2) and SC Equipment (C.8.6.1)."""
    target.ConversionType = "WSD"
    target.AcquisitionDateTime = ""
    target.BurnedInAnnotation = "YES"
    target.RecognizableVisualFeatures = "NO"
    target.SourceInstanceSequence = sources
    target.DocumentTitle = f"{LABEL} triage report"
    target.ConceptNameCodeSequence = [code_item(IMAGING_MEASUREMENT_REPORT)]
    target.VerificationFlag = "UNVERIFIED"
    target.MIMETypeOfEncapsulatedDocument = MIME_TYPE
    target.EncapsulatedDocumentLength = len(pages)
    target.EncapsulatedDocument = pages


def _patient(whose: SourceHeader) -> list[tuple[str, str]]:
    """Who it is about, as the result says it: in the source's own text."""
    issuer = _words(whose, "IssuerOfPatientID")
    patient_id = _words(whose, "PatientID")
    sex = {"M": "male", "F": "female", "O": "other"}.get(whose.text("PatientSex"), "")
    return [
        ("Patient", person(_words(whose, "PatientName"))),
        ("Patient ID", f"{patient_id} ({issuer})" if issuer and patient_id else patient_id),
        ("Born, sex", ", ".join(part for part in (_day(whose.text("PatientBirthDate")), sex) if part)),
        ("Study", _words(whose, "StudyDescription")),
        ("Study date", f"{_day(whose.text('StudyDate'))} {_hour(whose.text('StudyTime'))}".strip()),
        ("Accession number", _words(whose, "AccessionNumber")),
        ("Referring physician", person(_words(whose, "ReferringPhysicianName"))),
        ("Study UID", whose.text("StudyInstanceUID")),
    ]


def _identity(whose: SourceHeader) -> list[str]:
    parts = (
        person(_words(whose, "PatientName")),
        f"ID {_words(whose, 'PatientID') or '-'}",
        f"accession {_words(whose, 'AccessionNumber') or '-'}",
    )
    return [part for part in parts if part]


def _words(header: SourceHeader, keyword: str) -> str:
    """A text in its own letters."""
    declared = header.text("SpecificCharacterSet")
    return decoded(header.text(keyword).encode("latin-1"), declared.encode("latin-1"))


def person(name: str) -> str:
    """A person name (PS3.5 6.2.1) for people: family name first, component groups side by side."""
    groups = []
    for group in name.split("="):
        family, *others = (" ".join(component.split()) for component in group.split("^"))
        given = " ".join(other for other in others if other)
        groups.append(", ".join(part for part in (family, given) if part))
    return "   ".join(dict.fromkeys(group for group in groups if group))


def _view(image: SourceHeader) -> str:
    """``PA, series 2, image 1``."""
    parts = (
        plain(image.text("ViewPosition")),
        f"series {plain(number)}" if (number := image.text("SeriesNumber")) else "",
        f"image {plain(number)}" if (number := image.text("InstanceNumber")) else "",
    )
    return ", ".join(part for part in parts if part)


def _day(date: str) -> str:
    """``2026-11-28``; a date that is none as it stands."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else plain(date)


def _hour(time: str) -> str:
    """``07:08``."""
    return f"{time[:2]}:{time[2:4]}" if len(time) >= 4 and time[:4].isdigit() else ""
