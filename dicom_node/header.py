"""From an encoded data set to its index attributes: bounded, tolerant of bad text, strict about identity."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydicom.charset import decode_bytes, python_encoding

from dicom_node.contexts import EXPLICIT_VR_BIG_ENDIAN
from dicom_node.elements import Buffer, Walk, walk
from dicom_node.part10 import read_head
from triage.errors import DicomError, IdentifierError
from triage.identifiers import dicom_uid, ward_text
from triage.instances import InstanceHeader

SPECIFIC_CHARACTER_SET: Final = 0x00080005
MAXIMUM_TEXT: Final = 324
"""Characters kept of a text; a person name has three groups of 64 with delimiters, LT is cut for the index."""
_REMEMBERED: Final = 512
"""Values of which the text is remembered: the images of a series have all but a few in common."""

_IDENTITY: Final = {
    0x0020000D: ("study_instance_uid", "StudyInstanceUID (0020,000D)"),
    0x0020000E: ("series_instance_uid", "SeriesInstanceUID (0020,000E)"),
    0x00080018: ("sop_instance_uid", "SOPInstanceUID (0008,0018)"),
    0x00080016: ("sop_class_uid", "SOPClassUID (0008,0016)"),
}
_TEXT: Final = {
    0x00100010: "patient_name",
    0x00100020: "patient_id",
    0x00100021: "issuer_of_patient_id",
    0x00080050: "accession_number",
    0x00200010: "study_id",
    0x00081030: "study_description",
    0x00080090: "referring_physician_name",
    0x0008103E: "series_description",
    0x00080070: "manufacturer",
    0x00081090: "manufacturer_model_name",
    0x00081010: "station_name",
}
_WARD: Final = (0x00380300, 0x00321033)
"""Current Patient Location (PS3.3 C.3.3), where the patient is known to be; else Requesting Service (C.7.2.1), the
ward or unit where the request began. Institutional Department Name (0008,1040) is the department of the equipment
(C.7.5.1) and Requested Procedure Location (0040,1005) the room of the examination (C.4.11): no wards."""
_ASCII: Final = {
    0x00100030: "patient_birth_date",
    0x00101010: "patient_age",
    0x00080020: "study_date",
    0x00080030: "study_time",
    0x00200011: "series_number",
    0x00200013: "instance_number",
}
_CODE_STRING: Final = {
    0x00080060: "modality",
    0x00100040: "patient_sex",
    0x00180015: "body_part_examined",
    0x00185101: "view_position",
    0x00401003: "requested_procedure_priority",
}
_UNSIGNED: Final = {0x00280010: "rows", 0x00280011: "columns"}
_NUMBER_OF_STUDY_RELATED_INSTANCES: Final = 0x00201208

_WANTED: Final = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        _NUMBER_OF_STUDY_RELATED_INSTANCES,
        *_IDENTITY,
        *_TEXT,
        *_WARD,
        *_ASCII,
        *_CODE_STRING,
        *_UNSIGNED,
    }
)
_GB_2312: Final = "\x1b$)A"
"""The escape sequence of ISO 2022 IR 58, which pydicom 3.0 takes note of and leaves in the text."""
_DELIMITERS: Final = set(b"\r\n\t\f\\^=")  # each switches back to the first character set (PS3.5 6.1.2.5.3)
_DIRECTION: Final = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that turn the direction of what stands behind them: a name could rewrite the line it is shown in."""
_BEYOND_ASCII: Final = frozenset(python_encoding[term] for term in ("", "ISO_IR 6", "ISO_IR 100", "ISO_IR 192"))
"""Codecs in which a byte below 128 is the ASCII character."""
_CONTROL: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), *_DIRECTION, 0x2028, 0x2029, 0xFEFF))


def read_header(source: Path | bytes, transfer_syntax_uid: str = "") -> InstanceHeader:
    """Read the index attributes of an instance.

    Parameters
    ----------
    source : Path or bytes
        A DICOM file, or an encoded data set without file meta information.
    transfer_syntax_uid : str
        Needed for bytes; overrides a file's own.

    Raises
    ------
    DicomError
        The data set cannot be walked, or one of the four identifying UIDs is missing, contradictory or not a UID.
        Names the attribute and never a value.
    OSError
        The file cannot be read.
    """
    if isinstance(source, bytes):
        return parse(source, transfer_syntax_uid)
    with source.open("rb") as file:
        if not source.stat().st_size:
            raise DicomError("The file is empty.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            head = read_head(data[: 64 * 1024])
            return parse(data, transfer_syntax_uid or head.transfer_syntax_uid, start=head.offset)


def parse(data: Buffer, transfer_syntax_uid: str, *, start: int = 0, size: int | None = None) -> InstanceHeader:
    """:func:`read_header` for a data set that begins at ``start`` of a buffer.

    With ``size``, the buffer is only the front of a data set of so many bytes; see :func:`dicom_node.elements.walk`.
    """
    found = walk(data, transfer_syntax_uid, _WANTED, start=start, size=size)
    values = found.values
    fields: dict[str, Any] = {name: _uid(found, tag, attribute) for tag, (name, attribute) in _IDENTITY.items()}
    encodings = _codecs(values.get(SPECIFIC_CHARACTER_SET, b""))
    for tag, value in values.items():
        if tag in _TEXT:
            fields[_TEXT[tag]] = _text(value, encodings)
        elif tag in _ASCII:
            fields[_ASCII[tag]] = _ascii(value)
        elif tag in _CODE_STRING:
            fields[_CODE_STRING[tag]] = _code(value)
        elif tag in _UNSIGNED:
            fields[_UNSIGNED[tag]] = _unsigned(value, transfer_syntax_uid)
        elif tag == _NUMBER_OF_STUDY_RELATED_INSTANCES:
            fields["number_of_study_related_instances"] = _integer(_ascii(value))
    wards = [ward_text(_text(values[tag], encodings)) for tag in _WARD if tag in values]
    fields["ward"] = next(filter(None, wards), "")
    return InstanceHeader(**fields)


def _uid(found: Walk, tag: int, attribute: str) -> str:
    if tag in found.repeated:
        raise DicomError(f"{attribute} occurs twice with different values.")
    try:
        return _checked_uid(found.values.get(tag, b""), attribute)
    except IdentifierError as error:
        raise DicomError(str(error)) from None


@lru_cache(maxsize=_REMEMBERED)
def _checked_uid(value: bytes, attribute: str) -> str:
    return dicom_uid(value.decode("ascii", errors="replace"), attribute=attribute)


def codecs_of(specific_character_set: bytes) -> list[str]:
    """Python codecs of (0008,0005) (PS3.3 C.12.1.1.2); an unknown term counts as not there."""
    return list(_codecs(specific_character_set))


@lru_cache(maxsize=_REMEMBERED)
def _codecs(specific_character_set: bytes) -> tuple[str, ...]:
    terms = specific_character_set.decode("ascii", errors="replace").split("\\")
    known = [python_encoding[term.strip()] for term in terms if term.strip() in python_encoding]
    return tuple(known) or (python_encoding[""],)


def decoded(value: bytes, character_set: bytes) -> str:
    """An encoded text as :func:`read_header` reads it, under the value of a Specific Character Set (0008,0005)."""
    return _text(value, _codecs(character_set))


@lru_cache(maxsize=_REMEMBERED)
def _text(value: bytes, encodings: tuple[str, ...]) -> str:
    """Decoded text without control characters and padding, cut to :data:`MAXIMUM_TEXT`."""
    if not value:
        return ""
    if encodings[0] in _BEYOND_ASCII and value.isascii() and (plain := value.decode("ascii")).isprintable():
        return plain.strip()[:MAXIMUM_TEXT]  # almost all of them
    return verbatim(value, encodings).translate(_CONTROL).strip()[:MAXIMUM_TEXT]


def verbatim(value: bytes, encodings: Sequence[str]) -> str:
    """All text of an element under codecs of :func:`codecs_of`, padding and control characters too; never raises.

    Bytes that the declared set does not have are tried as UTF-8 (the most common lie), then as Latin-1.
    """
    if b"\x1b" not in value:
        return _first_that_decodes(value, encodings[0])
    try:
        return decode_bytes(value, list(encodings), _DELIMITERS).replace(_GB_2312, "")
    except (UnicodeError, LookupError, Warning):
        return value.decode("latin-1")


def _first_that_decodes(value: bytes, encoding: str) -> str:
    candidates = ("utf-8", "latin-1") if encoding == python_encoding[""] else (encoding, "utf-8", "latin-1")
    for candidate in candidates:
        try:
            return value.decode(candidate)
        except UnicodeError:
            continue
    return ""  # not reached: latin-1 decodes anything


@lru_cache(maxsize=_REMEMBERED)
def _ascii(value: bytes) -> str:
    text = value.decode("ascii", errors="replace")
    return (text if text.isprintable() else text.translate(_CONTROL)).strip()[:64]


@lru_cache(maxsize=_REMEMBERED)
def _code(value: bytes) -> str:
    """A multi-valued Modality or body part is out of the standard; its first value is the main one."""
    return _ascii(value).partition("\\")[0].strip().upper()[:16]


@lru_cache(maxsize=_REMEMBERED)
def _unsigned(value: bytes, transfer_syntax_uid: str) -> int | None:
    if len(value) != 2:
        return None
    return int.from_bytes(value, "big" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "little")


def _integer(text: str) -> int | None:
    """An IS value that is a positive count, else None."""
    return int(text) if text.isdecimal() and text.isascii() and 0 < int(text) < 2**31 else None
