"""Data sets of a few known elements, encoded as they go out: the matches of a query.

pydicom takes half a millisecond for one, with Python's lock held while others store images; this takes a twentieth.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.charset import encode_string

from dicom_node.contexts import IMPLICIT_VR_LITTLE_ENDIAN
from dicom_node.header import SPECIFIC_CHARACTER_SET, codecs_of, verbatim

UTF_8: Final = "ISO_IR 192"
_LONG: Final = frozenset({"SQ", "UC", "UR", "UT", "UN", "OB", "OW"})
"""Value representations with a length of four bytes (PS3.5 7.1.2)."""
_TEXT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Those to which Specific Character Set applies (PS3.5 6.1.2.3)."""
_ITEM: Final = 0xFFFEE000
_DELIMITERS: Final = re.compile(r"([\\^=])")

Value = str | Sequence[Sequence["Element"]]
"""Text, several values separated by backslashes; or the items of a sequence."""


@dataclass(frozen=True, slots=True)
class Element:
    """An element to encode; the value of a US is its number as text."""

    tag: int
    vr: str
    value: Value


def encode_match(elements: Sequence[Element], transfer_syntax_uid: str, asked_in: str) -> bytes:
    """Encode elements, and Specific Character Set where their text needs one.

    Parameters
    ----------
    asked_in : str
        Specific Character Set of the question: what its sender can read. Text that this has no signs for, and text
        beyond ASCII where it is the default, is sent in UTF-8.
    """
    character_set = fitting_character_set(_texts(elements), asked_in)
    if character_set:
        elements = (*elements, Element(SPECIFIC_CHARACTER_SET, "CS", character_set))
    implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    return _data_set(elements, implicit, _codecs(character_set))


def fitting_character_set(texts: Sequence[str], asked_in: str) -> str:
    """The Specific Character Set for these texts: none for ASCII, else that of the question if it has all signs."""
    if all(text.isascii() for text in texts):
        return ""
    codecs = _codecs(asked_in)
    return asked_in if asked_in and all(_survives(text, codecs) for text in texts) else UTF_8


def _texts(elements: Sequence[Element]) -> list[str]:
    found: list[str] = []
    for element in elements:
        if not isinstance(element.value, str):
            for item in element.value:
                found += _texts(item)
        elif element.vr in _TEXT:
            found.append(element.value)
    return found


def _codecs(character_set: str) -> list[str]:
    return codecs_of(character_set.encode("ascii", errors="replace"))


def _survives(text: str, codecs: list[str]) -> bool:
    """Whether who decodes the encoded text by the same rules reads what was meant."""
    try:
        return verbatim(_encoded(text, codecs), codecs) == text
    except (UnicodeError, LookupError):
        return False


def _encoded(text: str, codecs: list[str]) -> bytes:
    """The text in the first codec, or each of its components in whichever has its signs (PS3.5 6.1.2.5)."""
    if text.isascii():
        return text.encode()
    if len(codecs) == 1 and not codecs[0].startswith("iso2022"):
        return text.encode(codecs[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return b"".join(encode_string(part, codecs) for part in _DELIMITERS.split(text))
        except UserWarning:
            raise LookupError("no character set of these has all signs") from None


def _data_set(elements: Sequence[Element], implicit: bool, codecs: list[str]) -> bytes:
    ordered = sorted(elements, key=lambda element: element.tag)
    return b"".join(_element(element, implicit, codecs) for element in ordered)


def _element(element: Element, implicit: bool, codecs: list[str]) -> bytes:
    value = element.value
    if not isinstance(value, str):
        raw = b"".join(_item(item, implicit, codecs) for item in value)
    elif element.vr == "US":
        raw = struct.pack("<H", int(value)) if value else b""
    else:
        raw = _encoded(value, codecs) if element.vr in _TEXT else value.encode("ascii", errors="replace")
        if len(raw) % 2:
            raw += b"\0" if element.vr == "UI" else b" "
    group, number = element.tag >> 16, element.tag & 0xFFFF
    if implicit:
        return struct.pack("<HHL", group, number, len(raw)) + raw
    if element.vr in _LONG:
        return struct.pack("<HH2sxxL", group, number, element.vr.encode(), len(raw)) + raw
    return struct.pack("<HH2sH", group, number, element.vr.encode(), len(raw)) + raw


def _item(elements: Sequence[Element], implicit: bool, codecs: list[str]) -> bytes:
    raw = _data_set(elements, implicit, codecs)
    return struct.pack("<HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(raw)) + raw
