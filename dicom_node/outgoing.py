"""An object on its way out: the data set exactly as it lies in its file, or converted when a peer wants it so."""

from __future__ import annotations

import contextlib
import copy
import io
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicom_node import part10
from dicom_node.contexts import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from dicom_node.elements import walk
from triage.errors import DicomError, IdentifierError, PixelError
from triage.identifiers import dicom_uid

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingObject:
    """What a C-STORE needs to know, and where the bytes are: in ``content``, or in the file at ``path``."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int
    path: Path | None = None
    content: bytes = b""

    @contextlib.contextmanager
    def data_set(self) -> Iterator[memoryview]:
        """The encoded data set, mapped rather than read.

        Raises
        ------
        OSError
            The file is gone.
        """
        if self.path is None:
            with memoryview(self.content) as whole, whole[self.offset :] as view:
                yield view
            return
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as whole,
            whole[self.offset :] as view,
        ):
            yield view

    def converted(self, transfer_syntax_uid: str) -> OutgoingObject:
        """The same instance in an uncompressed transfer syntax.

        Raises
        ------
        PixelError
            Its pixels cannot be decompressed here.
        """
        if self.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
            # pydicom swaps numbers but not the words of OW values: the pixels would come out wrong.
            raise PixelError("The object is big endian and is not converted.", next_step=_enable(self))
        try:
            dataset = pydicom.dcmread(self.path or io.BytesIO(self.content), force=True)
            dataset.file_meta.TransferSyntaxUID = UID(self.transfer_syntax_uid)
            if UID(self.transfer_syntax_uid).is_encapsulated:
                dataset.decompress(generate_instance_uid=False)
            return of_dataset(dataset, transfer_syntax_uid)
        except Exception as error:
            # Decoders raise whatever they like; their texts may hold values, so only the class is told.
            raise PixelError(
                f"The object cannot be converted to {UID(transfer_syntax_uid).name} ({type(error).__name__}).",
                next_step=_enable(self),
            ) from error


def of_file(path: Path) -> OutgoingObject:
    """Read what is needed of a file; a missing preamble or file meta information is tolerated.

    Raises
    ------
    DicomError
        Not a DICOM object, or one without SOP class or instance UID.
    """
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise DicomError(f"{path.name} is empty.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return _located(mapped, path=path)
    except OSError as error:
        raise DicomError(f"{path.name} cannot be read ({error.strerror}).") from error


def of_dataset(dataset: Dataset, transfer_syntax_uid: str = "") -> OutgoingObject:
    """Encode a Dataset, in the transfer syntax of its file meta information unless another is given.

    Raises
    ------
    DicomError
        It cannot be encoded, or has no SOP class or instance UID.
    """
    own = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "")
    syntax = UID(transfer_syntax_uid or own or EXPLICIT_VR_LITTLE_ENDIAN)
    outgoing = copy.copy(dataset)
    outgoing.file_meta = FileMetaDataset()
    outgoing.file_meta.TransferSyntaxUID = syntax
    if syntax.is_encapsulated and "PixelData" in outgoing:
        # Fragments of explicit length are refused by DCMTK; highdicom leaves the flag unset (PS3.5 A.4).
        outgoing["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    try:
        pydicom.dcmwrite(buffer, outgoing, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DicomError(f"The data set cannot be encoded ({type(error).__name__}).") from error
    content = buffer.getvalue()
    return _located(content, content=content)


def _located(data: bytes | mmap.mmap, *, path: Path | None = None, content: bytes = b"") -> OutgoingObject:
    # The data set says what the object is; a file's meta information may be another's (copied, de-identified, edited).
    head = part10.read_head(data[: 64 * 1024])
    found = walk(data, head.transfer_syntax_uid, (_SOP_CLASS_UID, _SOP_INSTANCE_UID), start=head.offset).values
    sop_class = _text(found, _SOP_CLASS_UID) or head.sop_class_uid
    sop_instance = _text(found, _SOP_INSTANCE_UID) or head.sop_instance_uid
    try:
        return OutgoingObject(
            sop_class_uid=dicom_uid(sop_class, attribute="SOPClassUID (0008,0016)"),
            sop_instance_uid=dicom_uid(sop_instance, attribute="SOPInstanceUID (0008,0018)"),
            transfer_syntax_uid=head.transfer_syntax_uid,
            offset=head.offset,
            path=path,
            content=content,
        )
    except IdentifierError as error:
        raise DicomError(str(error)) from None


def _enable(item: OutgoingObject) -> str:
    return f"Enable {UID(item.transfer_syntax_uid).name} at the peer."


def _text(values: dict[int, bytes], tag: int) -> str:
    return values.get(tag, b"").decode("ascii", errors="replace").strip("\x00 ")
