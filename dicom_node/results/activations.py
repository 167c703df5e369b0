"""What shows where a network looked, as the report refers to it: the whole picture, one segment, one frame.

The report refers to these as Visual explanation (130401, DCM). A segment is not the *Referenced Segmentation Frame*
(121214, DCM) of TID 1410, which the template allows only in place of the outline: viewers draw the outline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ParametricMapStorage, SegmentationStorage

from dicom_node.results.codes import code_item
from triage.findings import Finding


def read_activation(path: Path) -> Dataset | None:
    """As much of a stored segmentation or map as :func:`shown_by` needs, all but its pixels; None if it cannot be read.

    A report must not wait for a file that is damaged or gone: it then refers to the object as a whole.
    """
    try:
        return dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, AttributeError, LookupError, TypeError, ValueError, EOFError, OSError):
        return None


def shown_by(finding: Finding, tracking_uid: str, activations: Iterable[Dataset]) -> Iterator[Dataset]:
    """Items of a Referenced SOP Sequence (PS3.3 Table C.17.3-3) for what shows one finding, down to segment or frame.

    Parameters
    ----------
    tracking_uid : str
        Of the finding in the report; segments have the same.
    activations : iterable of Dataset
        Objects about the finding's image. One that tells nothing about its segments or frames is referred to as a
        whole; one that says nothing about the finding not at all.
    """
    for made in activations:
        item = Dataset()
        item.ReferencedSOPClassUID = str(made.SOPClassUID)
        item.ReferencedSOPInstanceUID = str(made.SOPInstanceUID)
        if made.SOPClassUID == SegmentationStorage and "SegmentSequence" in made:
            segments = [int(s.SegmentNumber) for s in made.SegmentSequence if s.get("TrackingUID") == tracking_uid]
            if not segments:
                continue
            item.ReferencedSegmentNumber = segments
        elif made.SOPClassUID == ParametricMapStorage and "PerFrameFunctionalGroupsSequence" in made:
            frames = list(_frames_about(finding, made))
            if not frames:
                continue
            item.ReferencedFrameNumber = frames
        yield item


def _frames_about(finding: Finding, made: Dataset) -> Iterator[int]:
    """Numbers of the frames of a parametric map that quantify the finding."""
    code = code_item(finding.code)
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence, start=1):
        _, about = frame.RealWorldValueMappingSequence[0].QuantityDefinitionSequence
        if about.ConceptCodeSequence[0] == code:
            yield number
