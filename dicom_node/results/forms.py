"""Values of a fixed form (PS3.5 Table 6.2-1): as they are when legal, respelled when their meaning is certain."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_FORMS: Final = {
    "AS": re.compile(rb"\d{3}[DWMY]"),
    "CS": re.compile(rb"[A-Z0-9 _]{0,16}"),
    "DS": re.compile(rb" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *"),
    "IS": re.compile(rb" *[+-]?\d{1,10} *"),
    "TM": re.compile(rb"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"),
}
_DATE: Final = re.compile(rb"(\d{4})([.]?)(\d\d)\2(\d\d)")
_OLD_TIME: Final = re.compile(rb"\d\d:\d\d(:\d\d(\.\d{1,6})?)?")
_OFFSET: Final = re.compile(rb"[+-](0\d|1[0-4])[0-5]\d")

_TERMS: Final = {
    "PatientSex": (b"M", b"F", b"O"),
    "PatientIdentityRemoved": (b"YES", b"NO"),
    "QualityControlSubject": (b"YES", b"NO"),
    "PatientSexNeutered": (b"ALTERED", b"UNALTERED"),
    "Laterality": (b"L", b"R"),
    "ImageLaterality": (b"L", b"R", b"U", b"B"),
}
"""Enumerated values of the attributes that results copy."""


def respelled(keyword: str, vr: str, value: bytes) -> bytes | None:
    """The encoded value in a legal form, the same bytes when it is legal; None when nothing certain can be said.

    Text and UIDs always count as legal: see :mod:`dicom_node.results.identity`.
    """
    bare = value.rstrip(b"\x00 ")
    if not bare:
        return b""
    if keyword == "TimezoneOffsetFromUTC":
        return value if _OFFSET.fullmatch(bare) else None
    if vr == "DA":
        return _date(value, bare)
    if vr == "TM" and _OLD_TIME.fullmatch(bare):
        value = bare = bare.replace(b":", b"")
    if keyword in _TERMS and bare not in _TERMS[keyword]:
        return bare.upper() if bare.upper() in _TERMS[keyword] else None
    form = _FORMS.get(vr)
    if form is None or all(form.fullmatch(part.rstrip(b" ")) for part in bare.split(b"\\")):
        return value
    return None


def _date(value: bytes, bare: bytes) -> bytes | None:
    """``YYYYMMDD``; the ACR-NEMA form ``YYYY.MM.DD`` is respelled (PS3.5 Table 6.2-1 asks readers to know it)."""
    match = _DATE.fullmatch(bare)
    if match is None:
        return None
    year, separator, month, day = match.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return None
    return year + month + day if separator else value
