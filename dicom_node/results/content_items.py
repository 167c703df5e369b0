"""Content items that structured reports are made of, by value type (PS3.3 C.17.3 and C.18)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.valuerep import DS

from dicom_node.results.codes import code_item
from triage.findings import Code


class Relationship(StrEnum):
    """Of an item to the one that it stands in (PS3.3 C.17.3.2.4)."""

    CONTAINS = "CONTAINS"
    OBSERVATION_CONTEXT = "HAS OBS CONTEXT"
    ACQUISITION_CONTEXT = "HAS ACQ CONTEXT"
    CONCEPT_MODIFIER = "HAS CONCEPT MOD"
    SELECTED_FROM = "SELECTED FROM"


CONTAINS = Relationship.CONTAINS


def container(
    name: Code,
    items: Iterable[Dataset],
    relationship: Relationship | None = CONTAINS,
    *,
    template: str = "",
    continuity: Literal["CONTINUOUS", "SEPARATE"] = "CONTINUOUS",
) -> Dataset:
    """A CONTAINER.

    Parameters
    ----------
    relationship : Relationship or None
        None for the root of a document.
    template : str
        Number of the template of PS3.16 that begins here; empty where none does.
    continuity : {"CONTINUOUS", "SEPARATE"}
        Whether the items read as one text (PS3.3 C.18.8).
    """
    item = _item("CONTAINER", name, relationship)
    item.ContinuityOfContent = continuity
    if template:
        begun = Dataset()
        begun.MappingResource, begun.TemplateIdentifier = "DCMR", template
        item.ContentTemplateSequence = [begun]
    item.ContentSequence = list(items)
    return item


def coded(name: Code, value: Code, relationship: Relationship = CONTAINS, *, within: Sequence[Dataset] = ()) -> Dataset:
    """A CODE, with the items that modify it."""
    item = _item("CODE", name, relationship)
    item.ConceptCodeSequence = [code_item(value)]
    if within:
        item.ContentSequence = list(within)
    return item


def text(name: Code, value: str, relationship: Relationship = CONTAINS) -> Dataset:
    """A TEXT."""
    item = _item("TEXT", name, relationship)
    item.TextValue = value
    return item


def unique_identifier(name: Code, value: str, relationship: Relationship) -> Dataset:
    """A UIDREF."""
    item = _item("UIDREF", name, relationship)
    item.UID = value
    return item


def person_name(name: Code, value: str, relationship: Relationship) -> Dataset:
    """A PNAME."""
    item = _item("PNAME", name, relationship)
    item.PersonName = value
    return item


def number(name: Code, value: float, unit: Code, relationship: Relationship = CONTAINS) -> Dataset:
    """A NUM; what is not an integer also stands there as it is, since a decimal string has 16 characters at most."""
    measured = Dataset()
    measured.NumericValue = DS(value, auto_format=True)
    if isinstance(value, float):
        measured.FloatingPointValue = value
    measured.MeasurementUnitsCodeSequence = [code_item(unit)]
    item = _item("NUM", name, relationship)
    item.MeasuredValueSequence = [measured]
    return item


def image(name: Code, reference: Dataset, relationship: Relationship = CONTAINS) -> Dataset:
    """An IMAGE.

    Parameters
    ----------
    reference : Dataset
        Item of a Referenced SOP Sequence, as :func:`~dicom_node.results.evidence.reference` makes it.
    """
    item = _item("IMAGE", name, relationship)
    item.ReferencedSOPSequence = [reference]
    return item


def composite(name: Code, reference: Dataset) -> Dataset:
    """A COMPOSITE: an object that is no image; parameters as in :func:`image`."""
    item = _item("COMPOSITE", name, CONTAINS)
    item.ReferencedSOPSequence = [reference]
    return item


def polyline(name: Code, points: Iterable[tuple[float, float]], source: Dataset) -> Dataset:
    """A SCOORD of the points (column, row) of an image (PS3.3 C.18.6).

    Parameters
    ----------
    source : Dataset
        From :func:`image`, that which the points are selected from.
    """
    item = _item("SCOORD", name, CONTAINS)
    item.GraphicType = "POLYLINE"
    item.GraphicData = [coordinate for point in points for coordinate in point]
    item.ContentSequence = [source]
    return item


def _item(value_type: str, name: Code, relationship: Relationship | None) -> Dataset:
    item = Dataset()
    item.ValueType = value_type
    item.ConceptNameCodeSequence = [code_item(name)]
    if relationship is not None:
        item.RelationshipType = relationship.value
    return item
