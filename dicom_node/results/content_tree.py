"""The content tree of the report: TID 1500 with what was found, where, by whom, and what was left out.

Layout, and why (it is read without error by dciodvfy, PixelMed's SR validator and OHIF):

* each positive finding with a region is a TID 1410 group: score as NUM, outline as closed POLYLINE; heat map, segment
  and map as Visual explanation;
* every verdict, positive or negative, is a code in the Qualitative Evaluations container (TID 1500 row 12, where NUM is
  not allowed), with the class that the algorithm asks for and the sentences that a person reads;
* only where no finding has a region, TID 1501 groups without NUM: beside a single outline they make validators
  apply the wrong template, and with a NUM viewers fail on them. Score, operating point and kind of score stand in every
  group as Algorithm Parameters, so that a program finds them in one place.

docs/results.md shows the tree row by row, and a test holds it to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypedDict

import numpy as np
from highdicom import sr
from highdicom.sr.value_types import ContentSequence
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.results import codes
from dicom_node.results.content_items import (
    CONTAINS,
    code_item,
    concept,
    container,
    device_observer,
    finding_site,
    image_library,
    presence,
    set_class,
    text_item,
)
from dicom_node.results.evidence import Observation
from dicom_node.results.uids import ResultNames
from dicom_node.results.wording import CODED_DECIMALS, kind_in_words, numbers, plain
from triage.findings import Algorithm, Code, Finding, Laterality, ScoreKind, Urgency

_KNOWN_CLASS = SecondaryCaptureImageStorage


def content_tree(
    observations: Sequence[Observation],
    *,
    names: ResultNames,
    urgency: Urgency,
    sentences: Iterable[str],
    silent: Sequence[Dataset] = (),
) -> Dataset:
    """Build the root container (126000, DCM, "Imaging Measurement Report").

    Parameters
    ----------
    observations : sequence of Observation
        All findings of all analysed images, in the bundle's order.
    urgency : Urgency
        Class that the algorithm asks for.
    sentences : iterable of str
        Comments for the reader, plain ASCII.
    silent : sequence of Dataset
        Items of :func:`~dicom_node.results.evidence.reference`: slices that were read and have no finding of their
        own. The image library names them too, without description: a report says what it was made from.
    """
    located = [o for o in observations if o.outline]
    algorithm = _algorithm_identification(names.algorithm)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device_observer(names.node)),
        procedure_reported=concept(codes.IMAGING_PROCEDURE),
        imaging_measurements=[_located_group(o, names, algorithm) for o in located]
        or [_image_group(o, names, algorithm) for o in observations],
        title=concept(codes.IMAGING_MEASUREMENT_REPORT),
    )
    root: Dataset = report[0]
    images = {o.image.SOPInstanceUID: o.image for o in observations}
    root.ContentSequence.insert(len(root.ContentSequence) - 1, image_library(images.values(), silent))
    root.ContentSequence.append(_qualitative_evaluations(observations, urgency, sentences))
    return root


def _located_group(
    observation: Observation, names: ResultNames, algorithm: sr.AlgorithmIdentification
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """TID 1410."""
    finding, image = observation.finding, observation.image
    source = sr.SourceImageForRegion(_KNOWN_CLASS, image.SOPInstanceUID)
    region = sr.ImageRegion(sr.GraphicTypeValues.POLYLINE, np.array(observation.outline, dtype=np.float64), source)
    set_class(source, image)
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=region,
        measurements=_measurements(finding),
        geometric_purpose=concept(codes.OUTLINE),
        **_common(observation, names, algorithm),
    )
    group[0].ContentSequence.extend(_own_parameters(finding))
    group[0].ContentSequence.extend(map(_explanation, observation.explanations))
    return group


def _explanation(shown: Dataset) -> sr.ImageContentItem:
    """A picture, a segment or a frame that shows where the network looked for the finding."""
    return sr.ImageContentItem(
        name=concept(codes.VISUAL_EXPLANATION),
        referenced_sop_class_uid=shown.ReferencedSOPClassUID,
        referenced_sop_instance_uid=shown.ReferencedSOPInstanceUID,
        referenced_frame_numbers=shown.get("ReferencedFrameNumber"),
        referenced_segment_numbers=shown.get("ReferencedSegmentNumber"),
        relationship_type=CONTAINS,
    )


def _image_group(
    observation: Observation, names: ResultNames, algorithm: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501, without NUM."""
    source = sr.SourceImageForMeasurementGroup(_KNOWN_CLASS, observation.image.SOPInstanceUID)
    set_class(source, observation.image)
    group = sr.MeasurementsAndQualitativeEvaluations(
        source_images=[source],
        **_common(observation, names, algorithm),
    )
    group[0].ContentSequence.extend(_own_parameters(observation.finding))
    return group


class _Common(TypedDict):
    """What both kinds of group hold."""

    tracking_identifier: sr.TrackingIdentifier
    finding_type: sr.CodedConcept
    finding_sites: list[sr.FindingSite] | None
    algorithm_id: sr.AlgorithmIdentification
    qualitative_evaluations: list[sr.QualitativeEvaluation]


def _common(observation: Observation, names: ResultNames, algorithm: sr.AlgorithmIdentification) -> _Common:
    finding = observation.finding
    code = concept(finding.code)
    return {
        "tracking_identifier": sr.TrackingIdentifier(
            uid=observation.tracking_uid,
            identifier=f"{plain(names.algorithm.name)}/{plain(finding.key)}",
        ),
        "finding_type": code,
        "finding_sites": None if finding.site is None else [finding_site(finding.site, finding.laterality)],
        "algorithm_id": algorithm,
        "qualitative_evaluations": list(_evaluations(finding)),
    }


def _evaluations(finding: Finding) -> Iterator[sr.QualitativeEvaluation]:
    """Whether it is there, and the class that it asks for when it is."""
    yield sr.QualitativeEvaluation(name=concept(finding.code), value=presence(finding.positive))
    if finding.positive:
        yield sr.QualitativeEvaluation(name=concept(codes.PRIORITY), value=concept(codes.PRIORITIES[finding.urgency]))


def _measurements(finding: Finding) -> list[sr.Measurement] | None:
    """The score as a Probability; a score that is none stands in the text and in Algorithm Parameters only."""
    if finding.score.kind is ScoreKind.OPERATING_POINT:
        return None
    value = float(numbers(finding.score, CODED_DECIMALS)[0])
    return [sr.Measurement(concept(codes.PROBABILITY), value, concept(codes.NO_UNITS))]


def _algorithm_identification(algorithm: Algorithm) -> sr.AlgorithmIdentification:
    """TID 4019, the same items in every group: building them once halves the time of a report."""
    return sr.AlgorithmIdentification(
        name=plain(algorithm.name),
        version=plain(algorithm.version),
        manufacturer=plain(algorithm.manufacturer) or "unknown",
        family=concept(codes.ARTIFICIAL_INTELLIGENCE),
        parameters=[plain(text) for text in (f"weights_sha256={algorithm.weights_sha256}", *algorithm.parameters)],
    )


def _own_parameters(finding: Finding) -> list[sr.TextContentItem]:
    """TID 4019 row 3 once more: the score, the operating point that it was compared with, and what the number means."""
    value, threshold = (float(number) for number in numbers(finding.score, CODED_DECIMALS))
    return [
        text_item(codes.ALGORITHM_PARAMETERS, text, sr.RelationshipTypeValues.HAS_CONCEPT_MOD)
        for text in (
            f"score={value}",
            f"threshold={threshold}",
            f"score_kind={kind_in_words(finding.score.kind)}",
        )
    ]


def _qualitative_evaluations(
    observations: Iterable[Observation], urgency: Urgency, sentences: Iterable[str]
) -> sr.ContainerContentItem:
    """One verdict per finding for the study, where the worst image decides; the class; the comments."""
    verdicts: dict[tuple[Code, Laterality | None], bool] = {}
    for observation in observations:
        finding = observation.finding
        about = finding.code, finding.laterality
        verdicts[about] = verdicts.get(about, False) or finding.positive
    items: list[Dataset] = [_verdict(code, side, positive) for (code, side), positive in verdicts.items()]
    items.append(code_item(codes.PRIORITY, codes.PRIORITIES[urgency]))
    items += [text_item(codes.COMMENT, sentence) for sentence in sentences]
    return container(codes.QUALITATIVE_EVALUATIONS, items)


def _verdict(code: Code, laterality: Laterality | None, positive: bool) -> sr.CodeContentItem:
    item = code_item(code, codes.PRESENT if positive else codes.ABSENT)
    if laterality is not None:
        item.ContentSequence = ContentSequence(
            [code_item(codes.LATERALITY, codes.SIDES[laterality], sr.RelationshipTypeValues.HAS_CONCEPT_MOD)]
        )
    return item
