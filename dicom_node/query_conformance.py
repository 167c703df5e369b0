"""The part of the conformance statement about queries: which models are answered, and which attributes of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom.uid import UID

from dicom_node import find_scp
from dicom_node.contexts import MODALITY_WORKLIST_FIND, PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from dicom_node.information_models import (
    IMAGE_LEVEL,
    PATIENT_LEVEL,
    SERIES_LEVEL,
    STUDY_LEVEL,
    WORKLIST,
    Level,
)
from dicom_node.markdown import table

_LEVELS: Final = (
    ("PATIENT level (Patient Root only)", PATIENT_LEVEL),
    ("STUDY level", STUDY_LEVEL),
    ("SERIES level", SERIES_LEVEL),
    ("IMAGE level", IMAGE_LEVEL),
    ("Modality Worklist", WORKLIST),
)
_ABOUT: Final = """
Queries are hierarchical, without extended negotiation. Matches come in the order of the reading list:
open cases first, as the page shows them, behind them (not in the worklist) read ones, the latest first. Requested
Procedure Priority (0040,1003) is the case's class (STAT; HIGH for URGENT; ROUTINE), Requested Procedure Comments
(0040,1400) why it has it. Nothing can be retrieved from this node: Instance Availability is UNAVAILABLE.

The Modality Worklist is the open reading list: each case is a scheduled procedure step of reading, due at Scheduled
Procedure Step Start Date and Time, in the time zone of the site (`time_zone`). Date and time ranges there are one
period (PS3.4 Table K.6-1); in the other models they are matched apart. Who claims a case is its Scheduled Performing
Physician's Name. A case may be read anywhere: Scheduled Station AE Title matches whatever is asked.

Person names match without regard to case, as a whole or in any of their component groups; other text as it is written.
Text beyond ASCII is answered in the Specific Character Set of the query where that has all signs, else in ISO_IR 192.
"""


def query_services() -> str:
    """The section as Markdown."""
    return "\n".join(
        (
            "## Queries answered (provider)\n",
            table(
                ("SOP class", "UID", "service that a peer needs"),
                (
                    (UID(STUDY_ROOT_FIND).name, STUDY_ROOT_FIND, "find"),
                    (UID(PATIENT_ROOT_FIND).name, PATIENT_ROOT_FIND, "find"),
                    (UID(MODALITY_WORKLIST_FIND).name, MODALITY_WORKLIST_FIND, "worklist"),
                ),
            ),
            _ABOUT,
            *(
                part
                for title, level in _LEVELS
                for part in (f"### Attributes of queries: {title}\n", _attributes(level))
            ),
            "### Statuses of C-FIND\n",
            "\n".join(line for line in (find_scp.__doc__ or "").splitlines() if line.startswith("|")),
            "",
        )
    )


def _attributes(level: Level) -> str:
    return table(("attribute", "tag", "VR", "matching"), _rows(level)) + "\n"


def _rows(level: Level, nesting: str = "") -> Iterator[tuple[str, str, str, str]]:
    for attribute in level.values():
        tag = f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})"
        matching = "sequence" if attribute.items else _MATCHING.get(attribute.vr, "single value, wildcard")
        yield nesting + attribute.name, tag, attribute.vr, matching if attribute.matched else "answered only"
        if attribute.items:
            yield from _rows(attribute.items, nesting + "> ")


_MATCHING: Final = {
    "UI": "single value, list",
    "DA": "single value, range",
    "TM": "single value, range",
    "IS": "single value",
    "AS": "single value",
}
