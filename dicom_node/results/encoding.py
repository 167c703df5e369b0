"""Explicit VR Little Endian (PS3.5 section 7.1.2) for result objects.

pydicom's writer serves every syntax and character set; a report has a thousand small elements of few kinds, all ASCII
or copied as encoded, and is written here in a fifth of the time. Equality with pydicom's writer is tested.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

_TEXT: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_LONG: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
"""VRs with a length of 32 bits (PS3.5 Table 7.1-1)."""

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = b"\xfe\xff\x00\xe0"
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


def encode(dataset: Dataset) -> bytes:
    """Encode the elements in order of their tags; sequences and items with explicit length.

    Raises
    ------
    UnicodeEncodeError
        A text that was set rather than copied is not ASCII, which alone is right in every character set.
    ValueError
        A value is too long for its VR, or of a VR that results do not use.
    """
    return b"".join(_element(dataset.get_item(tag)) for tag in sorted(dataset.keys()))


def _element(element: DataElement | RawDataElement) -> bytes:
    vr = str(element.VR)
    value = _value(element, vr)
    if len(value) % 2:
        value += b" " if vr in _TEXT and vr != "UI" else b"\x00"
    tag = struct.pack("<HH2s", element.tag.group, element.tag.element, vr.encode("ascii"))
    undefined = element.length == _UNDEFINED if isinstance(element, RawDataElement) else element.is_undefined_length
    if undefined:
        return b"".join((tag, struct.pack("<HI", 0, _UNDEFINED), value, _SEQUENCE_END))
    if vr in _LONG:
        return b"".join((tag, struct.pack("<HI", 0, len(value)), value))
    if len(value) > 0xFFFF:
        raise ValueError(f"{element.tag} is too long for its VR {vr}")
    return b"".join((tag, struct.pack("<H", len(value)), value))


def _value(element: DataElement | RawDataElement, vr: str) -> bytes:
    value: Any = element.value
    if isinstance(value, bytes):
        return value
    if vr == "SQ":
        return b"".join(_item(item) for item in value)
    if value is None:
        return b""
    if vr in _TEXT:
        return "\\".join(map(str, _many(value))).encode("ascii")
    if vr in _NUMBERS:
        numbers = _many(value)
        return struct.pack(f"<{len(numbers)}{_NUMBERS[vr]}", *numbers)
    if vr == "AT":
        return b"".join(struct.pack("<HH", *divmod(tag, 0x10000)) for tag in _many(value))
    raise ValueError(f"{element.tag} has VR {vr}, which results do not use")


def _item(item: Dataset) -> bytes:
    content = encode(item)
    return b"".join((_ITEM, struct.pack("<I", len(content)), content))


def _many(value: object) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | PersonName) else [value]
