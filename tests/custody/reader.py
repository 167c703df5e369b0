"""A worker's network and pictures, without pixels: the journey of an analysis stays the real one.

What it finds is a digest of what it was given, so that two results under one name differ if they were made from
different images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from dicom_node.results import uids
from models.registry import Registry
from triage.errors import DicomError
from triage.findings import Code, Finding, ImageResult, NotAnalysed, NotAnalysedReason, Score, ScoreKind, Urgency
from triage.repositories.outcomes import Previews
from triage.repositories.results import BuiltObject
from triage.tables import Instance
from workers import analysis, result_files
from workers.claims import Claim
from workers.explaining import Explained
from workers.reporting import ReportSources, Told
from workers.scoring import Ready, Scored
from workers.screening import Candidate
from workers.workbench import Workbench

BUNDLE: Final = Registry.load(check_files=False).get("phantom-cxr")
NETWORK: Final = SimpleNamespace(device="cpu")
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_REPORT: Final = "1.2.840.10008.5.1.4.1.1.88.34"


class Reader:
    """Reads every DX and CT.

    Attributes
    ----------
    built : dict
        (analysis, kind, SOP Instance UID of the source) to the SOP Instance UIDs given to it so far.
    """

    def __init__(self) -> None:
        self.built: dict[tuple[int, str, str], set[str]] = {}

    def take_seat(self, patch: pytest.MonkeyPatch) -> None:
        """Sit down where the network sits."""
        for name in ("split", "make_ready", "score", "explain_image", "report"):
            patch.setattr(analysis, name, getattr(self, name))

    def split(
        self, bench: Workbench, instances: Sequence[Instance], _bundle_name: str
    ) -> tuple[list[Candidate], list[NotAnalysed], list[Candidate]]:
        ours, left_out = [], []
        for instance in instances:
            uid = instance.sop_instance_uid
            try:
                content = bench.archive.path(instance.relative_path).read_bytes()
            except DicomError as error:
                left_out.append(NotAnalysed(uid, NotAnalysedReason.DECODE_ERROR, str(error)))
                continue
            if instance.not_analysed is not None:
                left_out.append(NotAnalysed(sop_instance_uid=uid, reason=instance.not_analysed, detail=""))
                continue
            dataset = Dataset()
            dataset.PatientID, dataset.SeriesInstanceUID = instance.patient_id, instance.series_instance_uid
            dataset.ImageComments = hashlib.sha256(content).hexdigest()
            ours.append(
                Candidate(
                    instance_id=instance.id,
                    sop_instance_uid=uid,
                    bundle=BUNDLE,
                    dataset=dataset,
                    version=instance.version,
                )
            )
        return ours, left_out, []

    def make_ready(self, candidate: Candidate, _codec: object, _gate: object) -> Ready:
        prepared: Any = None
        return Ready(candidate=candidate, prepared=prepared)

    def score(self, _predictor: object, batch: Sequence[Ready]) -> list[Scored]:
        features: Any = None
        return [Scored(ready=ready, features=features, result=_result(ready.candidate)) for ready in batch]

    def explain_image(self, bench: Workbench, claim: Claim, scored: Scored, _number: int) -> Explained:
        candidate = scored.ready.candidate
        dataset = self._dataset(bench, claim, uids.ResultKind.HEAT_MAP, candidate.sop_instance_uid, candidate.version)
        dataset.PatientID = candidate.dataset.PatientID
        dataset.ImageComments = str(candidate.dataset.ImageComments)
        built = self._store(bench, dataset, "SC", candidate.instance_id)
        return Explained(result=scored.result, objects=(built,), not_built=(), previews=Previews(image="picture.jpg"))

    def report(self, bench: Workbench, claim: Claim, sources: ReportSources) -> Told:
        dataset = self._dataset(bench, claim, uids.ResultKind.REPORT)
        dataset.PatientID = sources.instances[0].patient_id
        dataset.ImageComments = "\n".join(f"{i.sop_instance_uid} {i.digest}" for i in sources.instances)
        return Told(objects=(self._store(bench, dataset, "SR", None),))

    def _dataset(
        self, bench: Workbench, claim: Claim, kind: uids.ResultKind, source: str = "", version: int = 1
    ) -> Dataset:
        names = uids.ResultNames(
            study_instance_uid=claim.study_instance_uid,
            algorithm=BUNDLE.algorithm(),
            node=bench.node,
            revision=claim.revision,
        )
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        dataset.SOPClassUID = _SECONDARY_CAPTURE if kind is uids.ResultKind.HEAT_MAP else _REPORT
        dataset.SOPInstanceUID = names.heat_map(source, version) if source else names.instance(kind)
        dataset.StudyInstanceUID = claim.study_instance_uid
        dataset.SeriesInstanceUID = names.series(kind)
        dataset.ContentDate = f"{claim.started_at:%Y%m%d}"
        dataset.ContentTime = f"{claim.started_at:%H%M%S}"
        known = self.built.setdefault(
            (claim.analysis_id, kind.value, f"{source} version {version}" if source else "the study"), set()
        )
        known.add(str(dataset.SOPInstanceUID))
        return dataset

    def _store(self, bench: Workbench, dataset: Dataset, kind: str, source: int | None) -> BuiltObject:
        return result_files.store_object(bench.settings.results, dataset, kind, source_instance_id=source)


def _result(candidate: Candidate) -> ImageResult:
    number = int(str(candidate.dataset.ImageComments)[:2], 16)
    finding = Finding(
        key="pneumothorax",
        code=Code(value="36118008", scheme="SCT", meaning="Pneumothorax"),
        site=None,
        score=Score(value=number / 256, threshold=0.5, kind=ScoreKind.CALIBRATED_PROBABILITY),
        urgency=Urgency.STAT,
        region=None,
    )
    return ImageResult(sop_instance_uid=candidate.sop_instance_uid, findings=(finding,))
