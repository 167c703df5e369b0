"""May this model read this image? A pure rule over the header's facts, with a reason when it may not.

Evidence is weighed, not believed: Body Part Examined and View Position are often empty or wrong. What is stated
and contradicts the model's conditions refuses; what is missing is allowed only where the conditions say so, and
is recorded as a remark. Refusing is safe: the case keeps its place in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydicom.uid import UID

from models import vocabulary
from models.image_facts import ImageFacts
from models.metadata import RoutingConditions
from triage.findings import NotAnalysedReason as Reason

CROSS_SECTIONAL = frozenset({"CT"})
"""Modalities whose images have no view: how they lie is said in numbers (:mod:`models.ct.geometry`)."""

_FOR_PROCESSING_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray
    "1.2.840.10008.5.1.4.1.1.1.2.1",  # Digital Mammography X-Ray
    "1.2.840.10008.5.1.4.1.1.1.3.1",  # Digital Intra-Oral X-Ray
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an image is not read; becomes a :class:`triage.findings.NotAnalysed`."""

    reason: Reason
    detail: str = ""


def screen(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    """The first condition that the image breaks, or None when the model may read it."""
    return next((refusal for rule in _RULES if (refusal := rule(facts, conditions)) is not None), None)


def addressed_to(facts: ImageFacts, conditions: RoutingConditions) -> bool:
    """Whether the conditions on maker and sender hold: a bundle for other images has no say in a refusal."""
    return _of_its_makers(facts, conditions) and _of_its_senders(facts, conditions)


def _of_its_senders(facts: ImageFacts, conditions: RoutingConditions) -> bool:
    return not conditions.calling_ae_titles or facts.calling_ae_title.strip() in conditions.calling_ae_titles


def _of_its_makers(facts: ImageFacts, conditions: RoutingConditions) -> bool:
    maker = facts.manufacturer.strip().casefold()
    if maker in {name.casefold() for name in conditions.manufacturer_not}:
        return False
    wanted = {name.casefold() for name in conditions.manufacturer_equals}
    return not wanted or maker in wanted


def remarks(facts: ImageFacts, conditions: RoutingConditions) -> tuple[str, ...]:
    """What was missing or unusual and allowed; kept with the analysis."""
    return tuple(_remarks(facts, conditions))


def _remarks(facts: ImageFacts, conditions: RoutingConditions) -> Iterator[str]:
    if not facts.regions & set(conditions.body_parts):
        yield "body part taken from a description" if _described_regions(facts) else "body part not stated"
    if not facts.views & vocabulary.FRONTAL_VIEWS:
        yield "view not stated"
    if facts.age_years is None and conditions.min_age_years is not None:
        yield "age not stated"
    if facts.bits_stored is None and conditions.min_bits_stored is not None:
        yield "bits stored not stated"
    spacing_matters = (conditions.min_pixel_spacing, conditions.max_pixel_spacing) != (None, None)
    if facts.pixel_spacing is None and spacing_matters:
        yield "pixel spacing not stated"
    if facts.burned_in_annotation:
        yield "annotation burnt into the image"


# --- the rules, in the order in which their reasons help most ---


def _own_result(facts: ImageFacts, _: RoutingConditions) -> Refusal | None:
    return Refusal(Reason.OWN_RESULT) if facts.own_result else None


def _intent(facts: ImageFacts, _: RoutingConditions) -> Refusal | None:
    processing = facts.sop_class_uid in _FOR_PROCESSING_CLASSES or facts.presentation_intent == "FOR PROCESSING"
    return Refusal(Reason.FOR_PROCESSING) if processing else None


def _sop_class(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    if facts.sop_class_uid in conditions.sop_classes:
        return None
    uid = UID(facts.sop_class_uid)
    return Refusal(Reason.UNSUPPORTED_SOP_CLASS, uid.name if uid.name != uid else "")


def _modality(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    # Reports and other objects without a pixel matrix are refused for what they are, not for their modality.
    if facts.modality in conditions.modalities or facts.rows is None:
        return None
    return Refusal(Reason.UNSUPPORTED_MODALITY, facts.modality[:16])


def _pixels(facts: ImageFacts, _: RoutingConditions) -> Refusal | None:
    if facts.rows is None or facts.columns is None:
        return Refusal(Reason.NO_PIXELS)
    if facts.samples_per_pixel != 1 or not facts.photometric_interpretation.startswith("MONOCHROME"):
        return Refusal(Reason.COLOUR_IMAGE)
    return Refusal(Reason.MULTI_FRAME, f"{facts.frames} frames") if facts.frames > 1 else None


def _derived(facts: ImageFacts, _: RoutingConditions) -> Refusal | None:
    # Value 1 DERIVED is usual for presentation images (PS3.3 C.8.11.1); value 2 SECONDARY is not (C.7.6.1.1.2).
    if facts.image_type[1:2] == ("SECONDARY",):
        return Refusal(Reason.DERIVED_IMAGE, "Image Type is SECONDARY")
    if facts.modality in CROSS_SECTIONAL:  # "soft tissue" is a kernel there
        return None
    texts = vocabulary.plain(f"{facts.image_texts} | {' | '.join(facts.image_type[2:])}")
    if vocabulary.contains(texts, vocabulary.PROCESSED_TWIN_WORDS):
        return Refusal(Reason.DERIVED_IMAGE, "a processed twin of another image")
    return None


def _patient(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    if facts.animal:
        return Refusal(Reason.UNSUPPORTED_PATIENT, "an animal")
    youngest, oldest, age = conditions.min_age_years, conditions.max_age_years, facts.age_years
    if age is not None and youngest is not None and age < youngest:
        return Refusal(Reason.UNSUPPORTED_PATIENT, f"younger than {youngest:g} years")
    if age is not None and oldest is not None and age > oldest:
        return Refusal(Reason.UNSUPPORTED_PATIENT, f"older than {oldest:g} years")
    return None


def _body_part(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    wanted = set(conditions.body_parts)
    acquired = vocabulary.named(facts.image_texts, vocabulary.REGIONS)
    # What was acquired may be stated twice; both have to agree. A study may hold several body parts.
    for stated in (facts.regions, acquired):
        if stated and not stated & wanted:
            return Refusal(Reason.UNSUPPORTED_BODY_PART, _listed(stated))
    if facts.regions or acquired:
        return None
    requested = vocabulary.named(facts.study_texts, vocabulary.REGIONS)
    if requested & wanted:
        return None
    if requested:
        return Refusal(Reason.UNSUPPORTED_BODY_PART, _listed(requested))
    if conditions.allow_missing_body_part:
        return None
    return Refusal(Reason.UNSUPPORTED_BODY_PART, "the header names none")


def _orientation(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    if facts.modality in CROSS_SECTIONAL:
        return None
    # A frontal image lies in the coronal plane: neither side of it points anterior or posterior.
    if any(direction[:1] in {"A", "P"} for direction in facts.orientation):
        return Refusal(Reason.UNSUPPORTED_VIEW, "Patient Orientation is lateral")
    if "CHEST" in conditions.body_parts and _turned(facts.orientation):
        return Refusal(Reason.UNSUPPORTED_VIEW, f"Patient Orientation {_plain(facts.orientation)}: mirrored or turned")
    return None


def _view(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    if facts.modality in CROSS_SECTIONAL:
        return None
    described = vocabulary.named(facts.image_texts, vocabulary.VIEWS)
    stated = facts.views or described
    if stated - vocabulary.FRONTAL_VIEWS:
        return Refusal(Reason.UNSUPPORTED_VIEW, _listed(stated - vocabulary.FRONTAL_VIEWS))
    if stated and "FRONTAL" not in stated and not stated & set(conditions.views):
        return Refusal(Reason.UNSUPPORTED_VIEW, _listed(stated))
    if not stated and not conditions.allow_missing_view:
        return Refusal(Reason.UNSUPPORTED_VIEW, "the header names none")
    return None


def _turned(orientation: tuple[str, ...]) -> bool:
    """Whether a frontal image says that it does not lie as it is hung: the patient's left at the right, the head up.

    Situs decides what a chest shows: a heart on the other side is another finding.
    """
    known = {"L", "R", "H", "F"}
    first = tuple(direction[:1] for direction in orientation)
    return len(first) == 2 and known.issuperset(first) and first != ("L", "F")


def _plain(orientation: tuple[str, ...]) -> str:
    return "/".join(direction[:4] for direction in orientation)


def _geometry(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    if facts.rows is None or facts.columns is None:
        return None
    short, long = sorted((facts.rows, facts.columns))
    if short < conditions.min_side or long > conditions.max_side_ratio * short:
        return Refusal(Reason.UNUSABLE_GEOMETRY, f"{facts.rows} x {facts.columns} pixels")
    if facts.bits_stored is not None and facts.bits_stored < (conditions.min_bits_stored or 0):
        return Refusal(Reason.UNUSABLE_GEOMETRY, f"{facts.bits_stored} bits stored")
    finest, coarsest = conditions.min_pixel_spacing, conditions.max_pixel_spacing
    for spacing in facts.pixel_spacing or ():
        if (finest is not None and spacing < finest) or (coarsest is not None and spacing > coarsest):
            return Refusal(Reason.UNUSABLE_GEOMETRY, f"pixel spacing {spacing:g} mm")
    return None


def _maker(facts: ImageFacts, conditions: RoutingConditions) -> Refusal | None:
    if not _of_its_makers(facts, conditions):
        return Refusal(Reason.NO_BUNDLE, "another maker's images")
    return None if _of_its_senders(facts, conditions) else Refusal(Reason.NO_BUNDLE, "another sender's images")


def _described_regions(facts: ImageFacts) -> frozenset[str]:
    return vocabulary.named(f"{facts.image_texts} | {facts.study_texts}", vocabulary.REGIONS)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)).lower()


_RULES: tuple[Callable[[ImageFacts, RoutingConditions], Refusal | None], ...] = (
    _own_result,
    _intent,
    _modality,
    _sop_class,
    _pixels,
    _derived,
    _patient,
    _body_part,
    _orientation,
    _view,
    _geometry,
    _maker,
)
