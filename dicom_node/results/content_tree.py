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

from pydicom.dataset import Dataset

from dicom_node.results import codes
from dicom_node.results.content_items import Relationship, coded, container, image, number, polyline, text
from dicom_node.results.evidence import Observation, reference
from dicom_node.results.image_library import image_library
from dicom_node.results.templates import (
    device_observer,
    finding_sites,
    measurement_group,
    measurement_report,
    presence,
    side,
    tracking,
)
from dicom_node.results.uids import ResultNames
from dicom_node.results.wording import CODED_DECIMALS, kind_in_words, numbers, plain
from triage.findings import Algorithm, Code, Finding, Laterality, ScoreKind, Urgency

_MODIFIER = Relationship.CONCEPT_MODIFIER


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
    images = {o.image.SOPInstanceUID: o.image for o in observations}
    return measurement_report(
        device_observer(names.node),
        image_library(images.values(), silent),
        [_located_group(o, names, algorithm) for o in located]
        or [_image_group(o, names, algorithm) for o in observations],
        [_qualitative_evaluations(observations, urgency, sentences)],
    )


def _located_group(observation: Observation, names: ResultNames, algorithm: Sequence[Dataset]) -> Dataset:
    """TID 1410."""
    finding = observation.finding
    source = image(codes.SOURCE, reference(observation.image), Relationship.SELECTED_FROM)
    return measurement_group(
        "1410",
        [
            *_about(observation, names),
            *algorithm,
            *_measurements(finding),
            *_evaluations(finding),
            coded(codes.GEOMETRIC_PURPOSE, codes.OUTLINE),
            polyline(codes.IMAGE_REGION, observation.outline, source),
            *_own_parameters(finding),
            *(image(codes.VISUAL_EXPLANATION, shown) for shown in observation.explanations),
        ],
    )


def _image_group(observation: Observation, names: ResultNames, algorithm: Sequence[Dataset]) -> Dataset:
    """TID 1501, without NUM."""
    return measurement_group(
        "1501",
        [
            *_about(observation, names),
            *algorithm,
            *_evaluations(observation.finding),
            image(codes.SOURCE_OF_MEASUREMENT, reference(observation.image)),
            *_own_parameters(observation.finding),
        ],
    )


def _about(observation: Observation, names: ResultNames) -> Iterator[Dataset]:
    """What both kinds of group begin with."""
    finding = observation.finding
    yield from tracking(f"{plain(names.algorithm.name)}/{plain(finding.key)}", observation.tracking_uid)
    yield coded(codes.FINDING, finding.code)
    yield from finding_sites(finding)


def _evaluations(finding: Finding) -> Iterator[Dataset]:
    """Whether it is there, and the class that it asks for when it is."""
    yield coded(finding.code, presence(finding.positive))
    if finding.positive:
        yield coded(codes.PRIORITY, codes.PRIORITIES[finding.urgency])


def _measurements(finding: Finding) -> Iterator[Dataset]:
    """The score as a Probability; a score that is none stands in the text and in Algorithm Parameters only."""
    if finding.score.kind is not ScoreKind.OPERATING_POINT:
        yield number(codes.PROBABILITY, float(numbers(finding.score, CODED_DECIMALS)[0]), codes.NO_UNITS)


def _algorithm_identification(algorithm: Algorithm) -> list[Dataset]:
    """TID 4019, the same items in every group."""
    return [
        text(codes.ALGORITHM_NAME, plain(algorithm.name), _MODIFIER),
        text(codes.ALGORITHM_VERSION, plain(algorithm.version), _MODIFIER),
        text(codes.ALGORITHM_MANUFACTURER, plain(algorithm.manufacturer) or "unknown", _MODIFIER),
        *(
            text(codes.ALGORITHM_PARAMETERS, plain(parameter), _MODIFIER)
            for parameter in (f"weights_sha256={algorithm.weights_sha256}", *algorithm.parameters)
        ),
        coded(codes.ALGORITHM_FAMILY, codes.ARTIFICIAL_INTELLIGENCE, _MODIFIER),
    ]


def _own_parameters(finding: Finding) -> Iterator[Dataset]:
    """TID 4019 row 3 once more: the score, the operating point that it was compared with, and what the number means."""
    value, threshold = (float(number) for number in numbers(finding.score, CODED_DECIMALS))
    for parameter in (
        f"score={value}",
        f"threshold={threshold}",
        f"score_kind={kind_in_words(finding.score.kind)}",
    ):
        yield text(codes.ALGORITHM_PARAMETERS, parameter, _MODIFIER)


def _qualitative_evaluations(
    observations: Iterable[Observation], urgency: Urgency, sentences: Iterable[str]
) -> Dataset:
    """One verdict per finding for the study, where the worst image decides; the class; the comments."""
    verdicts: dict[tuple[Code, Laterality | None], bool] = {}
    for observation in observations:
        finding = observation.finding
        about = finding.code, finding.laterality
        verdicts[about] = verdicts.get(about, False) or finding.positive
    return container(
        codes.QUALITATIVE_EVALUATIONS,
        [
            *(coded(code, presence(there), within=side(which)) for (code, which), there in verdicts.items()),
            coded(codes.PRIORITY, codes.PRIORITIES[urgency]),
            *(text(codes.COMMENT, sentence) for sentence in sentences),
        ],
    )
