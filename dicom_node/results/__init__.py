"""From an analysis to the objects a PACS keeps: a TID 1500 report, heat maps as secondary captures, and more by choice.

No network and no database: data sets and an :class:`~triage.findings.AnalysisResult` go in, data sets come out.
UIDs are derived and the time is given, so a retry rebuilds the same bytes under the same name.

Importing this package is cheap; highdicom, whose code tables weigh 100 MB, is loaded by the first report or by
:func:`warm_up`.
"""

from dicom_node.results.activations import read_activation
from dicom_node.results.assessment import build_assessment
from dicom_node.results.equipment import NodeIdentity
from dicom_node.results.files import write
from dicom_node.results.key_objects import build_key_objects, flagged
from dicom_node.results.parametric_map import build_parametric_map
from dicom_node.results.pdf_report import build_pdf_report
from dicom_node.results.picture import compose_heat_map, draw_overlay
from dicom_node.results.presentation_state import build_presentation_state
from dicom_node.results.recognition import is_own_result
from dicom_node.results.report_pages import pictured
from dicom_node.results.secondary_capture import build_heat_map, read_picture
from dicom_node.results.segmentation import build_segmentation
from dicom_node.results.structured_report import build_report, warm_up

__all__ = [
    "NodeIdentity",
    "build_assessment",
    "build_heat_map",
    "build_key_objects",
    "build_parametric_map",
    "build_pdf_report",
    "build_presentation_state",
    "build_report",
    "build_segmentation",
    "compose_heat_map",
    "draw_overlay",
    "flagged",
    "is_own_result",
    "pictured",
    "read_activation",
    "read_picture",
    "warm_up",
    "write",
]
