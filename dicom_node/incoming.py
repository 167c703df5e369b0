"""An instance on its way to disk: written, hashed and counted as it comes, durable before it has a name.

``incoming/<uuid>.part`` -> fsync -> rename to ``store/<h2>/<SHA-256 of UID>.<digest of data set>.dcm`` -> fsync of the
directory. Killed between any two of these steps, what is left is a ``.part`` that is swept away, or a whole file
without a row that ``firstread fsck`` finds.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Final, Self

from dicom_node.digests import of_data_set
from dicom_node.piece_writer import Buffers, PieceWriter
from dicom_node.space import Claim
from triage.crash_points import CrashPoint, Reached, nowhere
from triage.errors import DicomError, StorageFullError
from triage.instances import StoredFile

FRONT: Final = 64 * 1024
"""Bytes of a data set that are kept in memory while it arrives: they hold the header of almost every image."""
INCOMING: Final = "incoming"
STORE: Final = "store"
QUARANTINE: Final = "quarantine"
"""Folders of an archive."""
_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE))
_WRITE_BACK: Final = 1024 * 1024
"""Bytes after which a growing file is handed to the disk."""
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class IncomingFile:
    """An instance on its way to disk. Use as a context manager: leaving it without a commit removes the bytes."""

    def __init__(
        self,
        root: str,
        path: str,
        descriptor: int,
        writer: PieceWriter,
        *,
        head: bytes,
        transfer_syntax_uid: str,
        claim: Claim | None,
        reached: Reached,
    ) -> None:
        self._root = root
        self._reached = reached
        self._path = path
        self._descriptor = descriptor
        self._writer = writer
        self._claim = claim
        self._head = head
        self.transfer_syntax_uid = transfer_syntax_uid
        self._handed_over = 0
        self.front = bytearray()
        """The first :data:`FRONT` bytes of the data set."""
        self.head_size = len(head)
        self._kept = False

    @classmethod
    def create(
        cls,
        root: Path | str,
        head: bytes,
        transfer_syntax_uid: str,
        claim: Claim | None = None,
        reached: Reached = nowhere,
        buffers: Buffers | None = None,
    ) -> Self:
        """Open a new file below the root of an archive.

        Parameters
        ----------
        head : bytes
            What stands before the data set.
        claim : Claim, optional
            Room that was asked for; given back when the file is closed.
        buffers : Buffers, optional
            Shared with other files of the archive.

        Raises
        ------
        StorageFullError
            The file cannot be created.
        """
        # No pathlib on this road: taking paths apart and putting them together was a tenth of all that Python does.
        root = str(root)
        path = f"{root}/{INCOMING}/{os.urandom(16).hex()}.part"
        try:
            descriptor = os.open(path, _CREATE, 0o600)
        except OSError as error:
            if claim is not None:
                claim.close()
            raise storage_error(error, "create") from error
        writer = PieceWriter(descriptor, head, buffers or Buffers())
        return cls(
            root, path, descriptor, writer, head=head, transfer_syntax_uid=transfer_syntax_uid, claim=claim,
            reached=reached,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def path(self) -> Path:
        """Where the bytes are right now."""
        return Path(self._path)

    @property
    def digest(self) -> str:
        """Digest of the data set so far; see :mod:`dicom_node.digests`."""
        return self._writer.digest()

    @property
    def data_set_size(self) -> int:
        """Bytes of the data set so far."""
        return self._writer.taken

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
        writer = self._writer
        if writer.taken < FRONT:
            self.front += data[: FRONT - writer.taken]
        try:
            writer.write(data)
        except OSError as error:
            raise storage_error(error, "write") from error
        if writer.written >= self._handed_over + _WRITE_BACK:
            self.hand_over()

    def hand_over(self) -> None:
        """Have the kernel begin to write what it has got: the fsync of :meth:`commit` then has little left to wait for.

        The advice says "not needed any more"; pages that are still dirty are written out and stay in memory.

        Raises
        ------
        StorageFullError
            So little room is left that this instance has to end.
        """
        begin, self._handed_over = self._handed_over, self._writer.written
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
        self.settle()
        digest = self.digest
        name = f"{hashlib.sha256(sop_instance_uid.encode()).hexdigest()}.{digest}.dcm"
        folder = f"{STORE}/{name[:2]}"
        relative = f"{folder}/{name}"
        target = f"{self._root}/{relative}"
        reached = self._reached
        reached(CrashPoint.WRITTEN)
        try:
            self._flush()
            reached(CrashPoint.FILE_SYNCED)
            if self._is_kept(target, digest):
                os.unlink(self._path)  # noqa: PTH108
            else:
                os.rename(self._path, target)  # noqa: PTH104
            self._kept = True
            reached(CrashPoint.RENAMED)
            sync_folder(f"{self._root}/{folder}")
            reached(CrashPoint.FOLDER_SYNCED)
        except OSError as error:
            self.discard()
            raise storage_error(error, "commit") from error
        return StoredFile(
            relative_path=relative,
            digest=digest,
            size=self.size,
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
        name = f"{self.digest}.{hashlib.sha256(self._head).hexdigest()[:16]}"
        note = note_of(reason, peer, self.transfer_syntax_uid, self.size, self.digest)
        try:
            self._flush()
            return set_aside(Path(self._root), self.path, name, note)
        except OSError as error:
            self.discard()
            raise storage_error(error, "quarantine") from error

    def settle(self) -> None:
        """Bring everything received so far into the file, for who wants to read it there.

        Raises
        ------
        StorageFullError
            It could not be written.
        """
        try:
            self._writer.flush()
        except OSError as error:
            raise storage_error(error, "write") from error

    def discard(self) -> None:
        """Forget the bytes; harmless after a commit."""
        self._close()
        if not self._kept:
            self.path.unlink(missing_ok=True)

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
            self._writer.close()
        if self._claim is not None:
            self._claim.close(self._writer.written - self._handed_over)

    def _is_kept(self, target: str, digest: str) -> bool:
        """True when the archive already holds these bytes, unharmed: the first file then stays."""
        if not os.path.exists(target):  # noqa: PTH110 - false almost always; cheaper than an open that fails
            return False
        try:
            return of_data_set(Path(target)) == digest
        except (FileNotFoundError, DicomError):
            return False


def note_of(reason: str, peer: str, transfer_syntax_uid: str, size: int, digest: str) -> dict[str, str | int]:
    """What lies beside a file in quarantine."""
    return {
        "reason": reason,
        "peer": peer,
        "transfer_syntax_uid": transfer_syntax_uid,
        "size": size,
        "digest": digest,
    }


def set_aside(root: Path, path: Path, name: str, note: dict[str, str | int]) -> Path:
    """Move a file into quarantine, with a note beside it. Returns its path relative to the root of the archive."""
    target = root / QUARANTINE / f"{name}.dcm"
    target.with_suffix(".json").write_text(json.dumps(note, indent=1), encoding="utf-8")
    path.rename(target)
    sync_folder(target.parent)
    return target.relative_to(root)


def sync_folder(folder: Path | str) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, step: str) -> StorageFullError:
    """What a failed step is called above this module."""
    reason = errno.errorcode.get(error.errno or 0, "OSError")
    advice = None if error.errno in _NO_ROOM else "Check owner and mode of the data directory."
    return StorageFullError(f"The archive could not {step} a file ({reason}).", next_step=advice)
