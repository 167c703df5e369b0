"""The report about a whole study: evidence in, Structured Report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from dicom_node import results
from models import decoding
from triage.errors import DicomError, ResultError
from triage.findings import AnalysisResult, NotAnalysedReason
from triage.repositories.outcomes import BuiltObject
from triage.tables import Instance
from workers.claims import Claim
from workers.result_files import store_object
from workers.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSources:
    """What a report is made of.

    Attributes
    ----------
    instances : sequence of Instance
        All current instances of the study.
    heat_maps : mapping
        SOP Instance UID of a scored image to the path of its Secondary Capture below the results root.
    predecessor : str or None
        Path of the report that this one replaces, below the results root.
    """

    result: AnalysisResult
    instances: Sequence[Instance]
    heat_maps: Mapping[str, str]
    predecessor: str | None


def report(bench: Workbench, claim: Claim, sources: ReportSources) -> BuiltObject:
    """Build the report and write it durably.

    Raises
    ------
    ResultError
        It could not be built from these sources.
    """
    root = bench.settings.results
    dataset = results.build_report(
        _evidence(bench, sources.instances),
        sources.result,
        heat_maps={uid: _header(root / path) for uid, path in sources.heat_maps.items()},
        node=bench.node,
        revision=claim.revision,
        predecessor=_header(root / sources.predecessor) if sources.predecessor else None,
        created_at=claim.started_at.astimezone(),
    )
    return store_object(root, dataset, "SR")


def _evidence(bench: Workbench, instances: Sequence[Instance]) -> list[Dataset]:
    """Headers of every source instance that can be read; our own objects are not evidence for themselves."""
    headers = []
    for instance in instances:
        if instance.not_analysed is NotAnalysedReason.OWN_RESULT:
            continue
        try:
            headers.append(decoding.read(bench.archive.path(instance.relative_path)))
        except DicomError:
            continue  # it stands in the report as "not analysed: cannot be decoded", without a reference
    return headers


def _header(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except OSError as error:
        raise ResultError(
            f"An earlier result object is missing: {error.strerror}.", next_step="Run `firstread fsck`."
        ) from error
