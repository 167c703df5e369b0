"""The journey of one analysis: claim → look → score → explain → report, each step ended by a commit.

Scores are committed first, because they move the case; pictures and report follow. What a step has committed is not
done again when a later one fails or the study is still growing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.inference import Predictor
from triage.crash_points import CrashPoint
from triage.errors import MixedPatientsError
from triage.findings import NotAnalysed, NotAnalysedReason
from triage.logging import bound, get_logger
from triage.repositories import outcomes
from triage.tables import Analysis
from workers import series_analysis
from workers.cases import Case
from workers.claims import Claim, answered, take
from workers.committing import commit_pictures, commit_report, commit_scores, withhold_report
from workers.explaining import explain_image
from workers.reporting import report
from workers.scoring import Ready, Scored, make_ready, score
from workers.screening import Candidate, removed, split
from workers.series_screening import Looked, look_at
from workers.tenure import Tenure
from workers.workbench import Workbench

PORTION = 16
"""Images that go through the network together."""

log = get_logger(__name__)


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
                if case.series is not None:
                    series_analysis.conclude(bench, case, tenure)
                else:
                    _finish(bench, case, scored, tenure)


def look(bench: Workbench, claim: Claim, tenure: Tenure) -> Case:
    """Screen and prepare what is not done yet: new instances, and those of a run that broke off before the pictures."""
    with bench.database.read() as session:
        analysis = session.get_one(Analysis, claim.analysis_id)
        instances = outcomes.current_instances(session, claim.study_id)
        if series_analysis.too_early(bench, analysis, instances):
            return Case(claim=claim, series=Looked())
        whole = series_analysis.reads_series(bench, claim.bundle_name)  # a series is looked at as a whole
        images = [] if whole else analysis.images
        scored = {image.instance_id for image in images}
        began = analysis.weights_sha256 if any(image.reason is None for image in images) else ""
        seen = {image.instance_id for image in images if image.reason is not None or image.preview_path}
        fresh = [i for i in instances if i.id not in seen]
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
        if case.bundle is not None and case.bundle.metadata.series is not None:
            case.carried = []
            case.series = look_at(ours, case.bundle.metadata.series)
            case.left_out += case.series.left_out
            case.paths = {instance.id: instance.relative_path for instance in fresh}
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
        if candidate.instance_id not in case.carried and case.series is None:
            tenure.step()
            ready = make_ready(candidate, bench.decoder.decode, bench.gate(candidate.bundle))
            if isinstance(ready, NotAnalysed):
                case.leave_out(ready)
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
            by_image = {id(image): one for image, one in zip(images, scored, strict=True)}
            for case in group:
                told = [by_image[id(image)] for image in case.ready]
                for one in told:
                    if isinstance(one, NotAnalysed):
                        case.leave_out(one)
                scored_cases.append((case, [one for one in told if isinstance(one, Scored)]))
    return scored_cases


def _in_portions(predictor: Predictor, images: Sequence[Ready], tenure: Tenure) -> list[Scored | NotAnalysed]:
    """A study of many images is scored a few at a time, so that a slow network is not taken for one that hangs."""
    scored: list[Scored | NotAnalysed] = []
    for first in range(0, len(images), PORTION):
        tenure.step()
        scored += score(predictor, images[first : first + PORTION])
    return scored


def _finish(bench: Workbench, case: Case, scored: list[Scored], tenure: Tenure) -> None:
    bench.reached(CrashPoint.INFERRED)
    first, scored = commit_scores(bench, case, scored)
    bench.reached(CrashPoint.SCORED)
    log.info("images_scored", scored=len(scored), left_out=len(case.left_out), carried=len(case.carried))
    explained = []
    for number, image in enumerate(scored, start=first):
        tenure.step()
        explained.append(explain_image(bench, case.claim, image, number))
    bench.reached(CrashPoint.BUILT)
    sources = commit_pictures(bench, case, explained)
    if sources is None:
        return
    try:
        told = report(bench, case.claim, sources)
    except MixedPatientsError as error:
        withhold_report(bench, case.claim, error)
        return
    bench.reached(CrashPoint.BUILT)
    commit_report(bench, case.claim, told)
    bench.reached(CrashPoint.CONCLUDED)
