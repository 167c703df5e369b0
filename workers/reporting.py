"""The report about a whole study: evidence in, Structured Report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node import results
from triage.errors import DicomError, NotFoundError
from triage.findings import AnalysisResult, NotAnalysedReason
from triage.repositories.outcomes import BuiltObject
from triage.tables import Instance, ResultObject
from workers import stored_image
from workers.claims import Claim
from workers.result_files import store_object
from workers.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSources:
    """What a report is made of.

    Attributes
    ----------
    instances : sequence of Instance
        All current instances of the study whose files are here.
    heat_maps : mapping
        SOP Instance UID of a scored image to its Secondary Capture; an image may have none.
    predecessor : ResultObject or None
        The report that this one replaces. Its file and those of the heat maps may have been removed by retention.
    """

    result: AnalysisResult
    instances: Sequence[Instance]
    heat_maps: Mapping[str, ResultObject | BuiltObject]
    predecessor: ResultObject | None


def report(bench: Workbench, claim: Claim, sources: ReportSources) -> BuiltObject:
    """Build the report and write it durably.

    Raises
    ------
    ResultError
        It could not be built from these sources.
    MixedPatientsError
        They name two patients.
    """
    study = claim.study_instance_uid
    dataset = results.build_report(
        _evidence(bench, sources.instances),
        sources.result,
        heat_maps={uid: _named(row, study) for uid, row in sources.heat_maps.items()},
        node=bench.node,
        revision=claim.revision,
        predecessor=_named(sources.predecessor, study) if sources.predecessor else None,
        created_at=claim.started_at.astimezone(),
    )
    return store_object(bench.settings.results, dataset, "SR")


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


def _named(row: ResultObject | BuiltObject, study_instance_uid: str) -> Dataset:
    """As much of a result object as a reference to it needs."""
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = study_instance_uid, row.series_instance_uid
    header.SOPClassUID, header.SOPInstanceUID = row.sop_class_uid, row.sop_instance_uid
    return header
