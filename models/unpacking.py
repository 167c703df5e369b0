"""A bundle that somebody brought, folder or zip file, copied file by file; nothing that it does not list is taken.

Neither is trusted: names with paths, links, encryption, more bytes than promised, files of unknown kinds are refused
before or while they are copied. What the files say is :func:`models.self_test.verify`'s job.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from pydantic import ValidationError

from models.bundle import FILES, METADATA, METADATA_LIMIT
from models.guard import GUARD
from models.metadata import BundleMetadata
from triage.errors import BundleError

LARGEST: Final = 4 << 30
"""Bytes of a bundle. Networks that read radiographs have some tens of megabytes."""
MOST_FILES: Final = 64
FURTHER_SUFFIXES: Final = frozenset({".csv", ".html", ".json", ".md", ".pdf", ".png", ".svg", ".txt"})
"""Kinds of files that a bundle may have beside its own: licences, reports. Nothing that runs, no pickle."""
_PORTION: Final = 1 << 20
_ADVICE: Final = "Ask the maker for a bundle as docs/models.md describes it."


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of the source: its size as promised, and how to open it."""

    size: int
    open: Callable[[], IO[bytes]]


def unpack(source: Path, target: Path, *, largest: int = LARGEST) -> None:
    """Copy a bundle into an empty folder and sync every file.

    Parameters
    ----------
    source : Path
        A folder, or a zip file with the bundle at its top or in one folder.
    target : Path
        Exists and is empty. After an error it holds parts of the bundle.
    largest : int
        Bytes that it may take.

    Raises
    ------
    BundleError
        The source is no bundle, or hostile; the message names the file.
    """
    with _members(source) as members:
        if METADATA not in members:
            raise BundleError(f"{source} has no {METADATA}.", next_step=_ADVICE)
        _copy(members[METADATA], target / METADATA, METADATA_LIMIT)
        listed = _listed(target / METADATA)
        for name in members:
            if name not in listed and name != METADATA:
                raise BundleError(f"{source} has a file that its {METADATA} does not list: {name}.", next_step=_ADVICE)
            if name not in (*FILES, GUARD, METADATA) and PurePosixPath(name).suffix.lower() not in FURTHER_SUFFIXES:
                raise BundleError(f"{source} has a file of a kind that no bundle needs: {name}.", next_step=_ADVICE)
        if sum(member.size for member in members.values()) > largest:
            raise BundleError(f"{source} holds more than {largest} bytes.", next_step="Free disk space, or ask why.")
        for name in listed:
            if name not in members:
                raise BundleError(f"{source} has no {name}.", next_step=_ADVICE)
            _copy(members[name], target / name, members[name].size)


def _listed(path: Path) -> frozenset[str]:
    try:
        return frozenset(BundleMetadata.model_validate_json(path.read_bytes(), strict=True).files)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "metadata"
        raise BundleError(f"{METADATA}: field {where}: {first['msg']}.", next_step=_ADVICE) from error


def _copy(member: _Member, target: Path, limit: int) -> None:
    """Copy at most ``limit`` bytes: what a member promises and what it holds may differ."""
    copied = 0
    try:
        with member.open() as file, target.open("xb") as out:
            while portion := file.read(_PORTION):
                copied += len(portion)
                if copied > limit:
                    raise BundleError(f"{target.name} is larger than {limit} bytes.", next_step=_ADVICE)
                out.write(portion)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{target.name} cannot be unpacked: {error}.", next_step=_ADVICE) from error
    except OSError as error:
        raise BundleError(f"{target.name} cannot be copied: {error.strerror}.", next_step="Check the disk.") from error


@contextmanager
def _members(source: Path) -> Iterator[Mapping[str, _Member]]:
    if source.is_dir():
        yield _of_folder(source)
        return
    try:
        with zipfile.ZipFile(source) as archive:
            yield _of_archive(source, archive)
    except zipfile.BadZipFile as error:
        raise BundleError(f"{source} is neither a folder nor a zip file.", next_step=_ADVICE) from error
    except OSError as error:
        raise BundleError(f"{source} cannot be read: {error.strerror}.", next_step="Check its name.") from error


def _of_folder(source: Path) -> Mapping[str, _Member]:
    members = {}
    for path in sorted(source.iterdir()):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise BundleError(f"{path} is not a plain file.", next_step=_ADVICE)
        members[path.name] = _Member(found.st_size, lambda path=path: path.open("rb"))  # type: ignore[misc]
    return _few(source, members)


def _of_archive(source: Path, archive: zipfile.ZipFile) -> Mapping[str, _Member]:
    members: dict[str, _Member] = {}
    folders = set()
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        if "\\" in info.filename or info.filename.startswith("/") or ".." in parts or len(parts) > 2:
            raise BundleError(f"{source} has a name with a path: {info.filename[:80]!r}.", next_step=_ADVICE)
        if info.is_dir():
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise BundleError(f"{source} has a link: {info.filename[:80]!r}.", next_step=_ADVICE)
        if info.flag_bits & 1:
            raise BundleError(f"{source} is encrypted.", next_step="Unpack it and add the folder.")
        folders.add(parts[:-1])
        if parts[-1] in members or len(folders) > 1:
            raise BundleError(f"{source} has more than one folder, or a name twice.", next_step=_ADVICE)
        members[parts[-1]] = _Member(info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]
    return _few(source, members)


def _few(source: Path, members: Mapping[str, _Member]) -> Mapping[str, _Member]:
    if len(members) > MOST_FILES:
        raise BundleError(f"{source} has {len(members)} files; a bundle has at most {MOST_FILES}.", next_step=_ADVICE)
    return members
