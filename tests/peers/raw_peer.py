"""A DICOM peer that sends exactly the bytes a test wants, and small data sets to send."""

from __future__ import annotations

import io
import socket
import struct
from pathlib import Path
from typing import Self

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicom_node import dimse
from dicom_node.negotiation import ProposedContext, encode_request

CR = "1.2.840.10008.5.1.4.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
PIECE = 500_000
"""Bytes of a data set that go into one PDU."""


def radiograph(uid: str = "1.2.3.4", **attributes: object) -> Dataset:
    """A small CR image of an invented patient."""
    dataset = Dataset()
    dataset.SOPClassUID = CR
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = "1.2.3.1"
    dataset.SeriesInstanceUID = "1.2.3.2"
    dataset.Modality = "CR"
    dataset.PatientName = "ZZCANARY^PATIENT"
    dataset.PatientID = "ZZ-0815"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = 16
    dataset.Columns = 16
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(range(256)) * 2
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset, transfer_syntax: str = EXPLICIT) -> bytes:
    """The data set as bytes, without preamble and file meta information."""
    whole = part10_file(dataset, transfer_syntax)
    meta_length = int.from_bytes(whole[140:144], "little")
    return whole[144 + meta_length :]


def part10_file(dataset: Dataset, transfer_syntax: str = EXPLICIT) -> bytes:
    """The data set as a DICOM file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element in Explicit VR Little Endian with a short length."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


class RawPeer:
    """A requestor that sends exactly the bytes a test wants."""

    def __init__(self, port: int, *, source: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def associate(
        self, *contexts: tuple[str, str], calling: str = "RAW", called: str = "NODE", maximum: int = 16384
    ) -> tuple[int, bytes]:
        """Propose contexts, ids 1, 3, 5...; returns type and body of the answer."""
        wanted = contexts or ((CR, EXPLICIT),)
        proposed = [ProposedContext(2 * n + 1, abstract, (syntax,)) for n, (abstract, syntax) in enumerate(wanted)]
        request = encode_request("RAW", "NODE", proposed, maximum)
        titles = called.ljust(16).encode("latin-1") + calling.ljust(16).encode("latin-1")  # odd ones too
        self.send(request[:10] + titles + request[42:])
        return self.receive()

    def receive(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b"") when the connection was closed."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        return head[0], self._exactly(int.from_bytes(head[2:6], "big"))

    def command(self, data: bytes, *, context_id: int = 1, last: bool = True) -> None:
        self.send(pdata(context_id, 3 if last else 1, data))

    def data_set(self, data: bytes, *, context_id: int = 1, last: bool = True) -> None:
        self.send(pdata(context_id, 2 if last else 0, data))

    def store(
        self, data: bytes, *, sop_class: str = CR, sop_instance: str = "1.2.3.4", context_id: int = 1
    ) -> dimse.CommandSet:
        """A whole C-STORE; returns the response's command set."""
        self.command(dimse.store_request(1, sop_class, sop_instance), context_id=context_id)
        for start in range(0, max(1, len(data)), PIECE):
            self.data_set(data[start : start + PIECE], context_id=context_id, last=start + PIECE >= len(data))
        return self.response()

    def response(self) -> dimse.CommandSet:
        kind, body = self.receive()
        assert kind == 4, f"PDU type {kind} instead of a response"
        return dimse.decode(body[6:])

    def release(self) -> int:
        self.send(struct.pack(">BxLxxxx", 5, 4))
        return self.receive()[0]

    def is_closed(self) -> bool:
        """True once the other side has closed."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                piece = self.sock.recv(count - len(data))
            except ConnectionError:
                piece = b""
            if not piece:
                break
            data += piece
        return data


def pdata(context_id: int, control: int, data: bytes) -> bytes:
    """A P-DATA-TF with one presentation data value."""
    return struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, context_id, control) + data


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
