"""What a radiologist thinks of an AI's report: Comprehensive 3D SR after TID 1500 that refers to that report.

For each finding that a person gave a verdict on there is a TID 1501 group with the tracking identifiers of the AI's
report, so that both are about one thing. It says the finding is present or absent as the person sees it, which any
reader of TID 1500 understands, and beside it whether that agrees with the AI. What the person sees and the AI's report
does not say is a group of its own, present, without an image. The observer is the person.

The document stays UNVERIFIED (PS3.3 C.17.2): a verdict in a list is not a signature, and the node knows nobody's
organization. IHE has a profile for such assessments (AIRA), whose text was not at hand: no claim is made to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.results.common import Making, failures_named
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.evidence import hierarchical_references
from dicom_node.results.files import seal
from dicom_node.results.identity import SourceHeader
from dicom_node.results.uids import ResultKind, ResultNames
from dicom_node.results.wording import LABEL, plain, verdict
from triage.assessment import Assessed, Missed, Opinion
from triage.errors import ResultError
from triage.findings import Algorithm
from triage.profiles import DEFAULT, LONGEST_DESCRIPTION, Profile

SERIES_OFFSET: Final = 7
"""Added to the series number of a profile: behind the kinds of :data:`triage.profiles.SERIES_OFFSET`."""

_OPINIONS: Final = {
    Opinion.AGREE: "agrees with",
    Opinion.DISAGREE: "disagrees with",
    Opinion.CANNOT_TELL: "cannot tell",
}
_COUNTED: Final = {Opinion.AGREE: "agreed", Opinion.DISAGREE: "disagreed", Opinion.CANNOT_TELL: "undecided"}


def build_assessment(
    report: Dataset,
    assessed: Sequence[Assessed],
    *,
    missed: Sequence[Missed] = (),
    images: Mapping[str, Dataset],
    algorithm: Algorithm,
    person: str,
    node: NodeIdentity,
    number: int,
    serial: int,
    predecessor: Dataset | None,
    profile: Profile = DEFAULT,
) -> Dataset:
    """Build the assessment of a report by one person. The same arguments give the same bytes.

    Parameters
    ----------
    report : Dataset
        The AI's report, as dcmread returned it. Patient and study are its own, byte for byte.
    assessed : sequence of Assessed
        The verdicts of the person that stand.
    missed : sequence of Missed
        What the person marked as missed, withdrawn ones too. The latest of all gives the time of the document; there
        is at least one of either.
    images : mapping of str to Dataset
        SOP Instance UID to the header of each image that a verdict is about; without verdicts of each that was scored.
    person : str
        Name by which the node knows the person.
    number : int
        That no other assessment of this report by this person has; part of the UID.
    serial : int
        Instance Number: 1 for the first assessment of the report by this person, one more for each later one.
    predecessor : Dataset or None
        The assessment that this one supersedes.
    profile : Profile
        Of the destinations that have ``report``: series number and description.

    Raises
    ------
    ResultError
        It cannot be built, or an image is missing.
    """
    with failures_named("The assessment"):
        missing = [one.sop_instance_uid for one in assessed if one.sop_instance_uid not in images]
        if missing:
            raise ResultError(f"{len(missing)} assessed images are not among the evidence, e.g. {missing[0]}.")
        source = SourceHeader(report)
        study = source.text("StudyInstanceUID")
        names = ResultNames(
            study_instance_uid=study,
            algorithm=algorithm,
            node=node,
            revision=int(source.text("InstanceNumber")),
            profile=profile,
        )
        document, _ = Making(
            source=source, names=names, created_at=max([one.at for one in assessed] + [own.at for own in missed])
        ).dataset(
            ResultKind.REPORT,
            sop_class_uid=Comprehensive3DSRStorage,
            sop_instance_uid=names.assessment(person, number),
            modality="SR",
            instance_number=serial,
        )
        document.SeriesInstanceUID = names.assessment_series(person)
        document.SeriesNumber = profile.series_number + SERIES_OFFSET
        document.SeriesDescription = plain(
            profile.series_description.format(kind="assessment", bundle=algorithm.name, version=algorithm.version),
            LONGEST_DESCRIPTION,
        )
        document.ContributingEquipmentSequence = document.ContributingEquipmentSequence[:1]  # no scanner made a report
        _put_document_general(document, source, predecessor)
        evidence = {one.sop_instance_uid: images[one.sop_instance_uid] for one in assessed} or images
        document.CurrentRequestedProcedureEvidenceSequence = hierarchical_references(
            study, (report, *evidence.values())
        )
        # Loaded here, as for the report: highdicom brings code tables of 100 MB.
        from dicom_node.results.assessment_tree import assessment_tree  # noqa: PLC0415

        sentences = _sentences(assessed, missed, algorithm, person)
        document.update(
            assessment_tree(
                assessed, missed, images=evidence, report=report, names=names, person=person, sentences=sentences
            )
        )
        return seal(document)


def _put_document_general(document: Dataset, source: SourceHeader, predecessor: Dataset | None) -> None:
    """SR Document General (PS3.3 C.17.2); the order is the report's."""
    document.CompletionFlag = "COMPLETE"
    document.PreliminaryFlag = "PRELIMINARY"
    document.VerificationFlag = "UNVERIFIED"
    document.ReferencedPerformedProcedureStepSequence = []
    document.PerformedProcedureCodeSequence = []
    source.copy("ReferencedRequestSequence", document)
    if predecessor is not None:
        study = SourceHeader(predecessor).text("StudyInstanceUID")
        document.PredecessorDocumentsSequence = hierarchical_references(study, [predecessor])


def _sentences(
    assessed: Sequence[Assessed], missed: Sequence[Missed], algorithm: Algorithm, person: str
) -> Iterator[str]:
    """What a person reads in the assessment."""
    counted = Counter(one.opinion for one in assessed)
    parts = [f"{counted[opinion]} {words}" for opinion, words in _COUNTED.items() if counted[opinion]]
    standing = sum(not one.withdrawn for one in missed)
    counts = ", ".join([*parts, *([f"{standing} missed by the AI"] if missed else [])])
    bundle = f"{plain(algorithm.name)} {plain(algorithm.version)}"
    yield f"{LABEL}: verdicts of {plain(person)} on findings of {bundle}: {counts}."
    for one in assessed:
        yield sentence(one)
    for own in missed:
        yield missed_sentence(own)


def missed_sentence(own: Missed) -> str:
    """``Missed by the AI: "Nodule", right.`` Free text stands in its group alone."""
    named = f'"{plain(own.code.meaning)}"' if own.code is not None else "another finding"
    side = f", {own.laterality.name.lower()}" if own.laterality is not None else ""
    return f"{'No longer marked as missed' if own.withdrawn else 'Missed by the AI'}: {named}{side}."


def sentence(one: Assessed) -> str:
    """``Image 1.2.3: disagrees with "Pneumothorax 0.94 >= 0.60 POSITIVE": an artefact, fold or superposition.``"""
    said = f'Image {one.sop_instance_uid}: {_OPINIONS[one.opinion]} "{verdict(one.finding)}"'
    return f"{said}: {one.reason.sentence}." if one.reason else f"{said}."
