"""The content tree of an assessment: TID 1500 with a person as observer and one TID 1501 group per verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.results import codes
from dicom_node.results.content_items import coded, composite, container, image, text
from dicom_node.results.evidence import library_header, reference
from dicom_node.results.image_library import image_library
from dicom_node.results.templates import (
    finding_sites,
    measurement_group,
    measurement_report,
    person_observer,
    tracking,
)
from dicom_node.results.uids import ResultNames
from dicom_node.results.wording import plain
from triage.assessment import Assessed, Missed, Opinion

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
    return measurement_report(
        person_observer(person),
        image_library(pictures, bare),
        [
            *(_group(one, described[one.sop_instance_uid], names) for one in assessed),
            *(_missed_group(own, names) for own in missed),
        ],
        [
            container(codes.QUALITATIVE_EVALUATIONS, (text(codes.COMMENT, sentence) for sentence in sentences)),
            composite(codes.SOURCE_REPORT, reference(report)),
        ],
    )


def _group(one: Assessed, header: Dataset, names: ResultNames) -> Dataset:
    """TID 1501 without NUM."""
    finding = one.finding
    return measurement_group(
        "1501",
        [
            *tracking(
                f"{plain(names.algorithm.name)}/{plain(finding.key)}",
                names.tracking(one.sop_instance_uid, finding.key),
            ),
            coded(codes.FINDING, finding.code),
            *finding_sites(finding),
            coded(finding.code, _PRESENCE[one.present]),
            coded(codes.ASSESSMENT_CATEGORY, _AGREEMENT[one.opinion]),
            image(codes.SOURCE_OF_MEASUREMENT, reference(header)),
            *(text(codes.COMMENT, comment) for comment in _comments(one)),
        ],
    )


def _missed_group(own: Missed, names: ResultNames) -> Dataset:
    """TID 1501 without NUM and without image: a person says that it is there, or took that back."""
    code = own.code or codes.FINDING
    side = [f"Side: {own.laterality.name.lower()}"] if own.laterality is not None else []
    said = "Withdrawn" if own.withdrawn else "Missed by the AI"
    free = [plain(own.text) if _is_latin(own.text) else _FOREIGN] if own.text else []
    return measurement_group(
        "1501",
        [
            *tracking(f"{plain(names.algorithm.name)}/missed {own.id}", names.tracking("missed", str(own.id))),
            coded(codes.FINDING, code),
            coded(code, _PRESENCE[not own.withdrawn]),
            *(text(codes.COMMENT, line) for line in (said, *side, *free)),
        ],
    )


def _comments(one: Assessed) -> Iterator[str]:
    """Reason and free text. Text beyond ASCII is not told half: the document's character set is the patient's."""
    if one.reason is not None:
        yield f"Reason: {one.reason.sentence}"
    if one.comment:
        yield plain(one.comment) if _is_latin(one.comment) else _FOREIGN


def _is_latin(text: str) -> bool:
    return "?" not in plain(text.replace("?", "."))
