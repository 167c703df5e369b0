"""The archive: Part 10 files that are on stable storage, under names that no sender can choose.

A write goes ``incoming/<uuid>.part`` (counted and hashed as it arrives) -> fsync -> rename to
``store/<h2>/<sha256 of UID>.<sha256 of data set>.dcm`` -> fsync of the directory. Killed between any two of
these steps, what is left is a ``.part`` that :meth:`Archive.sweep` removes, or a whole file without a row that
``firstread fsck`` finds. A name holds the digest of its content, so nothing can be overwritten by other content.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from dicom_node import part10
from dicom_node.contexts import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
from dicom_node.elements import walk
from dicom_node.space import Claim, Space
from triage.crash_points import CrashPoint, Reached, nowhere
from triage.errors import DicomError, NotFoundError, StorageFullError
from triage.instances import StoredFile

_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE))
_WRITE_BACK: Final = 1024 * 1024
"""Bytes after which a growing file is handed to the disk."""
FRONT: Final = 64 * 1024
"""Bytes of a data set that are kept in memory while it arrives: they hold the header of almost every image."""
_FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class Archive:
    """Files below one directory on one local file system.

    Parameters
    ----------
    root : Path
        Created with mode 0700 where missing.
    space : Space, optional
        Judges whether :meth:`receive` may take another instance; without it, it may.
    reached : callable
        Told of each step towards durability; see :mod:`triage.crash_points`.
    """

    root: Path
    space: Space | None = None
    reached: Reached = nowhere

    def __post_init__(self) -> None:
        for folder in (self.incoming, self.store, self.quarantined):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # All at once: a folder made while an instance waits costs that instance a journal commit of its own.
        missing = [folder for folder in map(self.store.joinpath, _FOLDERS) if not folder.is_dir()]
        for folder in missing:
            folder.mkdir(mode=0o700, exist_ok=True)
        if missing:
            _sync_folder(self.store)
            _sync_folder(self.root)

    @property
    def incoming(self) -> Path:
        """Where bytes go that nobody has been told about yet."""
        return self.root / "incoming"

    @property
    def store(self) -> Path:
        """Where acknowledged instances lie."""
        return self.root / "store"

    @property
    def quarantined(self) -> Path:
        """Where bytes lie that could not be understood, each with a reason."""
        return self.root / "quarantine"

    def receive(
        self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str = ""
    ) -> IncomingFile:
        """Open a file for an instance that is about to arrive; the UIDs go into its file meta information only.

        Raises
        ------
        StorageFullError
            Room is short, or the file cannot be created.
        """
        claim = self.space.claim() if self.space is not None else None
        head = part10.encode_head(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source_ae_title=source_ae_title,
        )
        return IncomingFile.create(self, head, transfer_syntax_uid, claim)

    def path(self, relative_path: Path | str) -> Path:
        """The absolute path of a stored file.

        Raises
        ------
        NotFoundError
            The path leads outside the archive, or nothing is there.
        """
        absolute = (self.root / relative_path).resolve()
        if not absolute.is_relative_to(self.root.resolve()) or not absolute.is_file():
            raise NotFoundError("The archive has no such file.", next_step="Run `firstread fsck`.")
        return absolute

    def data_set_digest(self, relative_path: Path | str) -> str:
        """SHA-256 of the data set in a stored file, to compare with :attr:`StoredFile.sha256`."""
        return _data_set_digest(self.path(relative_path))

    def pixel_digest(self, relative_path: Path | str) -> str:
        """SHA-256 of the value of Pixel Data in a stored file; reads it whole."""
        return pixel_digest(self.path(relative_path))

    def quarantine(self, data: bytes, reason: str, *, transfer_syntax_uid: str = "", peer: str = "") -> Path:
        """Keep bytes that cannot be an instance, with the reason in a file beside them.

        Returns
        -------
        Path
            Relative to the archive root.

        Raises
        ------
        StorageFullError
            No room for them.
        """
        incoming = IncomingFile.create(self, b"", transfer_syntax_uid)
        with incoming:
            incoming.write(data)
            return incoming.quarantine(reason, peer=peer)

    def withdraw(self, stored: StoredFile, reason: str, *, peer: str = "") -> Path:
        """Move a stored file that no row names into quarantine. Returns the path relative to the archive root.

        Raises
        ------
        StorageFullError
            The file could not be moved.
        """
        note = _note(reason, peer, stored.transfer_syntax_uid, stored.size, stored.sha256)
        try:
            return _set_aside(self, self.root / stored.relative_path, stored.relative_path.stem, note)
        except FileNotFoundError:  # another association brought the same bytes and withdrew them first
            return Path("quarantine", stored.relative_path.name)
        except OSError as error:
            raise _storage_error(error, "quarantine") from error

    def sweep(self, older_than: float) -> int:
        """Remove ``.part`` files that no association can still be writing.

        Parameters
        ----------
        older_than : float
            Seconds since their last write; longer than any time-out of the listener.

        Returns
        -------
        int
            How many were removed.
        """
        limit = time.time() - older_than
        removed = 0
        for part in self.incoming.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                if part.stat().st_mtime < limit:
                    part.unlink()
                    removed += 1
        return removed


class IncomingFile:
    """An instance on its way to disk. Use as a context manager: leaving it without a commit removes the bytes."""

    def __init__(self, archive: Archive, path: Path, descriptor: int, transfer_syntax_uid: str) -> None:
        self._archive = archive
        self._path = path
        self._descriptor = descriptor
        self._claim: Claim | None = None
        self._digest = hashlib.sha256()
        self.transfer_syntax_uid = transfer_syntax_uid
        self._handed_over = 0
        self._head = b""
        self._unwritten = b""
        self.front = bytearray()
        """The first :data:`FRONT` bytes of the data set."""
        self.head_size = 0
        self.data_set_size = 0
        self._kept = False

    @classmethod
    def create(cls, archive: Archive, head: bytes, transfer_syntax_uid: str, claim: Claim | None = None) -> Self:
        """See :meth:`Archive.receive`."""
        path = archive.incoming / f"{uuid.uuid4().hex}.part"
        try:
            descriptor = os.open(path, _CREATE, 0o600)
        except OSError as error:
            if claim is not None:
                claim.close()
            raise _storage_error(error, "create") from error
        incoming = cls(archive, path, descriptor, transfer_syntax_uid)
        incoming._claim = claim
        # Written together with the first bytes of the data set.
        incoming._head = incoming._unwritten = head
        incoming.head_size = len(head)
        return incoming

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def path(self) -> Path:
        """Where the bytes are right now."""
        return self._path

    @property
    def sha256(self) -> str:
        """Hex digest of the data set so far."""
        return self._digest.hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the whole file so far."""
        return self.head_size + self.data_set_size

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes of the data set.

        Raises
        ------
        StorageFullError
            They could not be written.
        """
        if self.data_set_size < FRONT:
            self.front += data[: FRONT - self.data_set_size]
        if self._unwritten:
            self._write_both(self._unwritten, data)
            self._unwritten = b""
        else:
            self._write(data)
        self._digest.update(data)
        self.data_set_size += len(data)
        if self.head_size + self.data_set_size - self._handed_over >= _WRITE_BACK:
            self.hand_over()

    def hand_over(self) -> None:
        """Have the kernel begin to write what it has got: the fsync of :meth:`commit` then has little left to wait for.

        The advice says "not needed any more"; pages that are still dirty are written out and stay in memory.

        Raises
        ------
        StorageFullError
            So little room is left that this instance has to end.
        """
        begin, self._handed_over = self._handed_over, self.size
        os.posix_fadvise(self._descriptor, begin, self._handed_over - begin, os.POSIX_FADV_DONTNEED)
        if self._claim is not None:
            self._claim.wrote(self._handed_over - begin)

    def commit(self, sop_instance_uid: str) -> StoredFile:
        """Make bytes and name durable and return where they are.

        Raises
        ------
        StorageFullError
            A step failed. After a failed fsync the kernel may have dropped the bytes and forgotten the error, so
            the descriptor is never asked again: the file is removed and the sender has to send anew.
        """
        digest = self._digest.hexdigest()
        name = f"{hashlib.sha256(sop_instance_uid.encode()).hexdigest()}.{digest}.dcm"
        relative = Path("store", name[:2], name)
        target = self._archive.root / relative
        size = self.head_size + self.data_set_size
        reached = self._archive.reached
        reached(CrashPoint.WRITTEN)
        try:
            self._flush()
            reached(CrashPoint.FILE_SYNCED)
            if self._is_kept(target, digest):
                self._path.unlink()
            else:
                self._path.rename(target)
            self._kept = True
            reached(CrashPoint.RENAMED)
            _sync_folder(target.parent)
            reached(CrashPoint.FOLDER_SYNCED)
        except OSError as error:
            self.discard()
            raise _storage_error(error, "commit") from error
        return StoredFile(
            relative_path=relative,
            sha256=digest,
            size=size,
            transfer_syntax_uid=self.transfer_syntax_uid,
        )

    def quarantine(self, reason: str, *, peer: str = "") -> Path:
        """Keep the bytes aside, durably, with a reason. Returns the path relative to the archive root.

        The name is made of data set and file meta information: what a sender repeats for ever is kept once.

        Raises
        ------
        StorageFullError
            A step failed; the bytes are gone.
        """
        name = f"{self.sha256}.{hashlib.sha256(self._head).hexdigest()[:16]}"
        note = _note(reason, peer, self.transfer_syntax_uid, self.size, self.sha256)
        try:
            self._flush()
            return _set_aside(self._archive, self._path, name, note)
        except OSError as error:
            self.discard()
            raise _storage_error(error, "quarantine") from error

    def settle(self) -> None:
        """Bring everything received so far into the file, for who wants to read it there.

        Raises
        ------
        StorageFullError
            It could not be written.
        """
        self._write(self._unwritten)
        self._unwritten = b""

    def discard(self) -> None:
        """Forget the bytes; harmless after a commit."""
        self._close()
        if not self._kept:
            self._path.unlink(missing_ok=True)

    def _write_both(self, head: bytes, data: bytes | memoryview) -> None:
        try:
            written = os.writev(self._descriptor, (head, data))
        except OSError as error:
            raise _storage_error(error, "write") from error
        if written < len(head):
            self._write(head[written:])
            written = len(head)
        self._write(data[written - len(head) :])

    def _write(self, data: bytes | memoryview) -> None:
        while data:
            try:
                written = os.write(self._descriptor, data)
            except OSError as error:
                raise _storage_error(error, "write") from error
            if written == len(data):
                return
            data = data[written:]

    def _flush(self) -> None:
        try:
            self.settle()
            os.fsync(self._descriptor)
        finally:
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        if self._claim is not None:
            self._claim.close(self.size - self._handed_over)

    def _is_kept(self, target: Path, digest: str) -> bool:
        """True when the archive already holds these bytes, unharmed: the first file then stays."""
        try:
            return _data_set_digest(target) == digest
        except (FileNotFoundError, DicomError):
            return False


def pixel_digest(path: Path) -> str:
    """SHA-256 of the value of Pixel Data in a DICOM file, "" without one.

    Native values count their length, encapsulated ones everything up to the end of the data set. In a deflated
    data set the pixels have no bytes of their own: it is hashed whole.

    Raises
    ------
    DicomError
        The file cannot be walked.
    """
    if not path.stat().st_size:
        return ""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = part10.read_head(data[: 64 * 1024])
        pixels = walk(data, head.transfer_syntax_uid, (), start=head.offset).pixels
        if pixels is None:
            return ""
        begin = pixels.offset
        end = len(data) if pixels.length is None else begin + pixels.length
        if head.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            begin, end = head.offset, len(data)
        with memoryview(data) as view, view[begin:end] as value:
            return hashlib.sha256(value).hexdigest()


def _data_set_digest(path: Path) -> str:
    with path.open("rb") as file:
        head = part10.read_head(file.read(64 * 1024))
        file.seek(head.offset)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(reason: str, peer: str, transfer_syntax_uid: str, size: int, sha256: str) -> dict[str, str | int]:
    return {
        "reason": reason,
        "peer": peer,
        "transfer_syntax_uid": transfer_syntax_uid,
        "size": size,
        "sha256": sha256,
    }


def _set_aside(archive: Archive, path: Path, name: str, note: dict[str, str | int]) -> Path:
    """Into quarantine, with a note beside it."""
    target = archive.quarantined / f"{name}.dcm"
    target.with_suffix(".json").write_text(json.dumps(note, indent=1), encoding="utf-8")
    path.rename(target)
    _sync_folder(target.parent)
    return target.relative_to(archive.root)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(error: OSError, step: str) -> StorageFullError:
    reason = errno.errorcode.get(error.errno or 0, "OSError")
    advice = None if error.errno in _NO_ROOM else "Check owner and mode of the data directory."
    return StorageFullError(f"The archive could not {step} a file ({reason}).", next_step=advice)
