"""What is said about a whole study when its analysis ends: report, other objects, messages; evidence in, files out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from triage.errors import DicomError, NotFoundError, ResultError
from triage.findings import AnalysisResult, NotAnalysedReason, Urgency
from triage.logging import get_logger
from triage.peers import Destination
from triage.profiles import OF_AN_IMAGE, MessageKind, ResultKind
from triage.repositories.results import BuiltObject, NotBuilt
from triage.tables import Instance, ResultObject
from workers import stored_image
from workers.claims import Claim
from workers.frozen import identity_of
from workers.result_files import store_message, store_object
from workers.study_messages import MESSAGE_BUILDERS
from workers.study_objects import BUILDERS, Message, StudyView
from workers.wanted import Wanted, wanted_messages, wanted_objects
from workers.workbench import Workbench

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSources:
    """What a report is made of.

    Attributes
    ----------
    instances : sequence of Instance
        All current instances of the study whose files are here.
    showing : mapping
        (Kind, variant) to (SOP Instance UID of a scored image to the object that shows it explained); an image may
        have none.
    predecessors : mapping
        Variant to the report that the one in this form replaces: what its readers have. Files of these and of what
        shows images may have been removed by retention.
    urgency : Urgency
        The class that all analyses of the study ask for together.
    """

    result: AnalysisResult
    instances: Sequence[Instance]
    showing: Mapping[tuple[str, str], Mapping[str, ResultObject | BuiltObject]]
    predecessors: Mapping[str, ResultObject]
    urgency: Urgency


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What was built about a study; the default report is always among it."""

    objects: tuple[BuiltObject, ...]
    not_built: tuple[NotBuilt, ...] = ()


def report(bench: Workbench, claim: Claim, sources: ReportSources) -> Told:
    """Build everything about the study that a destination wants, and write it durably.

    Raises
    ------
    ResultError
        The report that every analysis has could not be built from these sources.
    MixedPatientsError
        They name two patients.
    """
    view = study_view(bench, claim, sources)
    built: list[BuiltObject] = []
    missing: list[NotBuilt] = []
    for wanted in wanted_objects(bench.settings):
        if wanted.kind in OF_AN_IMAGE:
            continue
        try:
            dataset = build_object(view, wanted)
        except ResultError as error:
            if wanted.always:
                raise
            missing.append(_missing(wanted.kind, wanted.variant, error))
            continue
        if dataset is not None:
            built.append(store_object(bench.settings.results, dataset, wanted.kind, variant=wanted.variant))
    messages, untold = _messages(bench, view, sources.instances)
    return Told(objects=(*built, *messages), not_built=(*missing, *untold))


def study_view(bench: Workbench, claim: Claim, sources: ReportSources) -> StudyView:
    """A finished analysis, as its objects and messages are built from it."""
    return StudyView(
        study_instance_uid=claim.study_instance_uid,
        evidence=_evidence(bench, sources.instances),
        result=sources.result,
        showing=sources.showing,
        predecessors=sources.predecessors,
        urgency=sources.urgency,
        node=bench.node,
        revision=claim.revision,
        created_at=claim.started_at.astimezone(),
        results=bench.settings.results,
    )


def build_object(view: StudyView, wanted: Wanted) -> Dataset | None:
    """One object about a study, None where there is nothing to say; a report becomes one of the view's.

    Raises
    ------
    ResultError
        It could not be built, or this version builds none of this kind.
    """
    builder = BUILDERS.get(wanted.kind)
    if builder is None:
        raise ResultError(f"This version builds no {wanted.kind}.", next_step="Take it out of the objects wanted.")
    dataset = builder(view, wanted.profile)
    if dataset is not None and wanted.kind is ResultKind.REPORT:
        view.reports[wanted.variant] = dataset
    return dataset


def _messages(
    bench: Workbench, view: StudyView, instances: Sequence[Instance]
) -> tuple[list[BuiltObject], list[NotBuilt]]:
    built: list[BuiltObject] = []
    missing: list[NotBuilt] = []
    for (kind, variant), destination in wanted_messages(bench.settings).items():
        try:
            message = build_message(view, kind, destination)
        except ResultError as error:
            missing.append(_missing(kind, variant, error))
            continue
        identity = identity_told(bench, view, instances)
        built.append(store_message(bench.settings.results, message, kind, variant=variant, identity=identity))
    return built, missing


def build_message(view: StudyView, kind: MessageKind, destination: Destination) -> Message:
    """One message about a study.

    Raises
    ------
    ResultError
        It could not be built, or this version writes none of this kind.
    """
    builder = MESSAGE_BUILDERS.get(kind)
    if builder is None:
        raise ResultError(f"This version writes no {kind} messages.", next_step="Remove the destination.")
    return builder(view, destination)


def identity_told(bench: Workbench, view: StudyView, instances: Sequence[Instance]) -> dict[str, str]:
    """Whose study the messages say it is: that of the first analysed image."""
    first = view.result.images[0].sop_instance_uid
    return identity_of(bench, next(i.relative_path for i in instances if i.sop_instance_uid == first))


def _missing(kind: str, variant: str, error: ResultError) -> NotBuilt:
    """The report and what other destinations want must not wait for it; the time line says that it is missing."""
    log.warning("object_not_built", kind=kind, advice=error.advice())
    return NotBuilt(kind=kind, variant=variant, reason=error.advice())


def _evidence(bench: Workbench, instances: Sequence[Instance]) -> list[Dataset]:
    """Headers of every source instance that can be read; our own objects are not evidence for themselves."""
    headers = []
    for instance in instances:
        if instance.not_analysed is NotAnalysedReason.OWN_RESULT:
            continue
        try:
            headers.append(stored_image.read(bench.archive.path(instance.relative_path)))
        except (DicomError, NotFoundError):
            continue  # it stands in the report as "not analysed: cannot be decoded", without a reference
    return headers
