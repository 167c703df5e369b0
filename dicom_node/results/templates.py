"""What reports and assessments have in common, after the templates of PS3.16."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from dicom_node.results import codes
from dicom_node.results.content_items import (
    Relationship,
    coded,
    container,
    person_name,
    text,
    unique_identifier,
)
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.wording import plain
from triage.findings import Code, Finding, Laterality

_OBSERVATION = Relationship.OBSERVATION_CONTEXT
_MODIFIER = Relationship.CONCEPT_MODIFIER


def measurement_report(
    observer: Iterable[Dataset], library: Dataset, groups: Iterable[Dataset], rest: Iterable[Dataset]
) -> Dataset:
    """TID 1500: the root, "Imaging Measurement Report", which viewers open.

    Parameters
    ----------
    observer : iterable of Dataset
        From :func:`device_observer` or :func:`person_observer`.
    library : Dataset
        From :func:`~dicom_node.results.image_library.image_library`.
    groups : iterable of Dataset
        From :func:`measurement_group`, at least one.
    rest : iterable of Dataset
        What follows the measurements.
    """
    return container(
        codes.IMAGING_MEASUREMENT_REPORT,
        [
            coded(codes.LANGUAGE, codes.ENGLISH, _MODIFIER),
            *observer,
            coded(codes.PROCEDURE_REPORTED, codes.IMAGING_PROCEDURE, _MODIFIER),
            library,
            container(codes.IMAGING_MEASUREMENTS, groups),
            *rest,
        ],
        None,
        template="1500",
    )


def measurement_group(template: str, items: Iterable[Dataset]) -> Dataset:
    """TID 1501, or 1410 of which the group has a region."""
    return container(codes.MEASUREMENT_GROUP, items, template=template)


def device_observer(node: NodeIdentity) -> list[Dataset]:
    """TID 1002 and 1004: the node. A person observes only in an assessment."""
    return [
        coded(codes.OBSERVER_TYPE, codes.DEVICE, _OBSERVATION),
        unique_identifier(codes.DEVICE_UID, node.device_uid, _OBSERVATION),
        text(codes.DEVICE_NAME, plain(node.name, 64), _OBSERVATION),
        text(codes.DEVICE_MANUFACTURER, plain(node.manufacturer, 64), _OBSERVATION),
        text(codes.DEVICE_MODEL_NAME, plain(node.model_name, 64), _OBSERVATION),
        text(codes.DEVICE_SERIAL_NUMBER, plain(node.name, 64), _OBSERVATION),
    ]


def person_observer(person: str) -> list[Dataset]:
    """TID 1002 and 1003: the person, by the name that they sign in with."""
    name = plain(person, 64).replace("=", " ")
    return [
        coded(codes.OBSERVER_TYPE, codes.PERSON, _OBSERVATION),
        person_name(codes.PERSON_NAME, name if "^" in name else f"{name}^", _OBSERVATION),
        text(codes.PERSON_LOGIN_NAME, name, _OBSERVATION),
    ]


def tracking(identifier: str, uid: str) -> list[Dataset]:
    """TID 1501 rows 2 and 3: what the group is about, the same in every report about it."""
    return [
        text(codes.TRACKING_IDENTIFIER, identifier, _OBSERVATION),
        unique_identifier(codes.TRACKING_UID, uid, _OBSERVATION),
    ]


def finding_sites(finding: Finding) -> Sequence[Dataset]:
    """TID 1419 rows 2 and 3: none where the bundle names no site."""
    if finding.site is None:
        return ()
    return (coded(codes.FINDING_SITE, finding.site, _MODIFIER, within=side(finding.laterality)),)


def side(laterality: Laterality | None) -> Sequence[Dataset]:
    """The item that modifies a finding or a site; none where the side is not known."""
    return () if laterality is None else (coded(codes.LATERALITY, codes.SIDES[laterality], _MODIFIER),)


def presence(positive: bool) -> Code:
    return codes.PRESENT if positive else codes.ABSENT
