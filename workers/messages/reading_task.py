"""The reading of a study as a workitem (UPS) for departments that read from a task manager's list."""

from __future__ import annotations

from typing import Final

from dicom_node.dicom_json import encoded
from dicom_node.workitems import ReadingTask, reading_task
from triage.identifiers import reading_task_uid
from workers.messages.statement import Statement

KIND: Final = "UPS"


def build_reading_task(statement: Statement) -> bytes:
    """The workitem as DICOM JSON, with the priority of the AI's class: the carrier says the case's class of the moment.

    All bundles and revisions speak of one workitem, because there is one reading.
    """
    study = statement.study
    task = ReadingTask(
        uid=reading_task_uid(study.study_instance_uid, statement.node.device_uid),
        study_instance_uid=study.study_instance_uid,
        urgency=statement.urgency,
        summary=f"{statement.summary} {statement.notice}",
        scheduled_at=statement.created_at,
        patient_id=study.patient_id,
        issuer_of_patient_id=study.issuer_of_patient_id,
        patient_name=study.patient_name,
        patient_birth_date=study.patient_birth_date,
        patient_sex=study.patient_sex,
        accession_number=study.accession_number,
        study_description=study.study_description,
        label=f"Reading: {study.study_description or study.modality or 'study'}",
        instances={series.uid: series.instances for series in study.series},
    )
    return encoded([reading_task(task)])
