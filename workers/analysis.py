"""The journey of one analysis: claim → look → score → explain → report, each step ended by a commit.

Scores are committed first, because they move the case; pictures and report follow. What a step has committed is not
done again when a later one fails or the study is still growing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.orm import Session

from models.bundle import Bundle
from models.inference import Predictor
from triage.crash_points import CrashPoint
from triage.findings import Algorithm, AnalysisResult, Considered, NotAnalysed, NotAnalysedReason
from triage.logging import bound, get_logger
from triage.repositories import analyses, completing, outcomes
from triage.repositories.placing import raise_by_ai
from triage.settings import Settings
from triage.states import StudyStatus
from triage.tables import Analysis, AnalysisImage, Instance
from workers.claims import Claim, answered, take
from workers.explaining import Explained, explain_image
from workers.reporting import ReportSources, report
from workers.scoring import Ready, Scored, make_ready, score
from workers.screening import Candidate, removed, split
from workers.tenure import Tenure
from workers.workbench import Workbench

PORTION = 16
"""Images that go through the network together."""

log = get_logger(__name__)


@dataclass(kw_only=True)
class Case:
    """One claimed analysis on its way through this process.

    Attributes
    ----------
    bundle : Bundle or None
        None as long as no image of the study is for a network.
    carried : list of int
        Instance ids whose findings an earlier revision already has.
    other_bundles : set of str
        Bundles that read other images of the study.
    burned_in : bool
        An image says that annotation is burnt into it.
    considered : dict
        SOP Instance UID to what every bundle said to the image.
    """

    claim: Claim
    bundle: Bundle | None = None
    instance_ids: dict[str, int] = field(default_factory=dict)
    left_out: list[NotAnalysed] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)
    other_bundles: set[str] = field(default_factory=set)
    burned_in: bool = False
    considered: dict[str, tuple[Considered, ...]] = field(default_factory=dict)


def analyse_due(bench: Workbench) -> int:
    """Work until nothing is due; returns how many analyses were looked at."""
    done = 0
    bench.refresh()
    while claims := take(bench):
        analyse(bench, claims)
        done += len(claims)
        bench.refresh()
    return done


def analyse(bench: Workbench, claims: Sequence[Claim]) -> None:
    """Bring claimed analyses as far as their studies allow."""
    cases = []
    with Tenure(bench, claims) as tenure:
        for claim in claims:
            with (
                bound(study_instance_uid=claim.study_instance_uid, analysis_id=claim.analysis_id),
                answered(bench, claim),
            ):
                cases.append(look(bench, claim, tenure))
        bench.reached(CrashPoint.DECODED)
        for case, scored in _score_together(bench, cases, tenure):
            with (
                bound(study_instance_uid=case.claim.study_instance_uid, analysis_id=case.claim.analysis_id),
                answered(bench, case.claim),
            ):
                _finish(bench, case, scored, tenure)


def look(bench: Workbench, claim: Claim, tenure: Tenure) -> Case:
    """Screen and prepare what is not done yet: new instances, and those of a run that broke off before the pictures."""
    with bench.database.read() as session:
        analysis = session.get_one(Analysis, claim.analysis_id)
        scored = {image.instance_id for image in analysis.images}
        began = analysis.weights_sha256 if any(image.reason is None for image in analysis.images) else ""
        seen = {image.instance_id for image in analysis.images if image.reason is not None or image.preview_path}
        fresh = [i for i in outcomes.current_instances(session, claim.study_id) if i.id not in seen]
        ours, left_out, others = split(bench, [i for i in fresh if i.removed_at is None], claim.bundle_name)
        gone = [i for i in fresh if i.removed_at is not None and i.id not in scored]
        case = Case(claim=claim, left_out=left_out, instance_ids={i.sop_instance_uid: i.id for i in fresh})
        if ours:
            case.bundle = bench.bundle_that_began(ours[0].bundle, began)
            ours = [replace(candidate, bundle=case.bundle) for candidate in ours]
            earlier = outcomes.carried_over(session, analysis, case.bundle.algorithm().weights_sha256)
            candidates = [c.instance_id for c in ours] + [i.id for i in gone]
            case.carried = [i for i in candidates if i in earlier and i not in scored]
        elif claim.bundle_name:
            case.bundle = bench.bundle_that_began(bench.registry.get(claim.bundle_name), began)
    looked_at: list[Candidate | NotAnalysed] = [*ours, *others, *left_out]
    case.considered = {each.sop_instance_uid: each.considered for each in looked_at}
    case.left_out += [removed(instance) for instance in gone if instance.id not in case.carried]
    case.burned_in = any(candidate.burned_in for candidate in ours) or any(
        image.reason is NotAnalysedReason.BURNED_IN_ANNOTATION for image in left_out
    )
    for candidate in others:
        case.other_bundles.add(candidate.bundle.metadata.name)
        case.left_out.append(
            NotAnalysed(
                sop_instance_uid=candidate.sop_instance_uid,
                reason=NotAnalysedReason.OTHER_BUNDLE,
                detail=candidate.bundle.metadata.name,
            )
        )
    for candidate in ours:
        if candidate.instance_id not in case.carried:
            tenure.step()
            ready = make_ready(candidate, bench.decoder.decode)
            if isinstance(ready, NotAnalysed):
                case.left_out.append(ready)
            else:
                case.ready.append(ready)
    return case


def _score_together(bench: Workbench, cases: Sequence[Case], tenure: Tenure) -> list[tuple[Case, list[Scored]]]:
    """One inference batch per bundle over all cases; cases whose inference failed are answered and left out."""
    by_bundle: dict[str, list[Case]] = {}
    for case in cases:
        by_bundle.setdefault(case.bundle.metadata.name if case.bundle else "", []).append(case)
    scored_cases = []
    for group in by_bundle.values():
        bundle = group[0].bundle
        images = [image for case in group for image in case.ready]
        with answered(bench, *(case.claim for case in group)):
            scored = _in_portions(bench.predictor(bundle), images, tenure) if bundle and images else []
            by_image = {id(s.ready): s for s in scored}
            scored_cases += [(case, [by_image[id(image)] for image in case.ready]) for case in group]
    return scored_cases


def _in_portions(predictor: Predictor, images: Sequence[Ready], tenure: Tenure) -> list[Scored]:
    """A study of many images is scored a few at a time, so that a slow network is not taken for one that hangs."""
    scored = []
    for first in range(0, len(images), PORTION):
        tenure.step()
        scored += score(predictor, images[first : first + PORTION])
    return scored


def _finish(bench: Workbench, case: Case, scored: list[Scored], tenure: Tenure) -> None:
    bench.reached(CrashPoint.INFERRED)
    first, scored = _commit_scores(bench, case, scored)
    bench.reached(CrashPoint.SCORED)
    log.info("images_scored", scored=len(scored), left_out=len(case.left_out), carried=len(case.carried))
    explained = []
    for number, image in enumerate(scored, start=first):
        tenure.step()
        explained.append(explain_image(bench, case.claim, image, number))
    bench.reached(CrashPoint.BUILT)
    sources = _commit_pictures(bench, case, explained)
    if sources is None:
        return
    built = report(bench, case.claim, sources)
    bench.reached(CrashPoint.BUILT)
    _commit_report(bench, case.claim, built)
    bench.reached(CrashPoint.CONCLUDED)


def _commit_scores(bench: Workbench, case: Case, scored: Sequence[Scored]) -> tuple[int, list[Scored]]:
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
        outcomes.record_images(
            session, analysis, algorithm, [s.result for s in scored], case.left_out, case.instance_ids, at=now,
            considered=case.considered,
        )  # fmt: skip
        standing = _as_recorded(session, analysis, scored, before)
        outcomes.record_undecodable(session, analysis.study, case.left_out, at=now)
        if case.burned_in:
            outcomes.flag(analysis.study, "burned_in_annotation")
        for name in case.other_bundles:
            analyses.queue_sibling(session, analysis, name, at=now)
        if scored or case.carried:
            urgency, reason = outcomes.ai_claim(session, analysis.study)
            raise_by_ai(
                session,
                analysis.study,
                urgency,
                reason,
                targets=bench.settings.targets,
                breaker=bench.settings.breaker,
                at=now,
            )
    return number, standing


def _as_recorded(
    session: Session, analysis: Analysis, scored: Sequence[Scored], before: Collection[int]
) -> list[Scored]:
    """What an earlier run has committed stands, also where the site has moved a threshold since: pictures follow it."""
    if not any(image.ready.candidate.instance_id in before for image in scored):
        return list(scored)
    recorded = {image.sop_instance_uid: image for image in outcomes.load_images(session, analysis.id)[0]}
    return [replace(image, result=recorded.get(image.result.sop_instance_uid, image.result)) for image in scored]


def _commit_pictures(bench: Workbench, case: Case, explained: Sequence[Explained]) -> ReportSources | None:
    """Record regions and heat maps. None ends the run: parked until more arrives, declined, or nothing new to say."""
    now = bench.clock()
    with bench.database.write() as session:
        analysis = analyses.held(session, case.claim.analysis_id, case.claim.token)
        outcomes.record_regions(
            analysis,
            [e.result for e in explained],
            {e.result.sop_instance_uid: e.previews for e in explained},
        )
        outcomes.record_objects(session, analysis, [e.heat_map for e in explained if e.heat_map], at=now)
        instances = outcomes.current_instances(session, case.claim.study_id)
        scored = [image for image in analysis.images if image.reason is None]
        if _unseen(analysis, instances) or completing.sending(session, analysis.study):
            analyses.park(analysis)
            return None
        if not scored:  # said at once; a later image that a network reads opens the question again
            reason, detail = _reason_for_all(analysis.images)
            analyses.decline(session, analysis, reason, detail, at=now)
            return None
        if analysis.study.status is StudyStatus.RECEIVING:
            analyses.park(analysis)
            return None
        predecessor = analyses.predecessor(session, analysis)
        if predecessor is not None and _same_images(analysis, predecessor):
            note = f"no new image for {analysis.bundle_name}: the report of revision {predecessor.revision} stands"
            analyses.succeed(session, analysis, at=now, reason=note)
            return None
        bundle = case.bundle or bench.registry.get(analysis.bundle_name)
        return _sources(session, analysis, bundle.algorithm(), instances, predecessor)


def _commit_report(bench: Workbench, claim: Claim, built: outcomes.BuiltObject) -> None:
    """Record the report and owe everything of this analysis to the destinations, unless the study has grown."""
    now = bench.clock()
    with bench.database.write() as session:
        analysis = analyses.held(session, claim.analysis_id, claim.token)
        instances = outcomes.current_instances(session, claim.study_id)
        if analysis.study.status is StudyStatus.RECEIVING or _unseen(analysis, instances):
            analyses.park(analysis)
            return
        outcomes.record_objects(session, analysis, [built], at=now)
        session.refresh(analysis, ["result_objects"])
        here = {instance.id for instance in instances}
        # A picture of a version that was corrected meanwhile stays here: the one of its successor goes out.
        current = [row for row in analysis.result_objects if row.source_instance_id in (None, *here)]
        outcomes.owe(session, current, wanted_kinds(bench.settings), at=now)
        analyses.succeed(session, analysis, at=now)


def wanted_kinds(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Which objects each destination takes."""
    return {d.address: ("SC", "SR") if d.heat_map else ("SR",) for d in settings.destinations}


def _unseen(analysis: Analysis, instances: Sequence[Instance]) -> bool:
    looked_at = {image.instance_id for image in analysis.images}
    return any(instance.id not in looked_at for instance in instances)


def _same_images(analysis: Analysis, predecessor: Analysis) -> bool:
    def scored(a: Analysis) -> set[int]:
        return {image.instance_id for image in a.images if image.reason is None}

    return scored(analysis) == scored(predecessor) and analysis.weights_sha256 == predecessor.weights_sha256


def _reason_for_all(images: Sequence[AnalysisImage]) -> tuple[NotAnalysedReason, str]:
    """One reason for a study of which nothing was for a network: the first image's, and that others differ."""
    reasons = [(image.reason, image.detail) for image in images if image.reason is not None]
    if not reasons:
        return NotAnalysedReason.NO_BUNDLE, "the study has no image"
    (reason, detail), others = reasons[0], {reason for reason, _ in reasons[1:]} - {reasons[0][0]}
    more = f"{len(others)} more reasons among {len(reasons)} instances" if others else ""
    return reason, "; ".join(filter(None, (detail, more)))


def _sources(
    session: Session,
    analysis: Analysis,
    algorithm: Algorithm,
    instances: Sequence[Instance],
    predecessor: Analysis | None,
) -> ReportSources:
    images, left_out = outcomes.load_images(session, analysis.id)
    here = [instance for instance in instances if instance.removed_at is None]
    gone = {i.sop_instance_uid: i for i in instances if i.removed_at is not None}
    # A report refers to what it was made from: findings whose image is gone stand in the report before this one.
    left_out += tuple(removed(gone[i.sop_instance_uid]) for i in images if i.sop_instance_uid in gone)
    images = tuple(i for i in images if i.sop_instance_uid not in gone)
    uids = {instance.id: instance.sop_instance_uid for instance in here}
    pictures = outcomes.pictures(session, analysis.study_id, uids.keys(), algorithm.weights_sha256)
    earlier = outcomes.report_of(session, predecessor) if predecessor else None
    return ReportSources(
        result=AnalysisResult(algorithm=algorithm, images=images, not_analysed=left_out),
        instances=here,
        heat_maps={uids[instance_id]: row for instance_id, row in pictures.items()},
        predecessor=earlier,
    )
