"""Content items that reports and assessments are made of (PS3.3 C.17.3), in highdicom's classes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from highdicom import sr
from highdicom.sr.value_types import ContentSequence
from pydicom.dataset import Dataset

from dicom_node.results import codes
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.wording import plain
from triage.findings import Code, Laterality

CONTAINS: Final = sr.RelationshipTypeValues.CONTAINS


def device_observer(node: NodeIdentity) -> sr.ObserverContext:
    """TID 1002 and 1004: the node. A person observes only in an assessment."""
    return sr.ObserverContext(
        concept(codes.DEVICE),
        sr.DeviceObserverIdentifyingAttributes(
            uid=node.device_uid,
            name=plain(node.name, 64),
            manufacturer_name=plain(node.manufacturer, 64),
            model_name=plain(node.model_name, 64),
            serial_number=plain(node.name, 64),
        ),
    )


def finding_site(site: Code, laterality: Laterality | None) -> sr.FindingSite:
    side = None if laterality is None else concept(codes.SIDES[laterality])
    return sr.FindingSite(concept(site), laterality=side)


def image_library(images: Iterable[Dataset], silent: Iterable[Dataset] = ()) -> sr.ContainerContentItem:
    """TID 1600; OHIF cannot open a report without one.

    Parameters
    ----------
    images : iterable of Dataset
        From :func:`~dicom_node.results.evidence.library_header`.
    silent : iterable of Dataset
        Items of :func:`~dicom_node.results.evidence.reference`: images that are listed without description.
    """
    entries = []
    for image in images:
        entry = _library_entry(image.SOPClassUID, image.SOPInstanceUID)
        # A SOP class that highdicom does not know as an image is listed without description.
        with suppress(KeyError, ValueError):
            entry.ContentSequence = ContentSequence(sr.ImageLibraryEntryDescriptors(image))
        entries.append(entry)
    for item in silent:
        entries.append(_library_entry(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID))
    return container(codes.IMAGE_LIBRARY, [container(codes.IMAGE_LIBRARY_GROUP, entries)])


def _library_entry(sop_class_uid: str, sop_instance_uid: str) -> sr.ImageContentItem:
    return sr.ImageContentItem(
        name=concept(codes.SOURCE),
        referenced_sop_class_uid=sop_class_uid,
        referenced_sop_instance_uid=sop_instance_uid,
        relationship_type=CONTAINS,
    )


def code_item(name: Code, value: Code, relationship: sr.RelationshipTypeValues = CONTAINS) -> sr.CodeContentItem:
    return sr.CodeContentItem(name=concept(name), value=concept(value), relationship_type=relationship)


def text_item(name: Code, text: str, relationship: sr.RelationshipTypeValues = CONTAINS) -> sr.TextContentItem:
    return sr.TextContentItem(name=concept(name), value=text, relationship_type=relationship)


def set_class(item: sr.ImageContentItem, image: Dataset) -> None:
    """Refer to the image by its own SOP class: highdicom's constructors take none that its tables do not list."""
    item.ReferencedSOPSequence[0].ReferencedSOPClassUID = image.SOPClassUID


def container(name: Code, items: Iterable[Dataset]) -> sr.ContainerContentItem:
    item = sr.ContainerContentItem(name=concept(name), relationship_type=CONTAINS)
    item.ContentSequence = ContentSequence(items)
    return item


def presence(positive: bool) -> sr.CodedConcept:
    return concept(codes.PRESENT if positive else codes.ABSENT)


def concept(code: Code) -> sr.CodedConcept:
    return sr.CodedConcept(plain(code.value), plain(code.scheme, 16), plain(code.meaning, 64))
