"""DICOM files (PS3.10): the header we put before received bytes, and where the data set begins in a file of others."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from triage.errors import DicomError
from triage.identifiers import derive_uid

IMPLEMENTATION_CLASS_UID: Final = derive_uid("implementation class", "1")
IMPLEMENTATION_VERSION_NAME: Final = "FIRSTREAD_0.1"

PREAMBLE: Final = bytes(128)
"""Zeros: a preamble may make a file look like a program (CVE-2019-11687)."""

_START: Final = PREAMBLE + b"DICM"
_GROUP_LENGTH: Final = struct.Struct("<HH2sHL")
_LONG_LENGTH: Final = frozenset((b"OB", b"OW", b"UN", b"SQ", b"UT"))


@dataclass(frozen=True, slots=True)
class FileHead:
    """What stands before the data set of a file.

    Attributes
    ----------
    offset : int
        Bytes before the data set.
    transfer_syntax_uid, sop_class_uid, sop_instance_uid, source_ae_title : str
        From the file meta information, "" where it has none.
    """

    offset: int
    transfer_syntax_uid: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    source_ae_title: str = ""


def encode_head(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str = ""
) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 section 7.1) for a data set that follows unchanged.

    Parameters
    ----------
    source_ae_title : str
        (0002,0016): who sent it.
    """
    before, behind = _around_instance(sop_class_uid, transfer_syntax_uid, source_ae_title)
    instance = _short(0x0003, b"UI", sop_instance_uid)
    length = _GROUP_LENGTH.pack(2, 0, b"UL", 4, len(before) + len(instance) + len(behind))
    return b"".join((_START, length, before, instance, behind))


@lru_cache(maxsize=256)
def _around_instance(sop_class_uid: str, transfer_syntax_uid: str, source_ae_title: str) -> tuple[bytes, bytes]:
    """File meta information before and behind the UID of the instance: the same for all that an association sends."""
    before = struct.pack("<HH2sHL", 2, 0x0001, b"OB", 0, 2) + b"\x00\x01" + _short(0x0002, b"UI", sop_class_uid)
    behind = (
        _short(0x0010, b"UI", transfer_syntax_uid),
        _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
        _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        _short(0x0016, b"AE", source_ae_title) if source_ae_title else b"",
    )
    return before, b"".join(behind)


def read_head(data: bytes | memoryview) -> FileHead:
    """Find the data set in the beginning of a file; tolerant of a missing preamble, prefix or meta information.

    Parameters
    ----------
    data : bytes-like
        At least the first 64 KiB of the file, or all of it.

    Raises
    ------
    DicomError
        Neither file meta information nor anything that could be a data set.
    """
    start = 132 if bytes(data[128:132]) == b"DICM" else 0
    position, values = start, {}
    while bytes(data[position : position + 2]) == b"\x02\x00":
        head = bytes(data[position : position + 12])
        if len(head) < 8 or not head[4:6].isalpha():
            raise DicomError("The file meta information is damaged.")
        element = int.from_bytes(head[2:4], "little")
        if head[4:6] in _LONG_LENGTH:
            length, position = int.from_bytes(head[8:12], "little"), position + 12
        else:
            length, position = int.from_bytes(head[6:8], "little"), position + 8
        if position + length > len(data):
            raise DicomError("The file meta information is damaged.")
        values[element] = bytes(data[position : position + length]).decode("ascii", errors="replace").strip("\x00 ")
        position += length
    syntax = values.get(0x0010) or _guess(data[position : position + 8])
    return FileHead(position, syntax, values.get(0x0002, ""), values.get(0x0003, ""), values.get(0x0016, ""))


def _guess(first: bytes | memoryview) -> str:
    """The transfer syntax of a bare data set, from its first element; little endian unless the group says otherwise."""
    head = bytes(first)
    if len(head) < 8:
        raise DicomError("The file holds no data set.")
    if head[:1] == b"\x00" and 0 < head[1] <= 0x20 and head[4:6].isalpha():
        return "1.2.840.10008.1.2.2"
    if not (head[0] or head[1]) or head[1]:
        raise DicomError("The file is not a DICOM file.")
    return "1.2.840.10008.1.2.1" if head[4:6].isalpha() and head[4:6].isupper() else "1.2.840.10008.1.2"


def _short(element: int, vr: bytes, value: str) -> bytes:
    raw = value.encode("ascii")
    if len(raw) % 2:
        raw += b"\x00" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(raw)) + raw
