"""Objects of a finished analysis in a form that a destination wants since: built again from the archive, now.

The form is another variant, so nothing that was issued is touched: the new objects have names of their own, the time of
the analysis, its recorded findings, and its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pydicom
from pydicom.dataset import Dataset

from models.bundle import Bundle
from models.metadata import SeriesSpec
from triage.errors import NotFoundError, ResultError
from triage.findings import ImageResult, NotAnalysed
from triage.peers import Destination
from triage.profiles import SHOWING, MessageKind, ResultKind
from triage.repositories import analyses, outcomes
from triage.repositories.previews import Previewed, Standing, place_of
from triage.repositories.results import BuiltObject, NotBuilt
from triage.tables import Analysis, Instance
from workers import explaining, reporting, stored_image
from workers.claims import Claim
from workers.committing import report_sources, unseen
from workers.image_objects import ImageView
from workers.reporting import ReportSources
from workers.scoring import Scored, make_ready, score
from workers.screening import Candidate
from workers.series_scoring import Reading, read_volume
from workers.series_screening import look_at
from workers.study_objects import Message, StudyView
from workers.wanted import Wanted, owed
from workers.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """An object that a destination wants, as it would be sent; ``identity`` is that of a message."""

    kind: str
    variant: str
    content: Dataset | Message
    source_instance_id: int | None = None
    identity: Mapping[str, str] | None = None


Keep = Callable[[Rebuilt], BuiltObject]
"""Puts an object away and says what became of it; later ones refer to it."""


def rebuild(
    bench: Workbench, destination: Destination, items: Sequence[Previewed], keep: Keep
) -> tuple[list[BuiltObject], list[NotBuilt]]:
    """Build what is missing of one analysis for one destination.

    Parameters
    ----------
    items : sequence of Previewed
        Of one analysis; those that are not built are built, images first.

    Raises
    ------
    ResultError
        Nothing of this analysis can be built again.
    BundleError
        Its model is not here any more.
    """
    missing = [item for item in items if item.standing is Standing.NOT_BUILT]
    if not missing:
        return [], []
    again = _Again(bench, missing[0].analysis.id)
    built: list[BuiltObject] = []
    failed: list[NotBuilt] = []
    for item in sorted(missing, key=lambda each: place_of(each.kind)):
        try:
            made = again.build(item, destination)
        except ResultError as error:
            failed.append(NotBuilt(kind=item.kind, variant=item.variant, reason=error.advice()))
            continue
        if made is None:
            continue  # nothing to say in such an object
        kept = keep(made)
        built.append(kept)
        if kept.kind in SHOWING and isinstance(made.content, Dataset):
            again.shows(kept, made.content)
    return built, failed


class _Again:
    """A finished analysis, opened once more."""

    def __init__(self, bench: Workbench, analysis_id: int) -> None:
        self._bench = bench
        with bench.database.read() as session:
            analysis = session.get_one(Analysis, analysis_id)
            instances = outcomes.current_instances(session, analysis.study_id)
            _require_whole(analysis, instances)
            try:
                newest = bench.registry.get(analysis.bundle_name)
            except NotFoundError as error:
                raise ResultError(f"{error}", next_step="Bring the bundle back.") from None
            self._bundle = bench.bundle_that_began(newest, analysis.weights_sha256)
            predecessor = analyses.predecessor(session, analysis)
            self._sources = report_sources(
                session, analysis, self._bundle.algorithm(), instances, predecessor, owed(bench.settings)
            )
            self._claim = _claim(analysis)
            pictured = [i for i in analysis.images if i.reason is None and i.preview_path]
            self._numbers = {image.instance_id: number for number, image in enumerate(pictured, start=1)}
            reports = {
                row.variant: row.relative_path for row in analysis.result_objects if row.kind == ResultKind.REPORT
            }
        self._instances = {instance.id: instance for instance in instances}
        self._recorded = {image.sop_instance_uid: image for image in self._sources.result.images}
        self._showing = {form: dict(rows) for form, rows in self._sources.showing.items()}
        self._made: dict[str, Dataset] = {}
        self._reports = {variant: pydicom.dcmread(bench.settings.results / path) for variant, path in reports.items()}
        self._views: dict[int, ImageView] = {}
        self._slices: dict[int, Scored] = {}
        self._study: StudyView | None = None

    def shows(self, kept: BuiltObject, content: Dataset) -> None:
        """Have reports that are built from now on refer to an object about an image."""
        uid = self._instances[kept.source_instance_id or 0].sop_instance_uid
        self._showing.setdefault((kept.kind, kept.variant), {})[uid] = kept
        self._made[kept.sop_instance_uid] = content

    def build(self, item: Previewed, destination: Destination) -> Rebuilt | None:
        """The object, None where there is nothing to say."""
        content: Dataset | None
        if item.source_instance_id is not None:
            view = self._view(item.source_instance_id)
            wanted = Wanted(kind=ResultKind(item.kind), profile=destination.profile)
            content = explaining.build_object(view, wanted)
            return _made(item, content)
        study = self._study = self._study or self._study_view()
        if destination.kind.message is not None:
            message = reporting.build_message(study, MessageKind(item.kind), destination)
            identity = reporting.identity_told(self._bench, study, self._sources.instances)
            return Rebuilt(kind=item.kind, variant=item.variant, content=message, identity=identity)
        wanted = Wanted(kind=ResultKind(item.kind), profile=destination.profile)
        return _made(item, reporting.build_object(study, wanted))

    def _study_view(self) -> StudyView:
        sources: ReportSources = replace(self._sources, showing=self._showing)
        view = reporting.study_view(self._bench, self._claim, sources)
        view.reports.update(self._reports)
        view.made.update(self._made)
        return view

    def _view(self, instance_id: int) -> ImageView:
        if instance_id not in self._views:
            self._views[instance_id] = self._explained(self._instances[instance_id], self._bundle)
        return self._views[instance_id]

    def _explained(self, instance: Instance, bundle: Bundle) -> ImageView:
        series = bundle.metadata.series
        scored = self._scored(instance, bundle) if series is None else self._scored_slice(instance, bundle, series)
        recorded: ImageResult = self._recorded[instance.sop_instance_uid]
        view = explaining.image_view(
            self._bench, self._claim, replace(scored, result=recorded), self._numbers.get(instance.id, 1)
        )
        if view is None:
            raise ResultError("The bundle makes no heat map of this image.")
        return view

    def _scored(self, instance: Instance, bundle: Bundle) -> Scored:
        candidate = self._candidate(instance, bundle)
        ready = make_ready(candidate, self._bench.decoder.decode, None)  # the gate had its say when it was analysed
        if isinstance(ready, NotAnalysed):
            raise ResultError(f"An image cannot be read any more: {ready.sentence}.")
        (scored,) = score(self._bench.predictor(bundle), [ready])
        if isinstance(scored, NotAnalysed):
            raise ResultError(f"The bundle's guard holds an image back today: {scored.sentence}.")
        return scored

    def _scored_slice(self, instance: Instance, bundle: Bundle, series: SeriesSpec) -> Scored:
        """A key slice; its whole volume is read once more for what the network saw in it."""
        if instance.id not in self._slices:
            self._read_series(instance.series_instance_uid, bundle, series)
        if instance.id not in self._slices:
            raise ResultError("The slice is no key slice of its series any more.")
        return self._slices[instance.id]

    def _read_series(self, series_instance_uid: str, bundle: Bundle, series: SeriesSpec) -> None:
        scored = [i for i in self._instances.values() if i.sop_instance_uid in self._recorded]
        slices = [self._candidate(i, bundle) for i in scored if i.series_instance_uid == series_instance_uid]
        for volume in look_at(slices, series).volumes:
            found = read_volume(
                self._bench.predictor(bundle), volume, self._whole, self._bench.decoder.decode, lambda: None
            )
            if not isinstance(found, Reading):
                raise ResultError(f"The series cannot be read any more: {found[0].sentence}.")
            self._slices |= {key.ready.candidate.instance_id: key for key in found.keys}

    def _candidate(self, instance: Instance, bundle: Bundle) -> Candidate:
        return Candidate(
            instance_id=instance.id, sop_instance_uid=instance.sop_instance_uid, bundle=bundle,
            dataset=stored_image.read(self._bench.archive.path(instance.relative_path)), version=instance.version,
        )  # fmt: skip

    def _whole(self, candidate: Candidate) -> Dataset:
        return stored_image.read(self._bench.archive.path(self._instances[candidate.instance_id].relative_path))


def _made(item: Previewed, content: Dataset | None) -> Rebuilt | None:
    if content is None:
        return None
    return Rebuilt(kind=item.kind, variant=item.variant, content=content, source_instance_id=item.source_instance_id)


def _require_whole(analysis: Analysis, instances: Sequence[Instance]) -> None:
    """The study must still be what the analysis looked at."""
    if unseen(analysis, instances):
        raise ResultError(
            "The study has grown since this analysis.", next_step="Wait for the next one, or ask for it (reanalyse)."
        )
    if any(instance.removed_at is not None for instance in instances):
        raise ResultError(
            "Retention has removed images of the study.", next_step="Have them sent again, and analysed anew."
        )


def _claim(analysis: Analysis) -> Claim:
    """The analysis as the run that made it held it: a result rebuilt has its time."""
    return Claim(
        analysis_id=analysis.id,
        token="",
        study_id=analysis.study_id,
        study_instance_uid=analysis.study.study_instance_uid,
        revision=analysis.revision,
        bundle_name=analysis.bundle_name,
        started_at=analysis.started_at or analysis.queued_at,
    )
