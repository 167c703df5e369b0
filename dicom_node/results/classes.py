"""SOP classes of what we make, for whoever has to name them without making one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from triage.profiles import ResultKind

SOP_CLASS: Final[Mapping[ResultKind, str]] = {
    ResultKind.REPORT: Comprehensive3DSRStorage,
    ResultKind.HEAT_MAP: SecondaryCaptureImageStorage,
    ResultKind.SEGMENTATION: SegmentationStorage,
    ResultKind.PARAMETRIC_MAP: ParametricMapStorage,
    ResultKind.PRESENTATION_STATE: GrayscaleSoftcopyPresentationStateStorage,
    ResultKind.PDF: EncapsulatedPDFStorage,
    ResultKind.KEY_OBJECTS: KeyObjectSelectionDocumentStorage,
}
"""By kind of result; the test of the object matrix holds what is built against it."""
