"""Result objects as files (PS3.10): encoded once, written so that a reader never meets half a file."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.part10 import encode_head
from dicom_node.results.encoding import encode
from dicom_node.results.recoding import recode
from triage.durable import write_durably
from triage.profiles import CharacterSet


def seal(
    dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian, *, character_set: CharacterSet = "source"
) -> Dataset:
    """The data set as a receiver will read it: encoded, and opened again; its text in the character set it wants.

    What cannot be encoded fails here, at its maker; and as the elements of the answer are still the encoded ones,
    :func:`write` stores these bytes and not a second encoding of them.
    """
    sealed = dcmread(BytesIO(_encode(dataset, transfer_syntax_uid)))
    if character_set == "source":
        return sealed
    recode(sealed, character_set)
    return dcmread(BytesIO(_encode(sealed, transfer_syntax_uid)))


def write(dataset: Dataset, path: Path) -> tuple[str, int]:
    """Write a result object as a DICOM file: complete and on the disk under its final name, or not there.

    Returns
    -------
    (str, int)
        SHA-256 (hex) and size in bytes of the whole file.

    Raises
    ------
    OSError
        The file cannot be written; nothing is left behind.
    """
    content = _encode(dataset, dataset.file_meta.TransferSyntaxUID)
    write_durably(path, content)
    return hashlib.sha256(content).hexdigest(), len(content)


def digest(path: Path) -> str:
    """SHA-256 (hex) of a whole file, to compare with what :func:`write` returned."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    head = encode_head(
        sop_class_uid=dataset.SOPClassUID,
        sop_instance_uid=dataset.SOPInstanceUID,
        transfer_syntax_uid=transfer_syntax_uid,
    )
    return head + encode(dataset)
