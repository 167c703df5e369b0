"""From an encoded data set to its index attributes: bounded, tolerant of bad text, strict about identity."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from pydicom.charset import decode_bytes, python_encoding

from dicom_node.elements import Buffer, Walk, walk
from dicom_node.part10 import read_head
from triage.errors import DicomError, IdentifierError
from triage.identifiers import dicom_uid, ward_text
from triage.instances import InstanceHeader

SPECIFIC_CHARACTER_SET: Final = 0x00080005
MAXIMUM_TEXT: Final = 324
"""Characters kept of a text; a person name has three groups of 64 with delimiters, LT is cut for the index."""

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
    fields: dict[str, str] = {}
    for tag, (name, attribute) in _IDENTITY.items():
        fields[name] = _uid(found, tag, attribute)
    encodings = codecs_of(found.values.get(SPECIFIC_CHARACTER_SET, b""))
    for tag, name in _TEXT.items():
        fields[name] = _text(found.values.get(tag, b""), encodings)
    wards = (ward_text(_text(found.values.get(tag, b""), encodings)) for tag in _WARD)
    fields["ward"] = next(filter(None, wards), "")
    for tag, name in _ASCII.items():
        fields[name] = _ascii(found.values.get(tag, b""))
    for tag, name in _CODE_STRING.items():
        # A multi-valued Modality or body part is out of the standard; its first value is the main one.
        fields[name] = _ascii(found.values.get(tag, b"")).partition("\\")[0].strip().upper()[:16]
    order = "big" if transfer_syntax_uid == "1.2.840.10008.1.2.2" else "little"
    numbers = {name: _unsigned(found.values.get(tag, b""), order) for tag, name in _UNSIGNED.items()}
    expected = _integer(_ascii(found.values.get(_NUMBER_OF_STUDY_RELATED_INSTANCES, b"")))
    return InstanceHeader(**fields, **numbers, number_of_study_related_instances=expected)  # type: ignore[arg-type]


def _uid(found: Walk, tag: int, attribute: str) -> str:
    if tag in found.repeated:
        raise DicomError(f"{attribute} occurs twice with different values.")
    try:
        return dicom_uid(found.values.get(tag, b"").decode("ascii", errors="replace"), attribute=attribute)
    except IdentifierError as error:
        raise DicomError(str(error)) from None


def codecs_of(specific_character_set: bytes) -> list[str]:
    """Python codecs of (0008,0005) (PS3.3 C.12.1.1.2); an unknown term counts as not there."""
    terms = specific_character_set.decode("ascii", errors="replace").split("\\")
    known = [python_encoding[term.strip()] for term in terms if term.strip() in python_encoding]
    return known or [python_encoding[""]]


def decoded(value: bytes, character_set: bytes) -> str:
    """An encoded text as :func:`read_header` reads it, under the value of a Specific Character Set (0008,0005)."""
    return _text(value, codecs_of(character_set))


def _text(value: bytes, encodings: list[str]) -> str:
    """Decoded text without control characters and padding, cut to :data:`MAXIMUM_TEXT`."""
    if not value:
        return ""
    if encodings[0] in _BEYOND_ASCII and value.isascii() and (plain := value.decode("ascii")).isprintable():
        return plain.strip()[:MAXIMUM_TEXT]  # almost all of them
    return verbatim(value, encodings).translate(_CONTROL).strip()[:MAXIMUM_TEXT]


def verbatim(value: bytes, encodings: list[str]) -> str:
    """All text of an element under codecs of :func:`codecs_of`, padding and control characters too; never raises.

    Bytes that the declared set does not have are tried as UTF-8 (the most common lie), then as Latin-1.
    """
    if b"\x1b" not in value:
        return _first_that_decodes(value, encodings[0])
    try:
        return decode_bytes(value, encodings, _DELIMITERS).replace(_GB_2312, "")
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


def _ascii(value: bytes) -> str:
    if not value:
        return ""
    text = value.decode("ascii", errors="replace")
    return (text if text.isprintable() else text.translate(_CONTROL)).strip()[:64]


def _unsigned(value: bytes, order: str) -> int | None:
    if len(value) != 2:
        return None
    return int.from_bytes(value, "big" if order == "big" else "little")


def _integer(text: str) -> int | None:
    """An IS value that is a positive count, else None."""
    return int(text) if text.isdecimal() and text.isascii() and 0 < int(text) < 2**31 else None
