"""The IHE integration statement: which actors of which profiles the node follows, and by which transactions.

It *follows* the profiles: nobody has tested it at a Connectathon, and the supplements are for trial implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydicom.uid import UID

from dicom_node import contexts
from dicom_node.markdown import table
from dicom_node.results.classes import SOP_CLASS
from triage.profiles import ResultKind

_PRIMITIVES: Final[Mapping[str, tuple[ResultKind, ...]]] = {
    "Qualitative findings": (ResultKind.REPORT,),
    "Measurements (probability of a finding)": (ResultKind.REPORT,),
    "Locations (outline on the image)": (ResultKind.REPORT,),
    "Regions": (ResultKind.SEGMENTATION,),
    "Parametric maps (images with a frame of reference)": (ResultKind.PARAMETRIC_MAP,),
    "Tracking identifiers": (ResultKind.REPORT, ResultKind.SEGMENTATION),
    "Image references": (ResultKind.KEY_OBJECTS,),
}
"""Result primitives of AI Results, by the kinds of object that carry them."""


def integration_statement() -> str:
    """The statement as Markdown."""
    commitment = UID(contexts.STORAGE_COMMITMENT).name
    return "\n".join(
        (
            "# IHE integration statement\n",
            "The product follows these profiles of IHE Radiology (trial implementation: AI Results Rev. 1.3, AI "
            "Workflow for Imaging Rev. 1.1). It claims no conformance: it has not been to a Connectathon.\n",
            table(
                ("profile", "actor", "transactions"),
                (
                    (
                        "AI Results (AIR)",
                        "Evidence Creator",
                        f"Creator Images or Evidence Stored by C-STORE (RAD-43) or STOW-RS (RAD-108); {commitment} "
                        "(RAD-10)",
                    ),
                    (
                        "AI Workflow for Imaging (AIW-I)",
                        "Task Performer (pull workflow, by polling)",
                        "Query UPS Workitems (RAD-81), Claim (RAD-82), Get (RAD-83), Update (RAD-84), Complete "
                        "(RAD-85); not: Open Event Channel (RAD-109), Notify (RAD-87)",
                    ),
                ),
            ),
            "\n## Result primitives of AIR\n",
            table(
                ("primitive", "carried by"),
                (
                    (primitive, "; ".join(f"{UID(SOP_CLASS[kind]).name} ({kind})" for kind in kinds))
                    for primitive, kinds in _PRIMITIVES.items()
                ),
            ),
            "\nSecondary captures, presentation states and PDF documents are sent beside these where a site wants "
            "them, never instead: they say nothing to a machine.\n",
        )
    )
