"""Cases as the house itself writes them: through the repositories, never around them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from triage.completion import CompletionPolicy
from triage.findings import (
    Algorithm,
    Code,
    Considered,
    Finding,
    ImageResult,
    NotAnalysed,
    NotAnalysedReason,
    Score,
    ScoreKind,
    Urgency,
)
from triage.identifiers import derive_uid
from triage.instances import Arrival, InstanceHeader, StoredFile
from triage.outbox import Verdict
from triage.priority import Breaker, Targets
from triage.repositories import analyses, associations, intake, outcomes, placing
from triage.repositories.deliveries import Attempt, claim_batch, conclude
from triage.repositories.intake import IntakeRules
from triage.tables import Analysis, Delivery, ResultObject, Study

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RULES = IntakeRules(listener="listen@test:1", completion=CompletionPolicy(), targets=Targets(), pixel_digest=str)
ALGORITHM = Algorithm(
    name="chest-phantom", version="1.2.0", manufacturer="firstread", weights_sha256="ab" * 32, research=True,
    disclaimer="Not for primary diagnosis",
)  # fmt: skip
PACS = "PACS@127.0.0.1:4242"
DX = "1.2.840.10008.5.1.4.1.1.1.1"


@dataclass(frozen=True)
class Seen:
    """A finding to record: what, how sure, against which threshold, and how urgent when positive."""

    key: str
    value: float
    threshold: float = 0.6
    urgency: Urgency = Urgency.STAT
    kind: ScoreKind = ScoreKind.CALIBRATED_PROBABILITY


def arrive(session: Session, name: str, *, at: datetime = NOON, count: int = 1, **header: str | int) -> Study:
    """Let ``count`` instances of study ``name`` arrive over one association that then ends."""
    study_uid = derive_uid("study", name)
    arrival = Arrival(
        received_at=at, association_uid=derive_uid("association", name, at.isoformat()), calling_ae_title="CR_ROOM1",
        called_ae_title="FIRSTREAD", peer_address="127.0.0.1",
    )  # fmt: skip
    attributes: dict[str, str | int] = {
        "modality": "DX", "patient_id": f"P-{name}", "patient_name": f"{name.upper()}^ANNA",
        "accession_number": f"A-{name}", "study_description": "Chest PA", "view_position": "PA", "sop_class_uid": DX,
        "patient_birth_date": "19610314", "patient_sex": "F",
    } | header  # fmt: skip
    for index in range(count):
        sop_uid = derive_uid("instance", name, str(index), at.isoformat())
        digest = hashlib.sha256(sop_uid.encode()).hexdigest()
        facts = InstanceHeader(
            study_instance_uid=study_uid, series_instance_uid=derive_uid("series", name),
            sop_instance_uid=sop_uid, **attributes,  # type: ignore[arg-type]
        )  # fmt: skip
        stored = StoredFile(
            relative_path=digest,
            digest=digest,
            size=1000,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
        )
        intake.record_instance(session, facts, stored, arrival, RULES)
    associations.close_association(session, arrival.association_uid, at=at, policy=RULES.completion)
    return session.query(Study).filter_by(study_instance_uid=study_uid).one()


def start(session: Session, study: Study, *, at: datetime) -> Analysis:
    """Claim analyses until it is this study's turn; the others go back to the queue."""
    analysis = analyses.claim(session, at, attempts=3)
    assert analysis is not None, "no analysis is due"
    if analysis.study is study:
        return analysis
    wanted = start(session, study, at=at)
    analyses.park(analysis)
    analysis.due = True
    return wanted


def score(
    session: Session,
    study: Study,
    seen: Sequence[Seen],
    *,
    at: datetime | None = None,
    previews: outcomes.Previews | None = None,
    finish: bool = True,
) -> Analysis:
    """Analyse every current instance with these findings, place the study, and record an SR owed to one PACS."""
    at = at or study.received_at + timedelta(seconds=5)
    analysis = start(session, study, at=at)
    instances = outcomes.current_instances(session, study.id)
    images = [
        ImageResult(sop_instance_uid=instance.sop_instance_uid, findings=tuple(_finding(one) for one in seen))
        for instance in instances
    ]
    ids = {instance.sop_instance_uid: instance.id for instance in instances}
    outcomes.record_images(session, analysis, ALGORITHM, images, [], ids, at=at)
    if previews is not None:
        outcomes.record_regions(analysis, images, {image.sop_instance_uid: previews for image in images})
    top = max((f for image in images for f in image.positives), key=lambda f: f.score.value, default=None)
    urgency = Urgency.highest(*(image.urgency for image in images))
    reason = f"{top.code.meaning} {top.score.value:.2f} ≥ {top.score.threshold:.2f}" if top else "no urgent finding"
    placing.raise_by_ai(session, study, urgency, reason, targets=Targets(), breaker=Breaker(), at=at)
    if finish:
        report = ResultObject(
            analysis=analysis, kind="SR", created_at=at, relative_path="x/sr.dcm", sha256="cd" * 32, size=10,
            sop_instance_uid=derive_uid("sr", study.study_instance_uid, str(analysis.revision)),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33", transfer_syntax_uid="1.2.840.10008.1.2.1",
            series_instance_uid=derive_uid("sr series", study.study_instance_uid),
        )  # fmt: skip
        report.deliveries = [Delivery(destination=PACS, created_at=at)]
        session.add(report)
        analyses.succeed(session, analysis, at=at)
    session.flush()
    return analysis


def decline(
    session: Session, study: Study, reason: NotAnalysedReason, detail: str = "", *, at: datetime | None = None,
    considered: Sequence[Considered] = (),
) -> None:  # fmt: skip
    """Let the analysis leave every image of the study out."""
    at = at or study.received_at + timedelta(seconds=5)
    analysis = start(session, study, at=at)
    instances = outcomes.current_instances(session, study.id)
    left_out = [NotAnalysed(sop_instance_uid=i.sop_instance_uid, reason=reason, detail=detail) for i in instances]
    ids = {i.sop_instance_uid: i.id for i in instances}
    outcomes.record_images(session, analysis, None, [], left_out, ids, at=at, considered=dict.fromkeys(ids, considered))
    analyses.decline(session, analysis, reason, detail, at=at)


def deliver(session: Session, *, at: datetime, attempt: Attempt | None = None, provable: bool = False) -> None:
    """One round of deliveries to the PACS."""
    for delivery in claim_batch(session, PACS, at):
        session.flush()
        conclude(
            session, delivery.id, delivery.token, attempt or Attempt(verdict=Verdict.DELIVERED, dicom_status=0),
            started_at=at, finished_at=at, give_up_after=timedelta(hours=72), provable=provable,
        )  # fmt: skip


def _finding(seen: Seen) -> Finding:
    return Finding(
        key=seen.key,
        code=Code(value=f"99{len(seen.key)}", scheme="99FIRSTREAD", meaning=seen.key.replace("_", " ").capitalize()),
        site=None,
        score=Score(value=seen.value, threshold=seen.threshold, kind=seen.kind),
        urgency=seen.urgency,
    )
