"""The report of one analysis: Comprehensive 3D SR after TID 1500, as IHE AI Results asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.results.common import Making, failures_named
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.evidence import hierarchical_references, observations, reference, require_one_patient
from dicom_node.results.files import seal
from dicom_node.results.identity import SourceHeader
from dicom_node.results.orders import referenced_requests
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import image_line, kind_in_words, plain, silent_line, summary
from triage.errors import ResultError
from triage.findings import (
    Algorithm,
    AnalysisResult,
    Code,
    Finding,
    ImageResult,
    NotAnalysed,
    NotAnalysedReason,
    Score,
    ScoreKind,
    Urgency,
)
from triage.profiles import DEFAULT, Profile

_UNREAD: Final = frozenset(
    (
        NotAnalysedReason.NO_PIXELS,
        NotAnalysedReason.DECODE_ERROR,
        NotAnalysedReason.DECODER_CRASH,
        NotAnalysedReason.DECODE_TIMEOUT,
        NotAnalysedReason.OUT_OF_MEMORY,
        NotAnalysedReason.MODEL_UNAVAILABLE,
        NotAnalysedReason.MODEL_ERROR,
        NotAnalysedReason.REMOVED,
    )
)
"""What kept an image from being read although it may have been for the algorithm: such a report is partial."""


def build_report(
    evidence: Sequence[Dataset],
    result: AnalysisResult,
    *,
    heat_maps: Mapping[str, Dataset],
    node: NodeIdentity,
    revision: int,
    predecessor: Dataset | None,
    created_at: datetime,
    activations: Mapping[str, Sequence[Dataset]] = MappingProxyType({}),
    profile: Profile = DEFAULT,
) -> Dataset:
    """Build the report of an analysis. The same arguments give the same bytes.

    Parameters
    ----------
    evidence : sequence of Dataset
        Headers of all source instances read for the study, analysed and excluded, as dcmread returned them; pixel data
        is not needed. Patient and study are those of the first analysed image.
    heat_maps : mapping of str to Dataset
        SOP Instance UID of the source image to its secondary capture; where one is missing the report says so.
    revision : int
        1 for the first report, one more for each re-run.
    predecessor : Dataset or None
        The report that this one supersedes (PS3.3 C.17.2.2).
    created_at : datetime
        Time zone aware; Content Date and Time.
    activations : mapping of str to sequence of Dataset
        SOP Instance UID of the source image to its segmentation and parametric map, without pixels, as far as the
        destination gets them: a report refers to nothing that is not there.
    profile : Profile
        What its destination wants.

    Raises
    ------
    ResultError
        The report cannot be built, or an analysed image is not among the evidence.
    MixedPatientsError
        The evidence is of two patients, or of two studies: whose report would it be?
    """
    with failures_named("The report"):
        headers = {SourceHeader(header).text("SOPInstanceUID"): header for header in evidence}
        missing = [i.sop_instance_uid for i in result.images if i.sop_instance_uid not in headers]
        if missing:
            raise ResultError(f"{len(missing)} analysed images are not among the evidence, e.g. {missing[0]}.")
        require_one_patient(evidence)
        source = SourceHeader(headers[result.images[0].sop_instance_uid])
        study = source.text("StudyInstanceUID")
        names = ResultNames(
            study_instance_uid=study, algorithm=result.algorithm, node=node, revision=revision, profile=profile
        )
        report, adjusted = Making(source=source, names=names, created_at=created_at).dataset(
            ResultKind.REPORT,
            sop_class_uid=Comprehensive3DSRStorage,
            sop_instance_uid=names.instance(ResultKind.REPORT),
            modality="SR",
            instance_number=revision,
        )
        _put_document_general(report, source, predecessor, result.not_analysed)
        report.CurrentRequestedProcedureEvidenceSequence = hierarchical_references(
            study, (*headers.values(), *heat_maps.values(), *chain.from_iterable(activations.values()))
        )
        # Loaded here: highdicom brings code tables of 100 MB, which a process that reports nothing does not need.
        from dicom_node.results.content_tree import content_tree  # noqa: PLC0415

        def shown(uid: str) -> list[Dataset]:
            return [*([heat_maps[uid]] if uid in heat_maps else []), *activations.get(uid, ())]

        observed = [
            observation
            for image in result.images
            for observation in observations(
                image, headers[image.sop_instance_uid], names, shown(image.sop_instance_uid)
            )
        ]
        silent = [reference(headers[image.sop_instance_uid]) for image in result.images if not image.findings]
        sentences = _sentences(result, heat_maps, adjusted, profile)
        report.update(content_tree(observed, names=names, urgency=result.urgency, sentences=sentences, silent=silent))
        return seal(report, character_set=profile.character_set)


def warm_up(node: NodeIdentity) -> None:
    """Build one report about nothing, so that the first study does not wait a second for code tables to load."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "2.25.1"
    header.StudyInstanceUID, header.SeriesInstanceUID = "2.25.2", "2.25.3"
    header.Rows = header.Columns = 1
    score = Score(value=0.0, threshold=1.0, kind=ScoreKind.UNCALIBRATED_PROBABILITY)
    finding = Finding(
        key="none", code=Code(value="17621005", scheme="SCT", meaning="Normal"), site=None, score=score,
        urgency=Urgency.ROUTINE,
    )  # fmt: skip
    algorithm = Algorithm(
        name="none", version="0", manufacturer="none", weights_sha256="", research=True, disclaimer=""
    )
    result = AnalysisResult(algorithm=algorithm, images=(ImageResult(sop_instance_uid="2.25.1", findings=(finding,)),))
    build_report([header], result, heat_maps={}, node=node, revision=1, predecessor=None, created_at=datetime.now(UTC))


def _put_document_general(
    report: Dataset, source: SourceHeader, predecessor: Dataset | None, left_out: Sequence[NotAnalysed]
) -> None:
    """SR Document Series and General (PS3.3 C.17.1, C.17.2). Software says it: never FINAL, never VERIFIED."""
    unread = sum(1 for image in left_out if image.reason in _UNREAD)
    report.CompletionFlag = "PARTIAL" if unread else "COMPLETE"
    if unread:
        report.CompletionFlagDescription = f"{unread} of the images could not be read"
    report.PreliminaryFlag = "PRELIMINARY"
    report.VerificationFlag = "UNVERIFIED"
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    if requests := referenced_requests(source):
        report.ReferencedRequestSequence = requests
    if predecessor is not None:
        study = SourceHeader(predecessor).text("StudyInstanceUID")
        report.PredecessorDocumentsSequence = hierarchical_references(study, [predecessor])


def _sentences(
    result: AnalysisResult, heat_maps: Mapping[str, Dataset], adjusted: Sequence[str], profile: Profile
) -> Iterator[str]:
    """What a person reads in the report, most important first."""
    yield summary(result)
    if result.algorithm.disclaimer:
        yield plain(result.algorithm.disclaimer)
    for image in result.images:
        if image.findings:
            yield image_line(image)
    silent = [image for image in result.images if not image.findings]
    if silent:
        yield silent_line(silent)
    kinds = dict.fromkeys(kind_in_words(f.score.kind) for image in result.images for f in image.findings)
    yield f"Scores: {'; '.join(kinds)}."
    for image in result.images:
        wanted = image.findings and ResultKind.HEAT_MAP in profile.kinds
        if wanted and image.sop_instance_uid not in heat_maps:
            yield f"No heat map shows where the scores of image {image.sop_instance_uid} come from."
    for left_out in result.not_analysed:
        yield f"Not analysed: {left_out.sop_instance_uid} {plain(left_out.sentence)}"
    if adjusted:
        yield f"Attributes of the source that are not legal DICOM and differ here: {', '.join(adjusted)}."
