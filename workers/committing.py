"""What a run commits, step by step: scores, pictures, report. Each begins by proving that the run is still held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from triage.errors import MixedPatientsError
from triage.findings import Algorithm, AnalysisResult, ImageResult, NotAnalysedReason
from triage.profiles import Kind
from triage.repositories import analyses, completing, outcomes, results
from triage.repositories.placing import raise_by_ai
from triage.states import StudyStatus
from triage.tables import Analysis, AnalysisImage, Instance, ResultObject, Study
from workers.cases import Case
from workers.claims import Claim
from workers.explaining import Explained
from workers.reporting import ReportSources, Told
from workers.scoring import Scored
from workers.screening import removed
from workers.wanted import owed
from workers.workbench import Workbench


def commit_scores(bench: Workbench, case: Case, scored: Sequence[Scored]) -> tuple[int, list[Scored]]:
    """The moment the order changes. Returns the Instance Number of the next heat map, and the scores that stand."""
    now = bench.clock()
    with bench.database.write() as session:
        analysis = analyses.held(session, case.claim.analysis_id, case.claim.token)
        algorithm = case.bundle.algorithm() if case.bundle else None
        number = 1 + sum(1 for image in analysis.images if image.preview_path)
        before = {image.instance_id for image in analysis.images}
        if case.carried and algorithm is not None:
            earlier = outcomes.carried_over(session, analysis, algorithm.weights_sha256)
            analysis.images.extend(outcomes.copy_image(earlier[instance_id]) for instance_id in case.carried)
            analysis.scored_at = analysis.scored_at or now
        record_look(session, analysis, case, [s.result for s in scored], at=now)
        standing = _as_recorded(session, analysis, scored, before)
        for name in case.other_bundles:
            analyses.queue_sibling(session, analysis, name, at=now)
        if scored or case.carried:
            move_case(bench, session, analysis.study, at=now)
    return number, standing


def record_look(
    session: Session, analysis: Analysis, case: Case, found: Sequence[ImageResult], *, at: datetime
) -> None:
    """Rows of what a look found: scored images, those left out with their reasons, what every bundle said, flags."""
    algorithm = case.bundle.algorithm() if case.bundle else None
    outcomes.record_images(
        session, analysis, algorithm, found, case.left_out, case.instance_ids, at=at, considered=case.considered
    )
    outcomes.record_undecodable(session, analysis.study, case.left_out, at=at)
    if case.burned_in:
        outcomes.flag(analysis.study, "burned_in_annotation")


def move_case(bench: Workbench, session: Session, study: Study, *, at: datetime) -> None:
    """Let the findings that are recorded raise the case; they never lower it."""
    urgency, reason = outcomes.ai_claim(session, study)
    settings = bench.settings
    raise_by_ai(session, study, urgency, reason, targets=settings.targets, breaker=settings.breaker, at=at)


def _as_recorded(
    session: Session, analysis: Analysis, scored: Sequence[Scored], before: Collection[int]
) -> list[Scored]:
    """What an earlier run has committed stands, also where the site has moved a threshold since: pictures follow it."""
    if not any(image.ready.candidate.instance_id in before for image in scored):
        return list(scored)
    recorded = {image.sop_instance_uid: image for image in outcomes.load_images(session, analysis.id)[0]}
    return [replace(image, result=recorded.get(image.result.sop_instance_uid, image.result)) for image in scored]


def commit_pictures(bench: Workbench, case: Case, explained: Sequence[Explained]) -> ReportSources | None:
    """Record regions and heat maps. None ends the run: parked until more arrives, declined, or nothing new to say."""
    now = bench.clock()
    with bench.database.write() as session:
        analysis = analyses.held(session, case.claim.analysis_id, case.claim.token)
        outcomes.record_regions(
            analysis,
            [e.result for e in explained],
            {e.result.sop_instance_uid: e.previews for e in explained},
        )
        record_pictures(session, analysis, explained, at=now)
        instances = outcomes.current_instances(session, case.claim.study_id)
        scored = [image for image in analysis.images if image.reason is None]
        if unseen(analysis, instances) or completing.sending(session, analysis.study):
            analyses.park(analysis)
            return None
        if not scored:  # said at once; a later image that a network reads opens the question again
            reason, detail = reason_for_all(analysis.images)
            analyses.decline(session, analysis, reason, detail, at=now)
            return None
        if analysis.study.status is StudyStatus.RECEIVING:
            analyses.park(analysis)
            return None
        predecessor = analyses.predecessor(session, analysis)
        if predecessor is not None and same_images(analysis, predecessor):
            note = f"no new image for {analysis.bundle_name}: the report of revision {predecessor.revision} stands"
            analyses.succeed(session, analysis, at=now, reason=note)
            return None
        bundle = case.bundle or bench.registry.get(analysis.bundle_name)
        return report_sources(session, analysis, bundle.algorithm(), instances, predecessor, owed(bench.settings))


def record_pictures(session: Session, analysis: Analysis, explained: Sequence[Explained], *, at: datetime) -> None:
    """Rows of the objects about images, and an event for each that could not be made."""
    results.record_objects(session, analysis, [built for e in explained for built in e.objects], at=at)
    results.record_not_built(session, analysis.study, [missing for e in explained for missing in e.not_built], at=at)


def commit_report(bench: Workbench, claim: Claim, told: Told) -> None:
    """Record what was told about the study and owe everything of this analysis, unless the study has grown."""
    now = bench.clock()
    with bench.database.write() as session:
        analysis = analyses.held(session, claim.analysis_id, claim.token)
        instances = outcomes.current_instances(session, claim.study_id)
        if analysis.study.status is StudyStatus.RECEIVING or unseen(analysis, instances):
            analyses.park(analysis)
            return
        results.record_objects(session, analysis, told.objects, at=now)
        results.record_not_built(session, analysis.study, told.not_built, at=now)
        results.tell_of_standing_key_images(session, analysis, at=now)
        session.refresh(analysis, ["result_objects"])
        here = {instance.id for instance in instances}
        # A picture of a version that was corrected meanwhile stays here: the one of its successor goes out.
        current = [row for row in analysis.result_objects if row.source_instance_id in (None, *here)]
        results.owe(session, current, owed(bench.settings), at=now)
        results.owe_explanations(session, analysis, here, owed(bench.settings), at=now)
        analyses.succeed(session, analysis, at=now)


def withhold_report(bench: Workbench, claim: Claim, error: MixedPatientsError) -> None:
    """Issue nothing about a study of two patients: its scores have moved the case and stand, its pictures stay here.

    Corrected images open the question again. A study that has grown meanwhile is looked at again at once.
    """
    now = bench.clock()
    with bench.database.write() as session:
        analysis = analyses.held(session, claim.analysis_id, claim.token)
        if analysis.study.status is StudyStatus.RECEIVING or unseen(
            analysis, outcomes.current_instances(session, claim.study_id)
        ):
            analyses.park(analysis)
            return
        outcomes.flag(analysis.study, "two_patients")
        analyses.decline(session, analysis, NotAnalysedReason.MIXED_PATIENTS, str(error), at=now)


def unseen(analysis: Analysis, instances: Sequence[Instance]) -> bool:
    looked_at = {image.instance_id for image in analysis.images}
    return any(instance.id not in looked_at for instance in instances)


def same_images(analysis: Analysis, predecessor: Analysis) -> bool:
    def scored(a: Analysis) -> set[int]:
        return {image.instance_id for image in a.images if image.reason is None}

    return scored(analysis) == scored(predecessor) and analysis.weights_sha256 == predecessor.weights_sha256


def reason_for_all(images: Sequence[AnalysisImage]) -> tuple[NotAnalysedReason, str]:
    """One reason for a study of which nothing was for a network: the commonest, the first of those that are as common,
    and that others differ. A localizer that came first must not hide what is wrong with the slices."""
    reasons = [(image.reason, image.detail) for image in images if image.reason is not None]
    if not reasons:
        return NotAnalysedReason.NO_BUNDLE, "the study has no image"
    (reason, detail), _ = Counter(reasons).most_common(1)[0]  # the first among equals, in the order of their arrival
    others = {other for other, _ in reasons} - {reason}
    more = (
        f"{len(others)} more reason{'' if len(others) == 1 else 's'} among {len(reasons)} instances" if others else ""
    )
    return reason, "; ".join(filter(None, (detail.rstrip(".") if more else detail, more)))


def report_sources(
    session: Session,
    analysis: Analysis,
    algorithm: Algorithm,
    instances: Sequence[Instance],
    predecessor: Analysis | None,
    destinations: Mapping[str, frozenset[tuple[Kind, str]]],
) -> ReportSources:
    """What a report is made of; ``destinations`` is what :func:`~workers.wanted.owed` says."""
    images, left_out = outcomes.load_images(session, analysis.id)
    here = [instance for instance in instances if instance.removed_at is None]
    gone = {i.sop_instance_uid: i for i in instances if i.removed_at is not None}
    # A report refers to what it was made from: findings whose image is gone stand in the report before this one.
    left_out += tuple(removed(gone[i.sop_instance_uid]) for i in images if i.sop_instance_uid in gone)
    images = tuple(i for i in images if i.sop_instance_uid not in gone)
    uids = {instance.id: instance.sop_instance_uid for instance in here}
    showing: dict[tuple[str, str], dict[str, ResultObject]] = {}
    rows = results.showing(session, analysis.study_id, uids.keys(), algorithm.weights_sha256)
    for (kind, variant, instance_id), row in rows.items():
        showing.setdefault((kind, variant), {})[uids[instance_id]] = row
    urgency, _ = outcomes.ai_claim(session, analysis.study)
    return ReportSources(
        result=AnalysisResult(algorithm=algorithm, images=images, not_analysed=left_out),
        instances=here,
        showing=showing,
        predecessors=results.superseded(session, predecessor, destinations) if predecessor else {},
        urgency=urgency,
    )
