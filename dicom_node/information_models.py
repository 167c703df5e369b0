"""What can be asked of this node by C-FIND: the attributes of each information model, and what it answers for each.

The provider matches and answers from these lists and the conformance statement prints them. Query/Retrieve (PS3.4
annex C): hierarchical queries, no extended negotiation. Modality Worklist (PS3.4 annex K): the open reading list, each
case as a scheduled procedure step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword

from triage.catalogue import InstanceFacts, SeriesFacts, StudyFacts
from triage.findings import Urgency
from triage.states import ReadingStatus, StudyStatus

REQUESTED_PROCEDURE_PRIORITY: Final[Mapping[Urgency, str]] = {
    Urgency.STAT: "STAT",
    Urgency.URGENT: "HIGH",
    Urgency.ROUTINE: "ROUTINE",
}
"""(0040,1003), PS3.3 C.4.11, of our classes; :func:`triage.priority.order_urgency` reads it back."""
_STUDY_PRIORITY: Final = {Urgency.STAT: "HIGH", Urgency.URGENT: "MED", Urgency.ROUTINE: "LOW"}
_STEP_STATUS: Final = {ReadingStatus.CLAIMED: "STARTED", ReadingStatus.READ: "DEPARTED"}
_ASCII: Final = str.maketrans({"≥": ">=", "≤": "<=", "→": "->", "–": "-", "…": "..."})
"""Signs of our own explanations: a worklist in plain ASCII is read by every modality."""
_REPORTS: Final = frozenset({"SR", "KO", "PR", "DOC", "SEG", "REG", "AU"})


@dataclass(frozen=True, slots=True)
class Here:
    """What answers need to know of this node.

    Attributes
    ----------
    zone : tzinfo or None
        In which its dates and times are; None for that of this machine.
    """

    ae_title: str
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that is answered, and matched where it is asked for with a value.

    Attributes
    ----------
    of : callable
        Its value for the facts that a level is about; several separated by backslashes.
    matched : bool
        False for what is only answered: it matches whatever is asked.
    shown : callable, optional
        What is answered where that is only one of the values that are matched.
    items : mapping, optional
        The attributes of the one item of a sequence.
    """

    keyword: str
    of: Callable[[Any, Here], str]
    matched: bool = True
    shown: Callable[[Any, Here], str] | None = None
    items: Mapping[int, Attribute] | None = None

    @property
    def tag(self) -> int:
        return _tag(self.keyword)

    @property
    def vr(self) -> str:
        return dictionary_VR(self.tag)

    @property
    def name(self) -> str:
        return dictionary_description(self.tag)


Level = Mapping[int, Attribute]


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword  # noqa: S101 - of our own lists
    return tag


def _level(*attributes: Attribute) -> Level:
    return {attribute.tag: attribute for attribute in attributes}


def _said(keyword: str, name: str) -> Attribute:
    return Attribute(keyword, lambda facts, _: str(getattr(facts, name)))


def _counted(keyword: str, name: str) -> Attribute:
    return Attribute(keyword, lambda facts, _: str(getattr(facts, name)), matched=False)


def _local(at: datetime, here: Here) -> datetime:
    return at.astimezone(here.zone)


def explained(facts: StudyFacts) -> str:
    """Why the case stands where it stands, in signs that every reader has where they are ours."""
    return facts.explanation.translate(_ASCII)


def main_modality(facts: StudyFacts) -> str:
    """One modality of a study, of its images where it has any."""
    modalities = facts.modality.split("\\")
    return next((modality for modality in modalities if modality not in _REPORTS), modalities[0])


_PATIENT: Final = (
    _said("PatientName", "patient_name"),
    _said("PatientID", "patient_id"),
    _said("IssuerOfPatientID", "issuer_of_patient_id"),
    _said("PatientBirthDate", "patient_birth_date"),
    _said("PatientSex", "patient_sex"),
)
_PRIORITY: Final = Attribute("RequestedProcedurePriority", lambda facts, _: REQUESTED_PROCEDURE_PRIORITY[facts.urgency])
_EXPLANATION: Final = Attribute("RequestedProcedureComments", lambda facts, _: explained(facts))
_STUDY: Final = (
    _said("StudyInstanceUID", "study_instance_uid"),
    _said("StudyDate", "study_date"),
    _said("StudyTime", "study_time"),
    _said("AccessionNumber", "accession_number"),
    _said("StudyID", "study_id"),
    _said("StudyDescription", "study_description"),
    _said("ModalitiesInStudy", "modality"),
    _said("ReferringPhysicianName", "referring_physician_name"),
    _said("PatientAge", "patient_age"),
    _said("CurrentPatientLocation", "ward"),
    _counted("NumberOfStudyRelatedInstances", "instances"),
    Attribute("InstanceAvailability", lambda _facts, _: "UNAVAILABLE", matched=False),
    _PRIORITY,
    Attribute("StudyPriorityID", lambda facts, _: _STUDY_PRIORITY[facts.urgency]),
    _EXPLANATION,
)
PATIENT_LEVEL: Final = _level(*_PATIENT)
STUDY_LEVEL: Final = _level(*_PATIENT, *_STUDY)
SERIES_LEVEL: Final = _level(
    _said("StudyInstanceUID", "study_instance_uid"),
    _said("SeriesInstanceUID", "series_instance_uid"),
    _said("Modality", "modality"),
    _said("SeriesNumber", "series_number"),
    _said("SeriesDescription", "series_description"),
    _counted("NumberOfSeriesRelatedInstances", "instances"),
)
IMAGE_LEVEL: Final = _level(
    _said("StudyInstanceUID", "study_instance_uid"),
    _said("SeriesInstanceUID", "series_instance_uid"),
    _said("SOPInstanceUID", "sop_instance_uid"),
    _said("SOPClassUID", "sop_class_uid"),
    _said("InstanceNumber", "instance_number"),
)

SCHEDULED_STEP: Final = _level(
    Attribute("Modality", lambda facts, _: facts.modality, shown=lambda facts, _: main_modality(facts)),
    Attribute("ScheduledStationAETitle", lambda _facts, here: here.ae_title, matched=False),
    Attribute("ScheduledProcedureStepStartDate", lambda facts, here: f"{_local(facts.due_at, here):%Y%m%d}"),
    Attribute("ScheduledProcedureStepStartTime", lambda facts, here: f"{_local(facts.due_at, here):%H%M%S}"),
    _said("ScheduledPerformingPhysicianName", "reader"),
    Attribute(
        "ScheduledProcedureStepDescription",
        lambda facts, _: f"Read {facts.study_description or main_modality(facts) or 'study'}"[:64],
    ),
    Attribute("ScheduledProcedureStepID", lambda facts, _: f"READ{facts.id}"[:16]),
    Attribute(
        "ScheduledProcedureStepStatus",
        lambda facts, _: _STEP_STATUS.get(
            facts.reading_status, "READY" if facts.status is StudyStatus.COMPLETE else "ARRIVED"
        ),
    ),
    Attribute("CommentsOnTheScheduledProcedureStep", lambda facts, _: explained(facts)),
)
WORKLIST: Final = _level(
    *_PATIENT,
    _said("StudyInstanceUID", "study_instance_uid"),
    _said("AccessionNumber", "accession_number"),
    _said("ReferringPhysicianName", "referring_physician_name"),
    _said("PatientAge", "patient_age"),
    _said("CurrentPatientLocation", "ward"),
    Attribute("RequestedProcedureID", lambda facts, _: (facts.accession_number or f"R{facts.id}")[:16]),
    Attribute("RequestedProcedureDescription", lambda facts, _: facts.study_description),
    _PRIORITY,
    _EXPLANATION,
    Attribute("ScheduledProcedureStepSequence", lambda _facts, _: "", items=SCHEDULED_STEP),
)

STUDY_UID: Final = _tag("StudyInstanceUID")
SERIES_UID: Final = _tag("SeriesInstanceUID")
PATIENT_ID: Final = _tag("PatientID")
PATIENT_NAME: Final = _tag("PatientName")
ACCESSION_NUMBER: Final = _tag("AccessionNumber")
STUDY_DATE: Final = _tag("StudyDate")
STEP_SEQUENCE: Final = _tag("ScheduledProcedureStepSequence")
STEP_DATE: Final = _tag("ScheduledProcedureStepStartDate")
STEP_TIME: Final = _tag("ScheduledProcedureStepStartTime")
QUERY_RETRIEVE_LEVEL: Final = _tag("QueryRetrieveLevel")

STUDY_ROOT: Final[Mapping[str, Level]] = {"STUDY": STUDY_LEVEL, "SERIES": SERIES_LEVEL, "IMAGE": IMAGE_LEVEL}
PATIENT_ROOT: Final[Mapping[str, Level]] = {"PATIENT": PATIENT_LEVEL, **STUDY_ROOT}
ABOVE: Final[Mapping[str, Sequence[int]]] = {
    "PATIENT": (),
    "STUDY": (),
    "SERIES": (STUDY_UID,),
    "IMAGE": (STUDY_UID, SERIES_UID),
}
"""Unique keys that a question at a level has to name with one value (PS3.4 C.4.1.2.1); in the Patient Root model
Patient ID (0010,0020) too, below the PATIENT level."""
Facts = StudyFacts | SeriesFacts | InstanceFacts
