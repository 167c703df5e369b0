"""What a site may change in an HL7 v2 message: fields of constants and named facts, checked when settings are read.

``"OBR-32" = "AI&{bundle}"`` sets field 32 of OBR; ``"score:OBX-8" = ""`` empties OBX-8 of one observation. In the
constant parts ``^ & ~`` separate components, subcomponents and repetitions; in a fact they are escaped, so a name with
``^`` in it stays a name. There is nothing else: no expressions, no conditions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Final, NamedTuple

FACTS: Final[Mapping[str, str]] = {
    "accession_number": "Accession Number (0008,0050)",
    "admission_id": "Admission ID (0038,0010)",
    "algorithm": "name and version of the bundle",
    "body_part": "Body Part Examined (0018,0015)",
    "bundle": "name of the bundle",
    "bundle_version": "version of the bundle",
    "character_set": "MSH-18 as set for the destination",
    "control_id": "MSH-10: the same whenever this message is sent",
    "created_at": "when the result was made, with its zone",
    "device_uid": "UID of the algorithm as a device (0018,1002)",
    "diagnostic_section": "table 0074: CT, NMR, NMS, RUS, else RAD",
    "disclaimer": "the bundle's disclaimer",
    "filler_order_number": "(0040,2017) of the request, else the accession number",
    "issuer_of_patient_id": "Issuer of Patient ID (0010,0021)",
    "left_out": "how many images were not analysed, and why",
    "modality": "Modality (0008,0060)",
    "node": "AE title of this node",
    "notice": "that a machine says so and nobody has verified it, and the disclaimer",
    "patient_birth_date": "Patient's Birth Date (0010,0030)",
    "patient_id": "Patient ID (0010,0020)",
    "patient_identifier": "PID-3 as a whole (CX)",
    "patient_name": "PID-5 as a whole (XPN), ideographic and phonetic groups as repetitions",
    "patient_sex": "M, F, O, or U",
    "placer_order_number": "(0040,2016) of the request",
    "predecessor_uid": "SOP Instance UID of the report that this result replaces",
    "processing_id": "MSH-11 as set for the destination",
    "receiving_application": "MSH-5 as set for the destination",
    "receiving_facility": "MSH-6 as set for the destination",
    "referring_physician": "Referring Physician's Name (0008,0090) as XCN",
    "report_uid": "SOP Instance UID of the DICOM report",
    "requested_procedure_id": "Requested Procedure ID (0040,1001)",
    "requesting_physician": "Requesting Physician (0032,1032) as XCN, else the referring one",
    "revision": "1 for the first result, one more for each re-run",
    "scheduled_step_id": "Scheduled Procedure Step ID (0040,0009)",
    "sending_application": "MSH-3 as set for the destination",
    "sending_facility": "MSH-4 as set for the destination",
    "status": "P, or C for a result that replaces an earlier one",
    "study_description": "Study Description (0008,1030)",
    "study_id": "Study ID (0020,0010)",
    "study_instance_uid": "Study Instance UID (0020,000D)",
    "study_time": "Study Date and Time, with the zone where the source says it",
    "summary": "the first sentence of the DICOM report",
    "universal_service": "OBR-4: the requested procedure's code, else that of the performed one, else LOINC 18748-4",
    "urgency": "STAT, URGENT or ROUTINE",
    "urgency_code": "the same as a code of table 0485 (S, A, R)",
}
"""Named facts of a message, and what each is."""

OBSERVATION_FACTS: Final[Mapping[str, str]] = {
    "abnormal_flag": "table 0078: AA for a positive finding that is STAT or URGENT, A for another positive one, N",
    "equipment": "the algorithm as EI",
    "finding": "the finding as a coded element",
    "finding_key": "the finding's name in the bundle",
    "image_uid": "SOP Instance UID of the image where the finding scores highest",
    "laterality": "the side of the site as a coded element, where the bundle knows it",
    "method": "bundle and version as a coded element",
    "presence": "Present or Absent (DCM 121053, 121054)",
    "range": "scores below the threshold: `<0.6000`",
    "score": "the score, with four decimals or more",
    "score_code": "what the score is: DCM 122157 Probability, or a local code where it is none",
    "set_id": "OBX-1",
    "site": "anatomic site as a coded element",
    "sub_id": "OBX-4: the number of the finding",
    "threshold": "the operating point",
}
"""Facts of one OBX; those of a finding are empty in the others."""

OBSERVATIONS: Final = ("study", "summary", "urgency", "predecessor", "presence", "laterality", "score", "image")
"""What an OBX can be about. The last four stand together for each finding."""

PLACES: Final = ("MSH", "PID", "PD1", "PV1", "PV2", "ORC", "OBR", "NTE", "TQ1", "OBX")
"""Segments of the message in their order (HL7 v2.5.1 chapter 7, ORU^R01); segments of a site (Z..) stand at the end."""
REQUIRED: Final = frozenset(("MSH", "PID", "OBR", "OBX"))

_PLACE: Final = re.compile(r"(?:(?P<observation>[a-z]+):)?(?P<segment>[A-Z][A-Z0-9]{2})-(?P<field>[1-9][0-9]?)")
_FIXED: Final = frozenset((("MSH", 1), ("MSH", 2), ("MSH", 9), ("MSH", 10), ("MSH", 18)))
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f|\\]")


class Place(NamedTuple):
    """A field of a segment; ``observation`` is "" or one of :data:`OBSERVATIONS`."""

    segment: str
    field: int
    observation: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A constant, or the name of a fact."""

    text: str
    is_fact: bool


def place(text: str) -> Place:
    """Read ``OBR-32`` or ``score:OBX-8``.

    Raises
    ------
    ValueError
        No such place, or one that firstread fills itself.
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no field: write SEG-number, such as OBR-32 or score:OBX-8")
    found = Place(match["segment"], int(match["field"]), match["observation"] or "")
    if found.segment not in PLACES and not found.segment.startswith("Z"):
        raise ValueError(f"{text!r}: this message has {', '.join(PLACES)} and segments that begin with Z")
    if found.observation and (found.segment != "OBX" or found.observation not in OBSERVATIONS):
        raise ValueError(f"{text!r}: before OBX may stand one of {', '.join(OBSERVATIONS)}")
    if (found.segment, found.field) in _FIXED:
        raise ValueError(f"{text!r} is filled by firstread and cannot be set")
    return found


def pieces(text: str, *, of_observation: bool = False) -> tuple[Piece, ...]:
    """Read a field's text: constants and ``{facts}``.

    Raises
    ------
    ValueError
        An unknown fact, a format or an index, or characters that would end the field.

    Example
    -------
    >>> [piece.text for piece in pieces("RAD^{node}")]
    ['RAD^', 'node']
    """
    known = FACTS.keys() | OBSERVATION_FACTS.keys() if of_observation else FACTS.keys()
    found: list[Piece] = []
    try:
        parsed = list(Formatter().parse(text))
    except ValueError:
        raise ValueError(
            f"{text!r}: a brace is not closed; write {{{{ and }}}} for braces that mean themselves"
        ) from None
    for constant, name, spec, conversion in parsed:
        if _UNFIT.search(constant):
            raise ValueError(f"{text!r} holds '|', a backslash or a control character, which would end the field")
        if constant:
            found.append(Piece(constant, is_fact=False))
        if name is None:
            continue
        if spec or conversion or name not in known:
            raise ValueError(f"{text!r}: {{{name}}} is no fact; these are: {', '.join(sorted(known))}")
        found.append(Piece(name, is_fact=True))
    return tuple(found)
