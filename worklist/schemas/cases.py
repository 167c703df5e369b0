"""What the API says, field by field. Times are RFC 3339 in UTC; enumerations are their names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from triage.assessment import Opinion, OpinionReason
from triage.findings import Laterality, ScoreKind, Urgency
from triage.states import AnalysisStatus, CommitmentStatus, DeliveryStatus, Proof, ReadingStatus, StudyStatus
from worklist.schemas.texts import ONE_LINE


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class VerdictOut(_Answer):
    """What a person thinks of a finding."""

    verdict: Opinion
    reason: OpinionReason | None
    comment: str
    who: str
    at: datetime


class FindingOut(_Answer):
    """A finding with its score; in a worklist item the highest score over the study's images."""

    id: int
    """For a verdict on it."""
    key: str
    code: str
    """Code value, in the coding scheme `scheme`."""
    scheme: str
    meaning: str
    site: str
    """Anatomic location in words, empty where the finding names none."""
    laterality: Laterality | None
    """Side of the site, where the bundle knows it."""
    probability: float | None
    """Null when the score is no probability (`score_kind` OPERATING_POINT)."""
    score: float
    score_kind: ScoreKind
    threshold: float
    """On the scale of `score`: positive at `score >= threshold`."""
    positive: bool
    urgency: Urgency
    """Class that a positive score asks for."""
    verdict: VerdictOut | None = None
    """The one that stands. In a case in full the latest on this finding of this image under the same weights, in the
    list the latest on this very finding, and only where it is positive."""


class ClassesOut(_Answer):
    """Who asks for which class; null says nothing. The case has the highest, unless a person set one."""

    order: Urgency | None
    rule: Urgency | None
    rule_reason: str
    """Names the site rule and the conditions that held."""
    ai: Urgency | None
    manual: Urgency | None
    manual_by: str
    manual_reason: str


class WorklistItem(_Answer):
    """A case of the reading list."""

    study_instance_uid: str
    patient_id: str
    patient_name: str
    """As in the image, components separated by carets (PS3.5 6.2.1)."""
    patient_birth_date: str
    patient_sex: str
    patient_age: str
    """As in the image (AS, PS3.5 6.2): "045Y"."""
    accession_number: str
    referring_physician_name: str
    ward: str
    """Where the patient is, or who asked for the images: as the images say it, else an order."""
    calling_ae_title: str
    """Who sent it."""
    modality: str
    """Distinct modalities, separated by a backslash."""
    study_description: str
    body_part_examined: str
    study_date: str
    instance_count: int
    urgency: Urgency
    explanation: str
    classes: ClassesOut
    received_at: datetime
    last_received_at: datetime
    due_at: datetime
    study_status: StudyStatus
    waiting_for: str | None
    """What a study that is RECEIVING waits for."""
    analysis_status: AnalysisStatus
    """Of the latest analysis of the current revision; QUEUED before there is one."""
    not_analysed: str | None
    """Why there is no score, when the analysis ended without one."""
    reading_status: ReadingStatus
    reader: str
    claimed_at: datetime | None
    read_at: datetime | None
    revision: int
    findings_revision: int | None
    """Revision that `findings` come from: lower than `revision` while a later look is under way."""
    findings: list[FindingOut]
    flags: list[str]
    deliveries: dict[DeliveryStatus, int]
    """How many deliveries of its result objects stand where."""
    version: int
    """Quoted, it is the `ETag` of the case, for `If-Match` in a change."""


class WorklistPage(_Answer):
    items: list[WorklistItem]
    next_cursor: str | None
    """Send it as `cursor` for the next page; null on the last one."""


class RoutingOut(_Answer):
    """What one bundle said to an image."""

    bundle: str
    version: str
    chosen: bool
    """It reads the image."""
    refusal: str | None
    """Why it does not."""
    remarks: list[str]
    """What was missing or unusual in the header and allowed."""


class InstanceOut(_Answer):
    """A current instance of a study and what became of it."""

    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    modality: str
    series_description: str
    instance_number: str
    view_position: str
    received_at: datetime
    analysed: bool
    not_analysed: str | None
    """"not analysed: ..." with the reason; null when it is analysed or its turn has not come."""
    preview_url: str | None
    overlay_url: str | None
    removed_at: datetime | None
    """When retention removed its file and pictures; null while they are here."""
    findings: list[FindingOut]
    routing: list[RoutingOut]
    """The bundles in the order of asking. Empty before the first look, and for objects that no bundle could read."""
    place: str = ""
    """Of a slice of a series that was read as a whole: "slice 14 of 28"."""


class TimelineEntry(_Answer):
    at: datetime
    kind: str
    who: str
    text: str


class StepOut(_Answer):
    """One step of a case, and what was waited for."""

    kind: str
    began_at: datetime
    ended_at: datetime | None
    """Null while it lasts."""
    seconds: float | None
    text: str


class PriorOut(_Answer):
    """Another study of the same patient."""

    study_instance_uid: str
    study_date: str
    modality: str
    study_description: str
    body_part_examined: str
    urgency: Urgency
    reading_status: ReadingStatus
    findings: list[FindingOut]
    """Positive ones, the highest score over its images."""
    not_analysed: str | None
    images_here: bool
    """False when retention has removed its files."""
    other_identity: str
    """Which attributes of the patient differ from this case; empty when none do."""


class PriorPage(_Answer):
    items: list[PriorOut]


class AnalysisOut(_Answer):
    revision: int
    bundle: str
    version: str
    weights_sha256: str
    research: bool
    disclaimer: str
    limits: list[str]
    """What the bundle says that it cannot do."""
    calibration: str
    """How its scores were calibrated, in words."""
    status: AnalysisStatus
    reason: str
    attempts: int
    queued_at: datetime
    started_at: datetime | None
    scored_at: datetime | None
    finished_at: datetime | None


class CommitmentOut(_Answer):
    """A request for storage commitment (PS3.4 annex J)."""

    transaction_uid: str
    status: CommitmentStatus
    requested_at: datetime
    answered_at: datetime | None
    reason: str
    """Why it is not asked yet, or what came of it."""


class DeliveryOut(_Answer):
    """A result object owed to a destination."""

    id: int
    destination: str
    status: DeliveryStatus
    reason: str
    attempts: int
    not_before: datetime | None
    sent_at: datetime | None
    proof: Proof | None
    """What shows that the destination holds it: its answer, its list, its commitment."""
    proven_at: datetime | None
    note: str
    """What the destination remarked although it took the object."""
    commitment: CommitmentOut | None


class ResultObjectOut(_Answer):
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    kind: str
    """SR (report), SC (heat map), ASSESSMENT (a person's verdicts on a report), …, or a message (HL7, FHIR, …)."""
    variant: str
    """Empty for the form that a destination without options gets."""
    revision: int
    bundle: str
    created_at: datetime
    deliveries: list[DeliveryOut]


class GivenVerdict(VerdictOut):
    """A verdict of the history: a later one on the same finding supersedes it."""

    finding_id: int
    sop_instance_uid: str
    key: str
    revision: int


class MissedOut(_Answer):
    """What a person sees and the AI's report does not say."""

    id: int
    at: datetime
    who: str
    key: str
    code: str
    scheme: str
    meaning: str
    """Empty where the AI looks for nothing of the kind: then `text` names it."""
    laterality: Laterality | None
    text: str
    withdrawn_at: datetime | None
    withdrawn_by: str


class StudyDetail(WorklistItem):
    """A case in full."""

    instances: list[InstanceOut]
    timeline: list[TimelineEntry]
    journey: list[StepOut]
    """Where the time went, and what was waited for."""
    analyses: list[AnalysisOut]
    result_objects: list[ResultObjectOut]
    verdicts: list[GivenVerdict]
    """All that were given, oldest first."""
    missed: list[MissedOut]
    """Marked by people, withdrawn ones too, oldest first."""


class VerdictGiven(_Request):
    """A person's verdict on a finding, positive or negative."""

    verdict: Opinion
    reason: OpinionReason | None = None
    """Why not AGREE."""
    comment: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=ONE_LINE)] = ""
    """In the assessment as far as it is ASCII; no patient data."""

    @model_validator(mode="after")
    def _a_reason_against_something(self) -> Self:
        if self.verdict is Opinion.AGREE and self.reason is not None:
            raise ValueError("reason: only for DISAGREE and CANNOT_TELL")
        return self


class MissedGiven(_Request):
    """A finding that the AI's report does not say."""

    key: Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z0-9_]*$")] | None = None
    """Of a finding that the AI looks for; null for anything else, which `text` then names."""
    laterality: Laterality | None = None
    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=ONE_LINE)] = ""
    """No patient data."""


class LiveMessage(_Answer):
    """What one message of the live stream says, as JSON in its `data`."""

    kind: str
    """Of an event of the time line, such as `study_complete` or `priority_set`; `hello` is the first message, `reload`
    says that more was missed than is told one by one."""
    study_instance_uid: str | None
    """Null for what concerns no case."""
    at: datetime | None


class Problem(_Answer):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
