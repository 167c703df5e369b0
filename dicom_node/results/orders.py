"""Which order a document answers to."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from dicom_node.results.identity import SourceHeader

_ASKED: Final = (
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)


def referenced_requests(source: SourceHeader) -> list[Dataset]:
    """Items of Referenced Request Sequence (PS3.3 Table C.17-2); none where the modality was told of no order."""
    return [_item(source, item) for item in source.items("RequestAttributesSequence")]


def _item(source: SourceHeader, request: Dataset) -> Dataset:
    item, asked = Dataset(), SourceHeader(request)
    item.set_original_encoding(False, True)
    for keyword in _ASKED:
        holder = asked if keyword in request else source
        if not holder.copy(keyword, item):
            setattr(item, keyword, "")
    source.copy("StudyInstanceUID", item)
    item.ReferencedStudySequence = []
    item.RequestedProcedureCodeSequence = []
    return item
