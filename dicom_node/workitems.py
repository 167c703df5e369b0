"""Workitems (Unified Procedure Steps, PS3.4 annex CC, PS3.3 C.30): data sets in and out. No network, no clock.

Text is plain Unicode: workitems travel as DICOM JSON, which has no character sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.results.codes import code_item
from triage.errors import DicomError, IdentifierError
from triage.findings import Code, Urgency
from triage.identifiers import dicom_uid
from triage.priority import UPS_PRIORITY

UPS_PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
"""SOP Class UID of every workitem (PS3.4 CC.1)."""
DETECTION: Final = Code(value="110004", scheme="DCM", meaning="Computer Aided Detection")
INTERPRETATION: Final = Code(value="110005", scheme="DCM", meaning="Interpretation")
"""CID 9231, what a workitem asks for."""
OBJECTS_NOT_SUPPORTED: Final = Code(value="110522", scheme="DCM", meaning="Object Types not supported")
UNSPECIFIED: Final = Code(value="110513", scheme="DCM", meaning="Discontinued for unspecified reason")
"""CID 9300, why a step was discontinued."""


class StepState(StrEnum):
    """Procedure Step State (0074,1000); only the performer who holds the Transaction UID leaves IN PROGRESS."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledStep:
    """What a performer needs to know of a workitem.

    Attributes
    ----------
    state : StepState or None
        None when the manager does not say it, or says something else.
    ready : bool
        Its input may be used: READY, or nothing said (PS3.3 C.30.2).
    codes : sequence of (value, scheme)
        What it asks for.
    stations : sequence of str
        Code values of the stations that it is meant for; empty for any.
    study_instance_uids : sequence of str
        Of its input, in order, each once.
    """

    uid: str
    state: StepState | None
    ready: bool
    priority: str
    codes: Sequence[tuple[str, str]]
    stations: Sequence[str]
    study_instance_uids: Sequence[str]

    @classmethod
    def read(cls, workitem: Dataset) -> ScheduledStep:
        """Read a workitem that a manager sent; what is of no use is left out.

        Raises
        ------
        DicomError
            It has no valid SOP Instance UID, or its elements are not what they should be.
        """
        try:
            return cls(
                uid=dicom_uid(str(workitem.get("SOPInstanceUID") or ""), attribute="SOPInstanceUID"),
                state=_state(str(workitem.get("ProcedureStepState") or "")),
                ready=str(workitem.get("InputReadinessState") or "READY") == "READY",
                priority=str(workitem.get("ScheduledProcedureStepPriority") or ""),
                codes=[
                    (str(item.get("CodeValue") or item.get("LongCodeValue") or ""), str(item.CodingSchemeDesignator))
                    for item in workitem.get("ScheduledWorkitemCodeSequence") or ()
                    if item.get("CodingSchemeDesignator")
                ],
                stations=[str(i.get("CodeValue", "")) for i in workitem.get("ScheduledStationNameCodeSequence") or ()],
                study_instance_uids=_studies(workitem),
            )
        except IdentifierError as error:
            raise DicomError(f"A workitem's {error}", next_step="Correct it at the workitem manager.") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise DicomError(
                f"A workitem cannot be read ({type(error).__name__}).", next_step="Look at it at the workitem manager."
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A result object, and where it can be retrieved.

    Attributes
    ----------
    ae_titles : sequence of str
        Of archives that hold it.
    urls : sequence of str
        DICOMweb base URLs of archives that hold it.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    ae_titles: Sequence[str] = ()
    urls: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Performance:
    """What was done about a workitem, by whom and when; times are aware."""

    station: str
    software: str
    code: Code
    started_at: datetime
    ended_at: datetime
    outputs: Sequence[Output]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingTask:
    """A study that waits to be read: the facts that its workitem tells, "" for what is not known.

    Attributes
    ----------
    patient_name : str
        PN as in DICOM.
    summary : str
        What the AI says, one line.
    scheduled_at : datetime
        Aware.
    """

    uid: str
    study_instance_uid: str
    urgency: Urgency
    summary: str
    scheduled_at: datetime
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    accession_number: str = ""
    study_description: str = ""
    label: str = "Reading"
    worklist: str = "Radiology reading"
    instances: Mapping[str, Sequence[tuple[str, str]]] | None = None
    """Series Instance UID to (SOP class, SOP instance) of what is to be read."""


def reading_task(task: ReadingTask) -> Dataset:
    """The workitem that asks for a reading: every attribute that N-CREATE needs (PS3.4 Table CC.2.5-3)."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UPS_PUSH, task.uid
    ds.TransactionUID = ""
    ds.PatientName, ds.PatientID = task.patient_name, task.patient_id
    ds.IssuerOfPatientID, ds.PatientBirthDate = task.issuer_of_patient_id, task.patient_birth_date
    ds.PatientSex = task.patient_sex
    ds.AdmissionID, ds.AdmittingDiagnosesDescription = "", ""
    for keyword in (
        "AdmittingDiagnosesCodeSequence",
        "IssuerOfAdmissionIDSequence",
        "ScheduledProcessingParametersSequence",
        "ScheduledStationNameCodeSequence",
        "ScheduledStationClassCodeSequence",
        "ScheduledStationGeographicLocationCodeSequence",
        "ProcedureStepProgressInformationSequence",
        "UnifiedProcedureStepPerformedProcedureSequence",
    ):
        setattr(ds, keyword, [])
    ds.StudyInstanceUID = task.study_instance_uid
    ds.ReferencedRequestSequence = [_request(task)]
    ds.ProcedureStepState = StepState.SCHEDULED
    ds.ScheduledProcedureStepPriority = UPS_PRIORITY[task.urgency]
    ds.ProcedureStepLabel, ds.WorklistLabel = task.label[:64], task.worklist[:64]
    ds.CommentsOnTheScheduledProcedureStep = task.summary[:10240]
    ds.ScheduledProcedureStepStartDateTime = _dt(task.scheduled_at)
    ds.ScheduledWorkitemCodeSequence = [code_item(INTERPRETATION)]
    ds.InputReadinessState = "READY"
    ds.InputInformationSequence = [
        _references(task.study_instance_uid, series, instances) for series, instances in (task.instances or {}).items()
    ]
    return ds


def priority_change(urgency: Urgency, summary: str = "") -> Dataset:
    """What is to be changed in a reading task whose study is in another class now."""
    ds = Dataset()
    ds.ScheduledProcedureStepPriority = UPS_PRIORITY[urgency]
    if summary:
        ds.CommentsOnTheScheduledProcedureStep = summary[:10240]
    return ds


def state_change(state: StepState, transaction_uid: str) -> Dataset:
    """The request to change a workitem's state, by who holds (or takes) its Transaction UID (PS3.4 CC.2.1)."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ProcedureStepState = state
    return ds


def progress(percent: int, description: str, transaction_uid: str) -> Dataset:
    """How far the step is, 0 to 100, and in words."""
    item = Dataset()
    item.ProcedureStepProgress = str(percent)
    item.ProcedureStepProgressDescription = description[:1024]
    return _update(transaction_uid, ProcedureStepProgressInformationSequence=[item])


def performed(performance: Performance, transaction_uid: str) -> Dataset:
    """What the final state COMPLETED needs to be there before (PS3.4 Table CC.2.5-3, last column)."""
    item = Dataset()
    item.PerformedStationNameCodeSequence = [station(performance.station)]
    item.PerformedProcedureStepStartDateTime = _dt(performance.started_at)
    item.PerformedProcedureStepEndDateTime = _dt(performance.ended_at)
    item.PerformedWorkitemCodeSequence = [code_item(performance.code)]
    item.PerformedProcedureStepDescription = performance.software[:64]
    item.OutputInformationSequence = [_output(*group) for group in _grouped(performance.outputs)]
    return _update(transaction_uid, UnifiedProcedureStepPerformedProcedureSequence=[item])


def discontinued(reason: str, code: Code, at: datetime, transaction_uid: str) -> Dataset:
    """What the final state CANCELED needs to be there before: when, a coded reason, and the reason in words."""
    item = Dataset()
    item.ProcedureStepCancellationDateTime = _dt(at)
    item.ReasonForCancellation = reason[:10240]
    item.ProcedureStepDiscontinuationReasonCodeSequence = [code_item(code)]
    return _update(transaction_uid, ProcedureStepProgressInformationSequence=[item])


def station(ae_title: str) -> Dataset:
    """This node as a station: its AE title as a local code."""
    return code_item(Code(value=ae_title, scheme="L", meaning=ae_title))


def _update(transaction_uid: str, **sequences: list[Dataset]) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    for keyword, items in sequences.items():
        setattr(ds, keyword, items)
    return ds


def _request(task: ReadingTask) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = task.study_instance_uid
    item.AccessionNumber = task.accession_number
    item.IssuerOfAccessionNumberSequence = []
    item.RequestedProcedureID = ""
    item.RequestedProcedureDescription = task.study_description[:64]
    item.RequestedProcedureCodeSequence = []
    return item


def _references(study: str, series: str, instances: Sequence[tuple[str, str]]) -> Dataset:
    item = Dataset()
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID, item.SeriesInstanceUID = study, series
    item.ReferencedSOPSequence = [_reference(*names) for names in instances]
    return item


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


_Place = tuple[str, str, tuple[str, ...], tuple[str, ...]]


def _grouped(outputs: Sequence[Output]) -> list[tuple[_Place, list[Output]]]:
    """Objects of one series that can be retrieved from the same places share an item."""
    groups: dict[_Place, list[Output]] = {}
    for each in outputs:
        place = (each.study_instance_uid, each.series_instance_uid, tuple(each.ae_titles), tuple(each.urls))
        groups.setdefault(place, []).append(each)
    return list(groups.items())


def _output(place: _Place, outputs: Sequence[Output]) -> Dataset:
    study, series, ae_titles, urls = place
    item = _references(study, series, [(each.sop_class_uid, each.sop_instance_uid) for each in outputs])
    if ae_titles:
        item.DICOMRetrievalSequence = [Dataset()]
        item.DICOMRetrievalSequence[0].RetrieveAETitle = list(ae_titles)
    if urls:
        item.WADORSRetrievalSequence = []
        for url in urls:
            where = Dataset()
            where.RetrieveURL = f"{url}/studies/{study}/series/{series}"
            item.WADORSRetrievalSequence.append(where)
    return item


def _state(text: str) -> StepState | None:
    return StepState(text) if text in tuple(StepState) else None


def _studies(workitem: Dataset) -> list[str]:
    inputs = [item.get("StudyInstanceUID") for item in workitem.get("InputInformationSequence") or ()]
    requests = [item.get("StudyInstanceUID") for item in workitem.get("ReferencedRequestSequence") or ()]
    named = [str(uid).strip() for uid in (*inputs, *requests, workitem.get("StudyInstanceUID")) if uid]
    return list(dict.fromkeys(named))


def _dt(at: datetime) -> str:
    """DT with its offset from UTC (PS3.5 6.2)."""
    return at.strftime("%Y%m%d%H%M%S.%f%z")
