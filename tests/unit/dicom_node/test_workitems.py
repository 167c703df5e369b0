"""Workitems as data sets: what we ask for, what we say we did, and what others ask of us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.workitems import (
    DETECTION,
    UNSPECIFIED,
    Output,
    Performance,
    ReadingTask,
    ScheduledStep,
    StepState,
    discontinued,
    performed,
    priority_change,
    reading_task,
)
from triage.errors import DicomError
from triage.findings import Urgency
from triage.identifiers import reading_task_uid

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=timezone(timedelta(hours=1)))


def task(**facts: Any) -> ReadingTask:
    given = {
        "uid": "2.25.1", "study_instance_uid": "1.2.3", "urgency": Urgency.STAT, "summary": "Pneumothorax 0.94",
        "scheduled_at": NOW, **facts,
    }  # fmt: skip
    return ReadingTask(**given)


@pytest.mark.parametrize(
    ("urgency", "priority"), [(Urgency.STAT, "HIGH"), (Urgency.URGENT, "MEDIUM"), (Urgency.ROUTINE, "LOW")]
)
def test_a_class_is_a_priority(urgency: Urgency, priority: str) -> None:
    assert reading_task(task(urgency=urgency)).ScheduledProcedureStepPriority == priority
    assert priority_change(urgency).ScheduledProcedureStepPriority == priority


def test_a_reading_task_says_whose_study_it_is_and_survives_json() -> None:
    built = reading_task(
        task(
            patient_name="Σ^Α",
            patient_id="7",
            accession_number="A1",
            instances={"1.2.3.1": [("1.2.840.1", "1.2.3.1.1")]},
        )
    )
    back = Dataset.from_json(built.to_json())
    assert back == built
    assert (back.PatientName, back.PatientID) == ("Σ^Α", "7")
    assert back.ReferencedRequestSequence[0].AccessionNumber == "A1"
    assert back.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.1.1"
    assert back.ScheduledProcedureStepStartDateTime == "20260301090000.000000+0100"
    assert back.ScheduledWorkitemCodeSequence[0].CodeValue == "110005"


def test_the_same_study_has_the_same_task_for_ever() -> None:
    uid = reading_task_uid("1.2.3", "2.25.9")
    assert uid == reading_task_uid("1.2.3", "2.25.9")
    assert UID(uid).is_valid
    assert len({uid, reading_task_uid("1.2.4", "2.25.9"), reading_task_uid("1.2.3", "2.25.8")}) == 3


def test_outputs_are_grouped_by_series_and_say_where_they_are() -> None:
    def output(number: int, series: str, **where: Any) -> Output:
        return Output(
            study_instance_uid="1.2", series_instance_uid=series, sop_class_uid="1.2.840.1",
            sop_instance_uid=f"1.2.{number}", **where,
        )  # fmt: skip

    outputs = [
        output(1, "1.2.100", ae_titles=["PACS"]),
        output(2, "1.2.200", urls=["https://pacs/dicom-web"]),
        output(3, "1.2.100", ae_titles=["PACS"]),
    ]
    ds = performed(
        Performance(
            station="FIRSTREAD", software="x 1", code=DETECTION, started_at=NOW, ended_at=NOW.astimezone(UTC),
            outputs=outputs,
        ),
        "2.25.5",
    )  # fmt: skip
    (item,) = ds.UnifiedProcedureStepPerformedProcedureSequence
    first, second = item.OutputInformationSequence
    assert [r.ReferencedSOPInstanceUID for r in first.ReferencedSOPSequence] == ["1.2.1", "1.2.3"]
    assert first.DICOMRetrievalSequence[0].RetrieveAETitle == "PACS"
    assert "WADORSRetrievalSequence" not in first
    assert second.WADORSRetrievalSequence[0].RetrieveURL == "https://pacs/dicom-web/studies/1.2/series/1.2.200"
    assert item.PerformedProcedureStepEndDateTime.endswith("+0000")
    assert ds.TransactionUID == "2.25.5"


def test_a_discontinuation_has_a_code_a_time_and_words() -> None:
    (item,) = discontinued("No network reads this", UNSPECIFIED, NOW, "2.25.5").ProcedureStepProgressInformationSequence
    assert item.ReasonForCancellation == "No network reads this"
    assert item.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"


def scheduled(**attributes: Any) -> Dataset:
    ds = Dataset()
    ds.SOPInstanceUID = "1.2.3.4"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def test_what_a_manager_leaves_out_is_not_known() -> None:
    step = ScheduledStep.read(scheduled())
    assert (step.uid, step.state, step.ready, step.codes, step.study_instance_uids) == ("1.2.3.4", None, True, [], [])
    assert not ScheduledStep.read(scheduled(InputReadinessState="INCOMPLETE")).ready
    assert ScheduledStep.read(scheduled(ProcedureStepState="IN PROGRESS")).state is StepState.IN_PROGRESS
    assert ScheduledStep.read(scheduled(ProcedureStepState="DONE")).state is None


def test_the_studies_of_the_input_come_before_that_of_the_request() -> None:
    first, second, request = Dataset(), Dataset(), Dataset()
    first.StudyInstanceUID, second.StudyInstanceUID, request.StudyInstanceUID = "1.1", "1.2", "1.3"
    ds = scheduled(InputInformationSequence=[first, second, first], ReferencedRequestSequence=[request])
    assert ScheduledStep.read(ds).study_instance_uids == ["1.1", "1.2", "1.3"]


@pytest.mark.parametrize("ds", [Dataset(), scheduled(SOPInstanceUID="../../etc")])
def test_a_workitem_without_a_uid_is_an_error_without_its_text(ds: Dataset) -> None:
    with pytest.raises(DicomError) as error:
        ScheduledStep.read(ds)
    assert "etc" not in str(error.value)
