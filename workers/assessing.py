"""Verdicts of people as documents: built when they are due, owed to whoever is owed the report.

No lease is taken: two workers that build the same document make the same bytes under the same UID, and the second
finds it recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from dicom_node import results
from dicom_node.results.uids import ResultNames
from triage.assessment import KIND
from triage.errors import FirstreadError, ResultError
from triage.findings import Algorithm
from triage.logging import bound, get_logger
from triage.profiles import Profile, ResultKind
from triage.repositories import verdicts
from triage.repositories.results import BuiltObject, owe
from triage.repositories.verdicts import Draft
from triage.tables import Instance, ResultObject
from workers import stored_image
from workers.result_files import store_object
from workers.wanted import owed, wanted_objects
from workers.workbench import Workbench

PORTION: Final = 16
"""Documents per look."""

log = get_logger(__name__)


def assess_due(bench: Workbench) -> int:
    """Build every document that is due; returns how many were issued."""
    issued = 0
    while True:
        with bench.database.read() as session:
            drafts = verdicts.due(session, bench.clock(), PORTION)
        if not drafts:
            return issued
        for draft in drafts:
            with bound(study_instance_uid=draft.study_instance_uid, analysis_id=draft.analysis.id):
                issued += _issue(bench, draft)


def _issue(bench: Workbench, draft: Draft) -> bool:
    try:
        built = list(_forms(bench, draft))
    except FirstreadError as error:
        log.warning("assessment_not_built", error=type(error).__name__, advice=error.advice())
        with bench.database.write() as session:
            verdicts.postpone(session, draft, str(error), at=bench.clock())
        return False
    now = bench.clock()
    wanted = {
        address: [(KIND, variant) for kind, variant in wanted if kind == ResultKind.REPORT]
        for address, wanted in owed(bench.settings).items()
    }
    with bench.database.write() as session:
        rows = verdicts.conclude(session, draft, built, at=now)
        owe(session, rows, wanted, at=now)
    return bool(rows)


def _forms(bench: Workbench, draft: Draft) -> Iterator[BuiltObject]:
    """The document about the report in each form that somebody has: one refers to what its receiver holds."""
    images = {instance.sop_instance_uid: _header(bench, draft, instance) for instance in draft.instances}
    for wanted in wanted_objects(bench.settings):
        if wanted.kind is ResultKind.REPORT:
            document = _document(bench, draft, images, wanted.profile)
            yield store_object(bench.settings.results, document, KIND, variant=wanted.variant)


def _document(bench: Workbench, draft: Draft, images: dict[str, Dataset], profile: Profile) -> Dataset:
    row = draft.reports.get(profile.variant(ResultKind.REPORT), draft.reports.get(""))
    if row is None or not (bench.settings.results / row.relative_path).is_file():
        raise ResultError("The report that the verdicts are about is not here any more.")
    report = stored_image.read(bench.settings.results / row.relative_path)
    algorithm = _algorithm(draft)
    names = ResultNames(
        study_instance_uid=draft.study_instance_uid, algorithm=algorithm, node=bench.node,
        revision=int(report.InstanceNumber), profile=profile,
    )  # fmt: skip
    series = names.assessment_series(draft.who)
    before = [earlier for earlier in draft.earlier if earlier.series_instance_uid == series]
    return results.build_assessment(
        stored_image.read(bench.settings.results / row.relative_path),
        draft.assessed,
        missed=draft.missed,
        images=images,
        algorithm=algorithm,
        person=draft.who,
        node=bench.node,
        number=draft.latest,
        serial=draft.serial,
        predecessor=_named(draft, before[-1]) if before else None,
        profile=profile,
    )


def _header(bench: Workbench, draft: Draft, instance: Instance) -> Dataset:
    """Of an image that retention has removed as much as a reference needs: the archive of the house has it."""
    path = bench.archive.path(instance.relative_path)
    return stored_image.read(path) if path.is_file() else _named(draft, instance)


def _named(draft: Draft, row: Instance | ResultObject) -> Dataset:
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = draft.study_instance_uid, row.series_instance_uid
    header.SOPClassUID, header.SOPInstanceUID = row.sop_class_uid, row.sop_instance_uid
    return header


def _algorithm(draft: Draft) -> Algorithm:
    """Whose findings they are, as the analysis recorded it."""
    row = draft.analysis
    return Algorithm(
        name=row.bundle_name,
        version=row.bundle_version,
        manufacturer="",
        weights_sha256=row.weights_sha256,
        research=row.research,
        disclaimer=row.disclaimer,
    )
