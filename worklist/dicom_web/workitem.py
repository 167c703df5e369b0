"""A case of the reading list as a workitem (Unified Procedure Step, PS3.4 annex CC) in the DICOM JSON model. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from triage.catalogue import StudyFacts
from triage.identifiers import reading_task_uid
from triage.priority import UPS_PRIORITY
from triage.states import ReadingStatus, StudyStatus

UPS_PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
STATES: Final[Mapping[ReadingStatus, str]] = {
    ReadingStatus.UNREAD: "SCHEDULED",
    ReadingStatus.CLAIMED: "IN PROGRESS",
    ReadingStatus.READ: "COMPLETED",
}
"""Procedure Step State (0074,1000)."""
WORKLIST_LABEL: Final = "Reading"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a workitem: how it is named, and its value for a case.

    Attributes
    ----------
    of : callable
        Text, several values separated by backslashes; "" for none. For a sequence, the attributes of its one item.
    optional : bool
        Sent only when it is asked for (``includefield``).
    """

    tag: str
    keyword: str
    vr: str
    of: Callable[[StudyFacts, str], str] | Sequence[Attribute]
    optional: bool = False

    def element(self, facts: StudyFacts, device_uid: str) -> Json:
        """The element as DICOM JSON (PS3.18 annex F); an empty one has no value."""
        if not callable(self.of):
            item = {one.tag: one.element(facts, device_uid) for one in self.of}
            return {"vr": "SQ", "Value": [item]}
        text = self.of(facts, device_uid)
        if not text:
            return {"vr": self.vr}
        if self.vr == "PN":
            groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
            return {"vr": "PN", "Value": [{name: group for name, group in groups if group}]}
        return {"vr": self.vr, "Value": text.split("\\")}


def _said(name: str) -> Callable[[StudyFacts, str], str]:
    return lambda facts, _: str(getattr(facts, name))


def _constant(text: str) -> Callable[[StudyFacts, str], str]:
    return lambda _facts, _: text


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%d%H%M%S.%f}+0000"


ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    Attribute("00080016", "SOPClassUID", "UI", _constant(UPS_PUSH)),
    Attribute("00080018", "SOPInstanceUID", "UI", lambda f, device: reading_task_uid(f.study_instance_uid, device)),
    Attribute("00741000", "ProcedureStepState", "CS", lambda f, _: STATES[f.reading_status]),
    Attribute("00741200", "ScheduledProcedureStepPriority", "CS", lambda f, _: UPS_PRIORITY[f.urgency]),
    Attribute("00741204", "ProcedureStepLabel", "LO", lambda f, _: f"Read {f.study_description or 'study'}"[:64]),
    Attribute("00741202", "WorklistLabel", "LO", _constant(WORKLIST_LABEL)),
    Attribute("00404005", "ScheduledProcedureStepStartDateTime", "DT", lambda f, _: _moment(f.received_at)),
    Attribute("00404011", "ExpectedCompletionDateTime", "DT", lambda f, _: _moment(f.due_at)),
    Attribute(
        "00404041",
        "InputReadinessState",
        "CS",
        lambda f, _: "READY" if f.status is StudyStatus.COMPLETE else "INCOMPLETE",
    ),
    Attribute("00400400", "CommentsOnTheScheduledProcedureStep", "LT", _said("explanation")),
    Attribute(
        "00404018",
        "ScheduledWorkitemCodeSequence",
        "SQ",
        (
            Attribute("00080100", "CodeValue", "SH", _constant("110005")),
            Attribute("00080102", "CodingSchemeDesignator", "SH", _constant("DCM")),
            Attribute("00080104", "CodeMeaning", "LO", _constant("Interpretation")),
        ),
    ),
    Attribute("00100010", "PatientName", "PN", _said("patient_name")),
    Attribute("00100020", "PatientID", "LO", _said("patient_id")),
    Attribute("00100021", "IssuerOfPatientID", "LO", _said("issuer_of_patient_id")),
    Attribute("00100030", "PatientBirthDate", "DA", _said("patient_birth_date")),
    Attribute("00100040", "PatientSex", "CS", _said("patient_sex")),
    Attribute("0020000D", "StudyInstanceUID", "UI", _said("study_instance_uid")),
    Attribute(
        "0040A370",
        "ReferencedRequestSequence",
        "SQ",
        (
            Attribute("0020000D", "StudyInstanceUID", "UI", _said("study_instance_uid")),
            Attribute("00080050", "AccessionNumber", "SH", _said("accession_number")),
            Attribute("00321060", "RequestedProcedureDescription", "LO", _said("study_description")),
        ),
    ),
    Attribute("00080061", "ModalitiesInStudy", "CS", _said("modality"), optional=True),
    Attribute("00080020", "StudyDate", "DA", _said("study_date"), optional=True),
    Attribute("00080090", "ReferringPhysicianName", "PN", _said("referring_physician_name"), optional=True),
    Attribute("00380300", "CurrentPatientLocation", "LO", _said("ward"), optional=True),
    Attribute("00201208", "NumberOfStudyRelatedInstances", "IS", _said("instances"), optional=True),
)


def named(name: str, among: Sequence[Attribute] = ATTRIBUTES) -> tuple[Attribute, ...] | None:
    """The way to an attribute by keyword or tag, through sequences by dots: ``ReferencedRequestSequence.00080050``."""
    first, _, rest = name.partition(".")
    found = next((one for one in among if first == one.keyword or first.upper() == one.tag), None)
    if found is None:
        return None
    if not rest:
        return (found,)
    below = None if callable(found.of) else named(rest, found.of)
    return None if below is None else (found, *below)


def workitem(facts: StudyFacts, device_uid: str, *, included: Sequence[str] = ()) -> Json:
    """A case as a workitem; ``included`` are keywords of optional attributes that are wanted, or ``all``."""
    wanted = [one for one in ATTRIBUTES if not one.optional or "all" in included or one.keyword in included]
    return {one.tag: one.element(facts, device_uid) for one in sorted(wanted, key=lambda one: one.tag)}
