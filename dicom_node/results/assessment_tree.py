"""The content tree of an assessment: TID 1500 with a person as observer and one TID 1501 group per verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.results import codes
from dicom_node.results.content_items import (
    CONTAINS,
    concept,
    container,
    finding_site,
    image_library,
    set_class,
    text_item,
)
from dicom_node.results.evidence import library_header, reference
from dicom_node.results.uids import ResultNames
from dicom_node.results.wording import plain
from triage.assessment import Assessed, Missed, Opinion

_KNOWN_CLASS = SecondaryCaptureImageStorage
_AGREEMENT: Final = {
    Opinion.AGREE: codes.AGREEMENT,
    Opinion.DISAGREE: codes.DISAGREEMENT,
    Opinion.CANNOT_TELL: codes.INDETERMINATE,
}
_PRESENCE: Final = {True: codes.PRESENT, False: codes.ABSENT, None: codes.INDETERMINATE}
_FOREIGN: Final = "A comment in another script is kept at the node."


def assessment_tree(
    assessed: Sequence[Assessed],
    missed: Sequence[Missed] = (),
    *,
    images: Mapping[str, Dataset],
    report: Dataset,
    names: ResultNames,
    person: str,
    sentences: Iterable[str],
) -> Dataset:
    """Build the root container (126000, DCM, "Imaging Measurement Report"), which viewers open.

    Parameters
    ----------
    images : mapping of str to Dataset
        SOP Instance UID to header, or to a data set of the UIDs alone, which the library lists without description.
    report : Dataset
        The AI's report: named at the root as Source report (128225, DCM).
    """
    described = {uid: library_header(header) if "Rows" in header else header for uid, header in images.items()}
    pictures = [header for header in described.values() if "Rows" in header]
    bare = [reference(header) for header in images.values() if "Rows" not in header]
    tree = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_person_context=_observer(person)),
        procedure_reported=concept(codes.IMAGING_PROCEDURE),
        imaging_measurements=[
            *(_group(one, described[one.sop_instance_uid], names) for one in assessed),
            *(_missed_group(own, names) for own in missed),
        ],
        title=concept(codes.IMAGING_MEASUREMENT_REPORT),
    )
    root: Dataset = tree[0]
    root.ContentSequence.insert(len(root.ContentSequence) - 1, image_library(pictures, bare))
    comments = [text_item(codes.COMMENT, text) for text in sentences]
    root.ContentSequence.append(container(codes.QUALITATIVE_EVALUATIONS, comments))
    root.ContentSequence.append(
        sr.CompositeContentItem(
            name=concept(codes.SOURCE_REPORT),
            referenced_sop_class_uid=report.SOPClassUID,
            referenced_sop_instance_uid=report.SOPInstanceUID,
            relationship_type=CONTAINS,
        )
    )
    return root


def _observer(person: str) -> sr.ObserverContext:
    """TID 1002 and 1003: the person, by the name that they sign in with."""
    name = plain(person, 64).replace("=", " ")
    return sr.ObserverContext(
        concept(codes.PERSON),
        sr.PersonObserverIdentifyingAttributes(name=name if "^" in name else f"{name}^", login_name=name),
    )


def _group(one: Assessed, image: Dataset, names: ResultNames) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501 without NUM."""
    finding = one.finding
    source = sr.SourceImageForMeasurementGroup(_KNOWN_CLASS, image.SOPInstanceUID)
    set_class(source, image)
    group = sr.MeasurementsAndQualitativeEvaluations(
        source_images=[source],
        tracking_identifier=sr.TrackingIdentifier(
            uid=names.tracking(one.sop_instance_uid, finding.key),
            identifier=f"{plain(names.algorithm.name)}/{plain(finding.key)}",
        ),
        finding_type=concept(finding.code),
        finding_sites=None if finding.site is None else [finding_site(finding.site, finding.laterality)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=concept(finding.code), value=concept(_PRESENCE[one.present])),
            sr.QualitativeEvaluation(name=concept(codes.ASSESSMENT_CATEGORY), value=concept(_AGREEMENT[one.opinion])),
        ],
    )
    group[0].ContentSequence.extend(text_item(codes.COMMENT, text) for text in _comments(one))
    return group


def _missed_group(own: Missed, names: ResultNames) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501 without NUM and without image: a person says that it is there, or took that back."""
    code = own.code or codes.FINDING
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=names.tracking("missed", str(own.id)), identifier=f"{plain(names.algorithm.name)}/missed {own.id}"
        ),
        finding_type=concept(code),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=concept(code), value=concept(_PRESENCE[not own.withdrawn])),
        ],
    )
    side = [f"Side: {own.laterality.name.lower()}"] if own.laterality is not None else []
    text = [plain(own.text) if _is_latin(own.text) else _FOREIGN] if own.text else []
    said = "Withdrawn" if own.withdrawn else "Missed by the AI"
    group[0].ContentSequence.extend(text_item(codes.COMMENT, line) for line in (said, *side, *text))
    return group


def _comments(one: Assessed) -> Iterator[str]:
    """Reason and free text. Text beyond ASCII is not told half: the document's character set is the patient's."""
    if one.reason is not None:
        yield f"Reason: {one.reason.sentence}"
    if one.comment:
        yield plain(one.comment) if _is_latin(one.comment) else _FOREIGN


def _is_latin(text: str) -> bool:
    return "?" not in plain(text.replace("?", "."))
