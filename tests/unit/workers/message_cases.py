"""Statements that the tests of messages share."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from dicom_node.results import NodeIdentity
from triage.findings import (
    Algorithm,
    AnalysisResult,
    Code,
    Finding,
    ImageResult,
    Laterality,
    NotAnalysed,
    NotAnalysedReason,
    Score,
    ScoreKind,
    Urgency,
)
from workers.messages.statement import SeriesFacts, Statement, StudyFacts

CREATED_AT = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))
NODE = NodeIdentity(software_version="0.1.0", name="NODE-1", device_uid="2.25.77")
ALGORITHM = Algorithm(
    name="cxr-research", version="1.2.0", manufacturer="firstread authors", weights_sha256="ab" * 32, research=True,
    disclaimer="Not for primary diagnosis",
)  # fmt: skip
STUDY = StudyFacts(
    study_instance_uid="1.2.3", patient_id="P-1", issuer_of_patient_id="HOSPITAL", patient_name="Müller^Jörg^^Dr.^jr",
    patient_birth_date="19500102", patient_sex="M", accession_number="A-1", study_id="S1", study_date="20261121",
    study_time="070809", timezone="+0100", study_description="Thorax", modality="CR", body_part="CHEST",
    referring_physician="Weiß^Anna", admission_id="V-9", placer_order_number="PL-1", filler_order_number="FI-1",
    requested_procedure_id="RP-1", procedure=Code(value="36643-5", scheme="LN", meaning="Chest X-ray 2 views"),
    series=(SeriesFacts(uid="1.2.3.4", modality="CR", instances=(("1.2.840.10008.5.1.4.1.1.1", "1.2.3.4.5"),)),),
)  # fmt: skip
LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")


def finding(
    key: str,
    code: str,
    value: float,
    *,
    urgency: Urgency = Urgency.STAT,
    kind: ScoreKind | None = None,
    laterality: Laterality | None = None,
) -> Finding:
    score = Score(value=value, threshold=0.6, kind=kind or ScoreKind.CALIBRATED_PROBABILITY)
    meaning = key.replace("_", " ").capitalize()
    return Finding(
        key=key, code=Code(value=code, scheme="SCT", meaning=meaning), site=LUNG, score=score, urgency=urgency,
        laterality=laterality,
    )  # fmt: skip


RESULT = AnalysisResult(
    algorithm=ALGORITHM,
    images=(
        ImageResult(
            sop_instance_uid="1.2.3.4.5",
            findings=(finding("pleural_effusion", "60046008", 0.12), finding("pneumothorax", "36118008", 0.94)),
        ),
        ImageResult(
            sop_instance_uid="1.2.3.4.6",
            findings=(finding("pleural_effusion", "60046008", 0.2), finding("pneumothorax", "36118008", 0.7)),
        ),
    ),
    not_analysed=(NotAnalysed(sop_instance_uid="1.2.3.4.7", reason=NotAnalysedReason.UNSUPPORTED_VIEW),),
)


def statement(
    *, result: AnalysisResult = RESULT, revision: int = 1, predecessor_uid: str = "", **study: Any
) -> Statement:
    return Statement(
        study=replace(STUDY, **study), result=result, node=NODE, revision=revision, created_at=CREATED_AT,
        predecessor_uid=predecessor_uid,
    )  # fmt: skip


def saying(**changes: Any) -> AnalysisResult:
    """A result of one image with one finding."""
    only = finding("pneumothorax", "36118008", changes.pop("value", 0.94), **changes)
    return AnalysisResult(algorithm=ALGORITHM, images=(ImageResult(sop_instance_uid="1.2.3.4.5", findings=(only,)),))
