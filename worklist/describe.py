"""Rows as the API says them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from triage.findings import ScoreKind
from triage.repositories.listed_cases import ListedCase, TopFinding
from triage.states import AnalysisStatus, StudyStatus, terminal
from triage.tables import (
    Analysis,
    AnalysisImage,
    Delivery,
    Finding,
    FindingVerdict,
    Instance,
    MissedFinding,
    ResultObject,
    Study,
)
from worklist.journey import journey
from worklist.schemas.cases import (
    AnalysisOut,
    CommitmentOut,
    DeliveryOut,
    FindingOut,
    GivenVerdict,
    InstanceOut,
    MissedOut,
    PriorOut,
    ResultObjectOut,
    RoutingOut,
    StudyDetail,
    VerdictOut,
    WorklistItem,
)
from worklist.timeline import timeline

_UNSCORED: Final = (AnalysisStatus.NOT_ANALYSED, AnalysisStatus.FAILED)
_COPIED: Final = (
    "study_instance_uid",
    "patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "patient_age",
    "accession_number",
    "referring_physician_name",
    "calling_ae_title",
    "modality",
    "study_description",
    "body_part_examined",
    "study_date",
    "instance_count",
    "urgency",
    "explanation",
    "received_at",
    "last_received_at",
    "due_at",
    "reading_status",
    "reader",
    "claimed_at",
    "read_at",
    "revision",
    "flags",
)
_COPY: Final = attrgetter(*_COPIED)


Verdicts = Mapping[int, VerdictOut]
"""Verdicts that stand, by the id of the finding."""


def item(case: ListedCase, verdicts: Verdicts = MappingProxyType({})) -> WorklistItem:
    """A case of the list."""
    return WorklistItem.model_validate(_said(case, verdicts))


def items(cases: Iterable[ListedCase], verdicts: Verdicts = MappingProxyType({})) -> list[WorklistItem]:
    """Cases of the list, checked together: a page of them one by one took twice as long."""
    return _ITEMS.validate_python([_said(case, verdicts) for case in cases])


_ITEMS: Final = TypeAdapter(list[WorklistItem])


def _said(case: ListedCase, verdicts: Verdicts) -> dict[str, Any]:
    """The fields of :class:`WorklistItem`."""
    study = case.study
    said: dict[str, Any] = dict(zip(_COPIED, _COPY(study), strict=True))
    said["ward"] = study.ward or study.order_ward
    said["classes"] = {
        "order": study.order_urgency,
        "rule": study.rule_urgency,
        "rule_reason": study.rule_reason,
        "ai": study.ai_urgency,
        "manual": study.manual_urgency,
        "manual_by": study.manual_by,
        "manual_reason": study.manual_reason,
    }
    said["study_status"] = study.status
    said["waiting_for"] = study.status_reason or None if study.status is StudyStatus.RECEIVING else None
    said["analysis_status"] = case.analysis_status
    said["not_analysed"] = case.analysis_reason or "no reason given" if case.analysis_status in _UNSCORED else None
    said["findings_revision"] = case.findings_revision
    said["findings"] = [_finding(finding, verdicts) for finding in _by_weight(case.findings)]
    said["deliveries"] = case.deliveries
    said["version"] = case.version
    return said


def detail(study: Study, case: ListedCase) -> StudyDetail:
    """A case in full; its study comes from :func:`triage.repositories.worklist.case_by_uid`."""
    standing = _standing(study)
    return StudyDetail(
        **dict(item(case, standing)),
        instances=[_instance(study, instance, standing) for instance in study.instances if instance.is_current],
        timeline=timeline(study.events),
        journey=journey(study),
        analyses=[describe_analysis(analysis) for analysis in study.analyses],
        result_objects=[
            _result_object(analysis, result) for analysis in study.analyses for result in analysis.result_objects
        ],
        verdicts=[_given(verdict) for verdict in _all_verdicts(study)],
        missed=[describe_missed(row) for row in study.missed],
    )


def prior(case: ListedCase, of: Study, *, images_here: bool) -> PriorOut:
    """Another study of the patient of ``of``."""
    study = case.study
    watched = (("name", "patient_name"), ("birth date", "patient_birth_date"), ("sex", "patient_sex"))
    told = item(case)
    differing = [word for word, name in watched if getattr(study, name).strip("^ ") != getattr(of, name).strip("^ ")]
    return PriorOut(
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date,
        modality=study.modality,
        study_description=study.study_description,
        body_part_examined=study.body_part_examined,
        urgency=study.urgency,
        reading_status=study.reading_status,
        findings=[finding for finding in told.findings if finding.positive],
        not_analysed=told.not_analysed,
        images_here=images_here,
        other_identity=", ".join(differing),
    )


def describe_missed(row: MissedFinding) -> MissedOut:
    """What a person sees and the AI's report does not say."""
    return MissedOut(
        id=row.id, at=row.at, who=row.who, key=row.key, code=row.code_value, scheme=row.code_scheme,
        meaning=row.code_meaning, laterality=row.laterality, text=row.text, withdrawn_at=row.withdrawn_at,
        withdrawn_by=row.withdrawn_by,
    )  # fmt: skip


def describe_verdict(verdict: FindingVerdict) -> VerdictOut:
    """What a person thinks of a finding."""
    return VerdictOut(
        verdict=verdict.opinion, reason=verdict.reason, comment=verdict.comment, who=verdict.who, at=verdict.at
    )


def _all_verdicts(study: Study) -> list[FindingVerdict]:
    findings = (f for analysis in study.analyses for image in analysis.images for f in image.findings)
    return sorted((verdict for finding in findings for verdict in finding.verdicts), key=lambda verdict: verdict.id)


def _standing(study: Study) -> Verdicts:
    """The same image under the same weights has the same findings, whichever look they are of."""
    about: dict[tuple[int, str, str], list[int]] = {}
    said: dict[int, tuple[int, str, str]] = {}
    for analysis in study.analyses:
        for image in analysis.images:
            for finding in image.findings:
                same = (image.instance_id, finding.key, analysis.weights_sha256)
                about.setdefault(same, []).append(finding.id)
                said[finding.id] = same
    standing = {}
    for verdict in _all_verdicts(study):
        standing.update(dict.fromkeys(about[said[verdict.finding_id]], describe_verdict(verdict)))
    return standing


def _given(verdict: FindingVerdict) -> GivenVerdict:
    image = verdict.finding.image
    return GivenVerdict(
        **dict(describe_verdict(verdict)),
        finding_id=verdict.finding_id,
        sop_instance_uid=image.instance.sop_instance_uid,
        key=verdict.finding.key,
        revision=image.analysis.revision,
    )


def not_analysed_reason(instance: Instance, images: Sequence[AnalysisImage]) -> str | None:
    """ "not analysed: ..." for an instance that no analysis scored; None when one did or none has looked yet.

    Parameters
    ----------
    images : sequence of AnalysisImage
        What analyses made of this instance, in any order.
    """
    if any(image.reason is None for image in images):
        return None
    if images:
        latest = max(images, key=lambda image: image.id)
        sentence = latest.reason.sentence if latest.reason else ""
        return f"not analysed: {sentence}" + (f": {latest.detail}" if latest.detail else "")
    return f"not analysed: {instance.not_analysed.sentence}" if instance.not_analysed else None


def _instance(study: Study, instance: Instance, verdicts: Verdicts) -> InstanceOut:
    images = [image for analysis in study.analyses for image in analysis.images if image.instance_id == instance.id]
    revisions = {analysis.id: analysis.revision for analysis in study.analyses}
    latest = max((revisions[image.analysis_id] for image in images if image.reason is None), default=None)
    scored = [image for image in images if image.reason is None and revisions[image.analysis_id] == latest]
    reason = not_analysed_reason(instance, images)
    if reason is None and not images and study.analyses and all(terminal(a.status) for a in study.analyses):
        reason = f"not analysed: {study.analyses[-1].reason or 'nothing in the study could be'}"
    url = f"/api/v1/studies/{quote(study.study_instance_uid)}/instances/{quote(instance.sop_instance_uid)}/preview"
    return InstanceOut(
        sop_instance_uid=instance.sop_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        modality=instance.modality,
        series_description=instance.series_description,
        instance_number=instance.instance_number,
        view_position=instance.view_position,
        received_at=instance.received_at,
        analysed=bool(scored),
        not_analysed=reason,
        preview_url=url if any(image.preview_path for image in images) else None,
        overlay_url=f"{url}?overlay=true" if any(image.overlay_path for image in images) else None,
        removed_at=instance.removed_at,
        findings=[
            FindingOut.model_validate(_finding(finding, verdicts))
            for finding in _by_weight(finding for image in scored for finding in image.findings)
        ],
        routing=describe_routing(scored or images),
        place=next((image.detail for image in scored), ""),
    )


def describe_routing(images: Sequence[AnalysisImage]) -> list[RoutingOut]:
    """What every bundle said to an instance at the latest of these looks, in the order of asking."""
    latest = max(images, key=lambda image: image.id, default=None)
    return [RoutingOut(**answer, chosen=answer["refusal"] is None) for answer in (latest.routing if latest else ())]


def _finding(finding: TopFinding | Finding, verdicts: Verdicts) -> dict[str, Any]:
    """The fields of :class:`FindingOut`."""
    return {
        "id": finding.id,
        "key": finding.key,
        "code": finding.code_value,
        "scheme": finding.code_scheme,
        "meaning": finding.code_meaning,
        "site": finding.site_meaning,
        "laterality": finding.laterality,
        "probability": None if finding.kind is ScoreKind.OPERATING_POINT else finding.value,
        "score": finding.value,
        "score_kind": finding.kind,
        "threshold": finding.threshold,
        "positive": finding.positive,
        "urgency": finding.urgency,
        "verdict": verdicts.get(finding.id),
    }


_AnyFinding = TypeVar("_AnyFinding", TopFinding, Finding)


def _by_weight(findings: Iterable[_AnyFinding]) -> list[_AnyFinding]:
    """Positive ones first, the most urgent of them first, then by score."""
    return sorted(findings, key=lambda f: (not f.positive, f.urgency.rank if f.positive else 0, -f.value))


def describe_analysis(analysis: Analysis) -> AnalysisOut:
    """One look at a study: by which bundle, how it stands, when."""
    return AnalysisOut(
        revision=analysis.revision,
        bundle=analysis.bundle_name,
        version=analysis.bundle_version,
        weights_sha256=analysis.weights_sha256,
        research=analysis.research,
        disclaimer=analysis.disclaimer,
        limits=[str(limit) for limit in analysis.limits],
        calibration=analysis.calibration,
        status=analysis.status,
        reason=analysis.reason,
        attempts=analysis.attempts,
        queued_at=analysis.queued_at,
        started_at=analysis.started_at,
        scored_at=analysis.scored_at,
        finished_at=analysis.finished_at,
    )


def _result_object(analysis: Analysis, result: ResultObject) -> ResultObjectOut:
    return ResultObjectOut(
        sop_instance_uid=result.sop_instance_uid,
        sop_class_uid=result.sop_class_uid,
        series_instance_uid=result.series_instance_uid,
        kind=result.kind,
        variant=result.variant,
        revision=analysis.revision,
        bundle=analysis.bundle_name,
        created_at=result.created_at,
        deliveries=[DeliveryOut.model_validate(delivery_fields(delivery)) for delivery in result.deliveries],
    )


def delivery_fields(delivery: Delivery) -> dict[str, Any]:
    """Where a delivery stands, and what proof there is."""
    asked = delivery.commitment
    return {
        "id": delivery.id,
        "destination": delivery.destination,
        "status": delivery.status,
        "reason": delivery.reason,
        "attempts": delivery.attempt_count,
        "not_before": delivery.not_before,
        "sent_at": delivery.sent_at,
        "proof": delivery.proof,
        "proven_at": delivery.proven_at,
        "note": delivery.note,
        "commitment": None
        if asked is None
        else CommitmentOut(
            transaction_uid=asked.transaction_uid,
            status=asked.status,
            requested_at=asked.requested_at,
            answered_at=asked.answered_at,
            reason=asked.reason,
        ),
    }
