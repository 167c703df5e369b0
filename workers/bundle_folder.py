"""Bundles as folders that come and go: by a rename each, synced, so that nobody ever sees half a bundle."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.bundle import METADATA, Bundle
from models.site import KEPT
from triage.durable import sync_folder
from triage.errors import BundleError

_WORK: Final = ".adding."


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A folder to put a bundle together in, on the same file system; what is left of it at the end is removed."""
    for left in folder.glob(f"{_WORK}*"):  # of a command that was killed; the lock says that none is at work
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def find(folder: Path, name: str) -> Bundle | None:
    """The bundle of that name in a folder, whatever its directory is called; None where there is none.

    Raises
    ------
    BundleError
        The directory of that name holds something that is no bundle.
    """
    if (folder / name).exists():
        return Bundle.load(folder / name)
    for directory in sorted(folder.iterdir()) if folder.is_dir() else ():
        if directory.name[0] not in "._" and (directory / METADATA).is_file():
            try:
                bundle = Bundle.load(directory)
            except BundleError:
                continue  # it is listed with its problem; it is not the one that was asked for by this name
            if bundle.metadata.name == name:
                return bundle
    return None


def put(folder: Path, work: Path, name: str) -> None:
    """Let a finished workplace appear under its name."""
    work.chmod(0o755)
    sync_folder(work)
    os.replace(work, folder / name)  # noqa: PTH105 - of folders
    sync_folder(folder)


def keep(folder: Path, directory: Path, label: str) -> Path:
    """Move a bundle aside; returns where it lies now."""
    kept = folder / KEPT / label
    kept.parent.mkdir(exist_ok=True)
    if kept.exists():  # the same files, moved aside before
        shutil.rmtree(directory)
    else:
        os.replace(directory, kept)  # noqa: PTH105
    sync_folder(kept.parent)
    sync_folder(folder)
    return kept


def label(bundle: Bundle) -> str:
    return f"{bundle.metadata.name}-{bundle.digest[:16]}"
