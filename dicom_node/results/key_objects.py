"""The images that made the case urgent, flagged as key images (Key Object Selection, PS3.3 A.35.4, PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.results import codes
from dicom_node.results.codes import code_item
from dicom_node.results.common import Making, failures_named
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.evidence import hierarchical_references, reference, require_one_patient
from dicom_node.results.files import seal
from dicom_node.results.identity import SourceHeader
from dicom_node.results.orders import referenced_requests
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import plain, summary, verdict
from triage.errors import ResultError
from triage.findings import AnalysisResult, ImageResult, Urgency
from triage.profiles import DEFAULT, Profile


def flagged(result: AnalysisResult) -> tuple[ImageResult, ...]:
    """The images that made the case urgent, most urgent first; where nothing did, those with a positive finding."""
    positive = [image for image in result.images if image.positives]
    urgent = [image for image in positive if image.urgency is not Urgency.ROUTINE]
    return tuple(sorted(urgent or positive, key=lambda image: image.urgency.rank))


def build_key_objects(
    evidence: Sequence[Dataset],
    result: AnalysisResult,
    *,
    node: NodeIdentity,
    revision: int,
    created_at: datetime,
    profile: Profile = DEFAULT,
) -> Dataset:
    """Flag the images of :func:`flagged`, over all their series. The same arguments give the same bytes.

    Parameters
    ----------
    evidence : sequence of Dataset
        Headers of all source instances read for the study, as dcmread returned them.
    revision : int
        1 for the first analysis, one more for each re-run. A key object selection cannot name the one before it.
    profile : Profile
        What its destination wants.

    Raises
    ------
    ResultError
        Nothing is positive, a flagged image is not among the evidence, or the object cannot be built.
    MixedPatientsError
        The evidence is of two patients, or of two studies.
    """
    with failures_named("The key object selection"):
        headers = {SourceHeader(header).text("SOPInstanceUID"): header for header in evidence}
        images = flagged(result)
        if not images:
            raise ResultError("There is no key image: nothing is above its threshold.")
        missing = [image.sop_instance_uid for image in images if image.sop_instance_uid not in headers]
        if missing:
            raise ResultError(f"{len(missing)} flagged images are not among the evidence, e.g. {missing[0]}.")
        require_one_patient(evidence)
        chosen = [headers[image.sop_instance_uid] for image in images]
        source = SourceHeader(chosen[0])
        study = source.text("StudyInstanceUID")
        names = ResultNames(
            study_instance_uid=study, algorithm=result.algorithm, node=node, revision=revision, profile=profile
        )
        target, _ = Making(source=source, names=names, created_at=created_at).dataset(
            ResultKind.KEY_OBJECTS,
            sop_class_uid=KeyObjectSelectionDocumentStorage,
            sop_instance_uid=names.instance(ResultKind.KEY_OBJECTS),
            modality="KO",
            instance_number=revision,
        )
        target.ReferencedPerformedProcedureStepSequence = []
        if requests := referenced_requests(source):
            target.ReferencedRequestSequence = requests
        target.CurrentRequestedProcedureEvidenceSequence = hierarchical_references(study, chosen)
        _put_content(target, result, images, chosen, node)
        return seal(target, character_set=profile.character_set)


def _put_content(
    target: Dataset,
    result: AnalysisResult,
    images: Sequence[ImageResult],
    headers: Sequence[Dataset],
    node: NodeIdentity,
) -> None:
    """TID 2010: title of CID 7010, the device that observed (TID 1002, 1004), why, and the images."""
    target.ValueType = "CONTAINER"
    target.ConceptNameCodeSequence = [code_item(codes.OF_INTEREST)]
    target.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    target.ContentTemplateSequence = [template]
    # Loaded here, as by the report: highdicom brings code tables of 100 MB.
    from dicom_node.results.content_items import device_observer, text_item  # noqa: PLC0415

    content = [*device_observer(node), text_item(codes.KEY_OBJECT_DESCRIPTION, _reason(result, images))]
    for header in headers:
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"  # without a name in this template
        item.ReferencedSOPSequence = [reference(header)]
        content.append(item)
    target.ContentSequence = content


def _reason(result: AnalysisResult, images: Sequence[ImageResult]) -> str:
    """Why these: the class, then what each shows."""
    lines = [summary(result)]
    for image in images:
        place = f" ({plain(image.place)})" if image.place else ""
        lines.append(f"Image {image.sop_instance_uid}{place}: {'; '.join(map(verdict, image.positives))}.")
    if result.algorithm.disclaimer:
        lines.append(plain(result.algorithm.disclaimer))
    return " ".join(lines)
