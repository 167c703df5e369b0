"""Files that lie in the archive, seen again: walked, compared with their digest, read back, set aside.

For whoever checks the archive. Nothing here trusts a name: after a loss of power a file may carry a good name and
other bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicom_node.archive import Archive
from dicom_node.digests import PATTERN as DIGEST
from dicom_node.digests import of_data_set
from dicom_node.header import read_header
from dicom_node.part10 import read_head
from triage.errors import DicomError, NotFoundError
from triage.instances import Arrival, InstanceHeader, QuarantinedObject, StoredFile

_FOLDER: Final = re.compile(r"[0-9a-f]{2}")
_NAME: Final = re.compile(rf"([0-9a-f]{{64}})\.({DIGEST})\.dcm")
_RESULT_NAME: Final = re.compile(
    r"[0-9a-f]{64}\.(dcm|hl7|json|image\.jpg|overlay\.jpg|[a-z][a-z0-9_]*\.heat\.png|u16\.gz)(\.\d+(\.\d+)?\.part)?"
)
_HEAD: Final = 64 * 1024

MISSING: Final = "missing"
ALTERED: Final = "altered"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredInstance:
    """A whole file of the archive with everything that a row is made of.

    Attributes
    ----------
    calling_ae_title : str
        Source Application Entity Title (0002,0016): who sent it.
    written_at : datetime
        UTC, last write of the file: when it came.
    """

    header: InstanceHeader
    file: StoredFile
    calling_ae_title: str
    written_at: datetime


def walk(archive: Archive) -> Iterator[str]:
    """Relative paths of all files below the store, in ascending order; holds the names of one folder at a time."""
    for folder in _sorted(archive.store, directories=True):
        for name in _sorted(archive.store / folder, directories=False):
            yield f"store/{folder}/{name}"


def is_our_name(relative_path: str) -> bool:
    """Whether a path below the store is made of digests, as every path that we write is."""
    _, folder, name = relative_path.split("/", 2)
    match = _NAME.fullmatch(name)
    return bool(_FOLDER.fullmatch(folder) and match and name.startswith(folder))


def holds_its_name(path: Path) -> bool:
    """Whether a file holds the data set that the digest in its name stands for; reads it whole.

    True for every name without a digest, such as that of a result: it promises nothing.
    """
    match = _NAME.fullmatch(path.name)
    try:
        return match is None or of_data_set(path) == match[2]
    except DicomError:
        return False


def is_our_result_name(name: str) -> bool:
    """Whether the name of a file below the results root is made of a digest and a known ending."""
    return _RESULT_NAME.fullmatch(name) is not None


def written_at(archive: Archive, relative_path: str) -> datetime:
    """Last write of a file, UTC.

    Raises
    ------
    NotFoundError
        It is gone.
    """
    return datetime.fromtimestamp(archive.path(relative_path).stat().st_mtime, UTC)


def size(archive: Archive, relative_path: str) -> int | None:
    """Bytes of a file, None where there is none."""
    try:
        return (archive.root / relative_path).stat().st_size
    except FileNotFoundError:
        return None


def damage(archive: Archive, relative_path: str, digest: str) -> str:
    """Compare a file with its digest, from the disk and not from memory: "" when sound, else missing or altered.

    The file leaves the page cache before and after: a check of the cache proves nothing, and it must not push out
    what others are about to read.

    Raises
    ------
    OSError
        The disk does not say (EIO, no permission): that is neither sound nor damaged.
    """
    try:
        path = archive.path(relative_path)
        forget_pages(path)
        found = archive.data_set_digest(relative_path)
        forget_pages(path)
    except (NotFoundError, FileNotFoundError):
        return MISSING
    except DicomError:
        return ALTERED
    return "" if found == digest else ALTERED


def forget_pages(path: Path) -> None:
    """Advise the kernel that nobody needs the cached pages of a file; pages not yet written stay."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def read_back(archive: Archive, relative_path: str) -> StoredInstance:
    """Read what intake knew of a file: header, digest, sender, time.

    Raises
    ------
    NotFoundError
        It is gone.
    DicomError
        It is not whole: no header, or other bytes than its name says.
    """
    path = archive.path(relative_path)
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise DicomError("The file has a name that the archive does not give.")
    if archive.data_set_digest(relative_path) != match[2]:
        raise DicomError("The bytes are not those that the name of the file says.")
    header = read_header(path)
    with path.open("rb") as file:
        head = read_head(file.read(_HEAD))
    state = path.stat()
    return StoredInstance(
        header=header,
        file=StoredFile(
            relative_path=relative_path,
            digest=match[2],
            size=state.st_size,
            transfer_syntax_uid=head.transfer_syntax_uid,
        ),
        calling_ae_title=head.source_ae_title,
        written_at=datetime.fromtimestamp(state.st_mtime, UTC),
    )


def set_aside(archive: Archive, relative_path: str, reason: str, arrival: Arrival, status: int) -> QuarantinedObject:
    """Move a file that must not have a row from the store into quarantine, with the reason beside it.

    Parameters
    ----------
    status : int
        What its sender would have been told.

    Raises
    ------
    NotFoundError
        It is gone.
    StorageFullError
        It could not be moved and lies where it lay.
    """
    path = archive.path(relative_path)
    file = StoredFile(
        relative_path=relative_path,
        digest=_digest_or_nothing(archive, relative_path),
        size=path.stat().st_size,
        transfer_syntax_uid="",
    )
    return QuarantinedObject(
        reason=reason,
        dicom_status=status,
        relative_path=archive.withdraw(file, reason),
        digest=file.digest,
        size=file.size,
        transfer_syntax_uid="",
        arrival=arrival,
    )


def _digest_or_nothing(archive: Archive, relative_path: str) -> str:
    try:
        return archive.data_set_digest(relative_path)
    except DicomError:
        return ""  # not even the beginning of a file


def _sorted(folder: Path, *, directories: bool) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False) is directories)
