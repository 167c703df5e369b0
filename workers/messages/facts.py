"""What the source's headers say of patient, study and order, decoded for systems that speak no DICOM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.header import decoded
from dicom_node.results.forms import respelled
from dicom_node.results.identity import SourceHeader
from triage.findings import Code
from workers.messages.statement import SeriesFacts, StudyFacts

_TEXT: Final[Mapping[str, str]] = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "accession_number": "AccessionNumber",
    "study_id": "StudyID",
    "study_description": "StudyDescription",
    "body_part": "BodyPartExamined",
    "referring_physician": "ReferringPhysicianName",
    "requesting_physician": "RequestingPhysician",
    "admission_id": "AdmissionID",
}
_OF_A_FORM: Final[Mapping[str, tuple[str, str]]] = {
    "patient_birth_date": ("PatientBirthDate", "DA"),
    "patient_sex": ("PatientSex", "CS"),
    "study_date": ("StudyDate", "DA"),
    "study_time": ("StudyTime", "TM"),
    "timezone": ("TimezoneOffsetFromUTC", "SH"),
}
_OF_THE_REQUEST: Final[Mapping[str, str]] = {
    "placer_order_number": "PlacerOrderNumberImagingServiceRequest",
    "filler_order_number": "FillerOrderNumberImagingServiceRequest",
    "requested_procedure_id": "RequestedProcedureID",
    "scheduled_step_id": "ScheduledProcedureStepID",
}
_PROCEDURES: Final = ("RequestedProcedureCodeSequence", "ProcedureCodeSequence")


def study_facts(source: Dataset, evidence: Sequence[Dataset]) -> StudyFacts:
    """Read the facts of a study.

    Never raises for what a header holds: what cannot be read is not known. Values of a fixed form that are illegal are
    respelled where their meaning is certain, as in the DICOM results.

    Parameters
    ----------
    source : Dataset
        Header of the first analysed image, as dcmread returned it: whose report it is.
    evidence : sequence of Dataset
        Headers of all instances of the study.
    """
    header = _Header(source)
    requests = [_Header(item, header) for item in SourceHeader(source).items("RequestAttributesSequence")]
    holders = (*requests, header)
    facts = {name: header.text(keyword) for name, keyword in _TEXT.items()}
    facts |= {name: header.form(*form) for name, form in _OF_A_FORM.items()}
    facts |= {
        name: next((text for holder in holders if (text := holder.text(keyword))), "")
        for name, keyword in _OF_THE_REQUEST.items()
    }
    if not facts["accession_number"]:  # a modality may copy the order's into the request only
        facts["accession_number"] = next(filter(None, (request.text("AccessionNumber") for request in requests)), "")
    modalities = {SourceHeader(each).text("Modality") for each in evidence} - {""}
    procedures = (holder.code(keyword) for holder in holders for keyword in _PROCEDURES)
    return StudyFacts(
        study_instance_uid=header.text("StudyInstanceUID"),
        modality="\\".join(sorted(modalities)),
        procedure=next(filter(None, procedures), None),
        series=_series(evidence),
        **facts,
    )


@dataclass(frozen=True, slots=True)
class _Header:
    """A header or an item in it, whose texts are decoded in its own character set or its parent's."""

    dataset: Dataset
    parent: _Header | None = None

    def text(self, keyword: str) -> str:
        return decoded(self._bytes(keyword), self._character_set())

    def form(self, keyword: str, vr: str) -> str:
        legal = respelled(keyword, vr, self._bytes(keyword)) or b""
        return legal.decode("ascii", errors="replace").strip("\x00 ")

    def code(self, keyword: str) -> Code | None:
        """The first item of a code sequence that has value, scheme and meaning."""
        for item in SourceHeader(self.dataset).items(keyword):
            coded = _Header(item, self)
            value = coded.text("CodeValue") or coded.text("LongCodeValue") or coded.text("URNCodeValue")
            scheme, meaning = coded.text("CodingSchemeDesignator"), coded.text("CodeMeaning")
            if value and scheme and meaning:
                return Code(value=value, scheme=scheme, meaning=meaning)
        return None

    def _bytes(self, keyword: str) -> bytes:
        return SourceHeader(self.dataset).text(keyword).encode("latin-1")

    def _character_set(self) -> bytes:
        own = "\\".join(SourceHeader(self.dataset).character_set()).encode("latin-1")
        return own if own or self.parent is None else self.parent._character_set()


def _series(evidence: Sequence[Dataset]) -> tuple[SeriesFacts, ...]:
    found: dict[str, list[SourceHeader]] = {}
    for header in map(SourceHeader, evidence):
        found.setdefault(header.text("SeriesInstanceUID"), []).append(header)
    return tuple(
        SeriesFacts(
            uid=uid,
            modality=headers[0].text("Modality"),
            instances=tuple(sorted((h.text("SOPClassUID"), h.text("SOPInstanceUID")) for h in headers)),
        )
        for uid, headers in sorted(found.items())
    )
