"""The archive: Part 10 files that are on stable storage, under names that no sender can choose.

A name holds the digest of its content, so nothing can be overwritten by other content; :mod:`dicom_node.incoming`
says how a file gets there.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicom_node import digests, part10
from dicom_node.incoming import (
    INCOMING,
    QUARANTINE,
    STORE,
    IncomingFile,
    note_of,
    set_aside,
    storage_error,
    sync_folder,
)
from dicom_node.piece_writer import Buffers
from dicom_node.space import Space
from triage.crash_points import Reached, nowhere
from triage.errors import NotFoundError
from triage.instances import StoredFile

_FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))


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
    _buffers: Buffers = field(default_factory=Buffers, repr=False, compare=False)

    def __post_init__(self) -> None:
        for folder in (self.incoming, self.store, self.quarantined):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # All at once: a folder made while an instance waits costs that instance a journal commit of its own.
        missing = [folder for folder in map(self.store.joinpath, _FOLDERS) if not folder.is_dir()]
        for folder in missing:
            folder.mkdir(mode=0o700, exist_ok=True)
        if missing:
            sync_folder(self.store)
            sync_folder(self.root)

    @property
    def incoming(self) -> Path:
        """Where bytes go that nobody has been told about yet."""
        return self.root / INCOMING

    @property
    def store(self) -> Path:
        """Where acknowledged instances lie."""
        return self.root / STORE

    @property
    def quarantined(self) -> Path:
        """Where bytes lie that could not be understood, each with a reason."""
        return self.root / QUARANTINE

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
        return IncomingFile.create(self.root, head, transfer_syntax_uid, claim, self.reached, self._buffers)

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
        """Digest of the data set in a stored file, to compare with :attr:`StoredFile.digest`."""
        return digests.of_data_set(self.path(relative_path))

    def pixel_digest(self, relative_path: Path | str) -> str:
        """Digest of the value of Pixel Data in a stored file; reads it whole."""
        return digests.of_pixels(self.path(relative_path))

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
        incoming = IncomingFile.create(self.root, b"", transfer_syntax_uid)
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
        note = note_of(reason, peer, stored.transfer_syntax_uid, stored.size, stored.digest)
        path = self.root / stored.relative_path
        try:
            return set_aside(self.root, path, path.stem, note)
        except FileNotFoundError:  # another association brought the same bytes and withdrew them first
            return Path(QUARANTINE, path.name)
        except OSError as error:
            raise storage_error(error, "quarantine") from error

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
