"""The journey of an analysis whose bundle reads series, from its volumes to one report: score → explain → report.

A series is looked at as a whole. While more may come its findings move the case as soon as what is here makes a
volume, and nothing is issued; when the study is complete it is read once more from the first slice to the last, and
pictures and report are recorded together. What a look of the same run said before is replaced, for nobody has been told
of it but the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from models.metadata import SeriesSpec
from triage.crash_points import CrashPoint
from triage.errors import MixedPatientsError
from triage.findings import ImageResult
from triage.logging import get_logger
from triage.profiles import SHOWING
from triage.repositories import analyses, completing, outcomes, results
from triage.repositories.results import BuiltObject
from triage.states import StudyStatus
from triage.tables import Analysis, Instance
from workers import stored_image
from workers.cases import Case
from workers.committing import (
    move_case,
    reason_for_all,
    record_look,
    record_pictures,
    report_sources,
    same_images,
    withhold_report,
)
from workers.explaining import Explained, explain_image
from workers.reporting import ReportSources, Told, report
from workers.scoring import Scored
from workers.screening import Candidate
from workers.series_scoring import Reading, read_volume
from workers.tenure import Tenure
from workers.wanted import owed
from workers.workbench import Workbench

GROWTH: Final = 1.5
"""While more comes a series that has been scored is scored again when it has grown by this factor: a sender that opens
an association for each of 400 slices must not have it read 400 times."""

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Scores:
    """What the volumes of a study say."""

    results: tuple[ImageResult, ...]
    keys: tuple[Scored, ...]


def too_early(bench: Workbench, analysis: Analysis, instances: Sequence[Instance]) -> bool:
    """Whether a look now would find too little, as far as rows can tell."""
    series = _series_of(bench, analysis.bundle_name)
    if series is None or analysis.study.status is StudyStatus.COMPLETE:
        return False
    scored = sum(1 for image in analysis.images if image.reason is None)
    return len(instances) < series.min_slices or len(instances) < GROWTH * scored


def reads_series(bench: Workbench, bundle_name: str) -> bool:
    """Whether an analysis of that bundle looks at whole series; one that is not there looks at nothing."""
    return _series_of(bench, bundle_name) is not None


def _series_of(bench: Workbench, bundle_name: str) -> SeriesSpec | None:
    named = (b for b in bench.registry.available if b.metadata.name == bundle_name)
    return next((bundle.metadata.series for bundle in named), None)


def conclude(bench: Workbench, case: Case, tenure: Tenure) -> None:
    """Bring a look at series to its end: waiting, declined, or a report."""
    scores = _read(bench, case, tenure)
    bench.reached(CrashPoint.INFERRED)
    sources = _commit_scores(bench, case, scores)
    bench.reached(CrashPoint.SCORED)
    log.info("series_scored", slices=len(scores.results), left_out=len(case.left_out))
    if sources is None:
        return
    explained = []
    for number, key in enumerate(scores.keys, start=1):
        tenure.step()
        explained.append(explain_image(bench, case.claim, key, number))
    tenure.step()
    try:
        told = report(bench, case.claim, _explained(sources, explained))
    except MixedPatientsError as error:
        withhold_report(bench, case.claim, error)
        return
    bench.reached(CrashPoint.BUILT)
    _commit_results(bench, case, explained, told)
    bench.reached(CrashPoint.CONCLUDED)


def _read(bench: Workbench, case: Case, tenure: Tenure) -> _Scores:
    """Read every volume; slices of one that cannot be read join what is left out."""
    results: list[ImageResult] = []
    keys: list[Scored] = []

    def whole(candidate: Candidate) -> Dataset:
        return stored_image.read(bench.archive.path(case.paths[candidate.instance_id]))

    for volume in case.series.volumes if case.series is not None else ():
        predictor = bench.predictor(volume[0].bundle)
        found = read_volume(predictor, volume, whole, bench.decoder.decode, tenure.step)
        if isinstance(found, Reading):
            results += found.results
            keys += found.keys
        else:
            case.left_out += found
    return _Scores(results=tuple(results), keys=tuple(keys))


def _commit_scores(bench: Workbench, case: Case, scores: _Scores) -> ReportSources | None:
    """The moment the order changes. None ends the run: parked until more arrives, declined, or nothing new to say."""
    now = bench.clock()
    with bench.database.write() as session:
        analysis = analyses.held(session, case.claim.analysis_id, case.claim.token)
        instances = outcomes.current_instances(session, case.claim.study_id)
        waiting = _growing(session, analysis, instances, case)
        for name in case.other_bundles:
            analyses.queue_sibling(session, analysis, name, at=now)
        if waiting and not scores.results:
            # What came so far is no volume yet. Only the name is kept: the next look knows whom it is for.
            if case.bundle is not None:
                analysis.bundle_name = case.bundle.metadata.name
            analyses.park(analysis)
            return None
        _record(bench, session, analysis, case, scores)
        if waiting:
            analyses.park(analysis)
            return None
        if not scores.results:
            reason, detail = reason_for_all(analysis.images)
            analyses.decline(session, analysis, reason, detail, at=now)
            return None
        predecessor = analyses.predecessor(session, analysis)
        if predecessor is not None and same_images(analysis, predecessor):
            note = f"no new image for {analysis.bundle_name}: the report of revision {predecessor.revision} stands"
            analyses.succeed(session, analysis, at=now, reason=note)
            return None
        bundle = case.bundle or bench.registry.get(analysis.bundle_name)
        return report_sources(session, analysis, bundle.algorithm(), instances, predecessor, owed(bench.settings))


def _record(bench: Workbench, session: Session, analysis: Analysis, case: Case, scores: _Scores) -> None:
    now, scored_at = bench.clock(), analysis.scored_at
    outcomes.forget_images(session, analysis)
    record_look(session, analysis, case, scores.results, at=now)
    if scores.results:
        analysis.scored_at = scored_at or now
        move_case(bench, session, analysis.study, at=now)


def _commit_results(bench: Workbench, case: Case, explained: Sequence[Explained], told: Told) -> None:
    """Record pictures and report and owe them to the destinations, unless the study has grown."""
    now = bench.clock()
    with bench.database.write() as session:
        analysis = analyses.held(session, case.claim.analysis_id, case.claim.token)
        if _growing(session, analysis, outcomes.current_instances(session, case.claim.study_id), case):
            analyses.park(analysis)
            return
        outcomes.record_regions(
            analysis, [e.result for e in explained], {e.result.sop_instance_uid: e.previews for e in explained}
        )
        record_pictures(session, analysis, explained, at=now)
        results.record_objects(session, analysis, told.objects, at=now)
        results.record_not_built(session, analysis.study, told.not_built, at=now)
        results.tell_of_standing_key_images(session, analysis, at=now)
        session.refresh(analysis, ["result_objects"])
        results.owe(session, analysis.result_objects, owed(bench.settings), at=now)
        analyses.succeed(session, analysis, at=now)


def _growing(session: Session, analysis: Analysis, instances: Sequence[Instance], case: Case) -> bool:
    """Whether more may come, or has come since this look began."""
    looked_at = set(case.instance_ids.values())
    return (
        analysis.study.status is StudyStatus.RECEIVING
        or any(instance.id not in looked_at for instance in instances)
        or completing.sending(session, analysis.study)
    )


def _explained(sources: ReportSources, explained: Sequence[Explained]) -> ReportSources:
    """The report's sources with what explanation brought: regions, and the pictures of this revision."""
    shown = {e.result.sop_instance_uid: e for e in explained}
    images = tuple(
        shown[image.sop_instance_uid].result if image.sop_instance_uid in shown else image
        for image in sources.result.images
    )
    showing: dict[tuple[str, str], dict[str, BuiltObject]] = {}
    for uid, each in shown.items():
        for built in each.objects:
            if built.kind in SHOWING:
                showing.setdefault((built.kind, built.variant), {})[uid] = built
    return replace(
        sources,
        result=replace(sources.result, images=images),
        showing=showing,
    )
