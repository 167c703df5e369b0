"""Loop prevention: our own results come back by auto-routing and prefetch and must never be analysed."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from dicom_node.results.identity import SourceHeader
from dicom_node.results.wording import LABEL, PRODUCT


def is_own_result(header: Dataset) -> bool:
    """Whether the header is of an object that a firstread node made, or made from one.

    True when the equipment or a contributing equipment is firstread, or the series description starts as ours do.
    Never raises: an unreadable header is not one of ours.
    """
    source = SourceHeader(header)
    if source.text("SeriesDescription").startswith(LABEL):
        return True
    return any(
        PRODUCT in (item.text("Manufacturer"), item.text("ManufacturerModelName"))
        or item.text("ContributionDescription").startswith(LABEL)
        for item in _equipment(source)
    )


def _equipment(source: SourceHeader) -> Iterator[SourceHeader]:
    yield source
    yield from (SourceHeader(item) for item in source.items("ContributingEquipmentSequence"))
