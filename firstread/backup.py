"""``firstread backup``: database, archive, results and bundles into a folder, while everything runs.

Files first, then the database, then the files that came meanwhile: so every file that a copied row names is in the
copy, however long the first pass took. File names hold digests and never change their content, so a second backup into
the same folder copies only what is new, and a file of the archive that was damaged on the node since does not take the
place of its sound copy. The manifest is written last; until then the backup before stands.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa

from dicom_node.stored import holds_its_name
from firstread.database_copies import copy_to, digest, require_copyable, sync
from triage.database import Database
from triage.errors import SettingsError, StorageFullError
from triage.repositories import custody
from triage.settings import Settings
from triage.tables import Instance, ResultObject

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_PART: Final = ".part"

Progress = Callable[[str], None]
"""Told the name of each tree as it begins."""


@dataclass(kw_only=True)
class Tree:
    """How much of one folder the backup holds, and how much of it this run copied."""

    files: int = 0
    size: int = 0
    copied: int = 0


@dataclass(kw_only=True)
class Manifest:
    """What a backup is.

    Attributes
    ----------
    database : str
        File name of the copy; "" where the site copies its database itself.
    schema : str
        Revision of the copied database.
    missing : list of str
        Files that rows name and that were not there, as ``archive/...`` and ``results/...``; at most 100.
    missing_count : int
    """

    format: int = FORMAT
    made_at: str
    firstread: str
    database: str = ""
    database_kind: str
    database_sha256: str = ""
    schema: str = ""
    trees: dict[str, Tree] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    missing_count: int = 0

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a finished backup.

        Raises
        ------
        SettingsError
            There is none, or it is of a later version.
        """
        try:
            values: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise SettingsError(
                    f"The backup has format {values['format']}, this version reads {FORMAT}.",
                    next_step="Restore it with the version that made it, then upgrade.",
                )
            trees = {name: Tree(**tree) for name, tree in values.pop("trees").items()}
            return cls(**values, trees=trees)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"{folder} holds no finished backup.", next_step="Name a folder that `firstread backup` has filled."
            ) from error

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def trees_of(settings: Settings) -> dict[str, Path]:
    """What belongs into a backup beside the database: name in the backup and where it lies."""
    trees = {
        "archive/store": settings.archive / "store",
        "archive/quarantine": settings.archive / "quarantine",
        "results": settings.results,
    }
    return trees | ({"bundles": settings.site_bundles} if settings.site_bundles.is_dir() else {})


def backup(
    settings: Settings, target: Path, *, now: datetime, database: bool = True, progress: Progress = lambda _name: None
) -> Manifest:
    """Copy everything into ``target``; returns what the backup is now.

    Parameters
    ----------
    target : Path
        Empty, absent, or an earlier backup of the same node. Not below the data directory.
    database : bool
        False when the site copies its PostgreSQL itself, before this.

    Raises
    ------
    SettingsError
        ``target`` cannot be used.
    StorageFullError
        No room at ``target``, or a file cannot be read. The backup before stands.
    FirstreadError
        The database cannot be copied from here.
    """
    _require_usable(settings, target)
    live = Database(settings.database)
    try:
        _require_current(live)
        if database:
            require_copyable(live)
        trees = trees_of(settings)
        for name, source in trees.items():
            progress(name)
            copy_tree(source, target / name)
        manifest = Manifest(
            made_at=now.isoformat(timespec="seconds"),
            firstread=version("firstread"),
            database_kind=live.url.get_backend_name(),
            schema=live.revision()[0] or "",
        )
        last = _highest(live)
        if database:
            progress("database")
            manifest.database = f"database-{now:%Y%m%dT%H%M%S}.{'sqlite' if live.is_sqlite else 'dump'}"
            (target / manifest.database).unlink(missing_ok=True)  # of a run that broke off in this same second
            copy_to(live, target / manifest.database)
            manifest.database_sha256 = digest(target / manifest.database)
        for name, source in trees.items():
            progress(f"{name}, what came meanwhile")
            manifest.trees[name] = copy_tree(source, target / name)
        for path in missing_files(live, target, last):
            manifest.missing_count += 1
            manifest.missing += [path] if len(manifest.missing) < 100 else []
    finally:
        live.dispose()
    _conclude(target, manifest)
    return manifest


def copy_tree(source: Path, target: Path) -> Tree:
    """Copy what is not there yet; what is there with the same size and time is the same file.

    Raises
    ------
    StorageFullError
        A file cannot be read or written; names the file, which has no name of a person in it.
    """
    tree = Tree()
    for folder, names in _folders(source):
        into = target / folder.relative_to(source)
        try:
            into.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = tree.copied
            for name in names:
                _copy_file(folder / name, into / name, tree)
            if tree.copied > before:
                sync(into)
        except OSError as error:
            raise StorageFullError(
                f"{error.filename or into} could not be copied: {error.strerror}.",
                next_step="Free space at the target or mend the disk; run the backup again, it goes on where it was.",
            ) from error
    return tree


def missing_files(database: Database, root: Path, last: tuple[int, int] | None = None) -> Iterator[str]:
    """Paths below ``root`` that rows promise and that are not there, or not whole.

    Parameters
    ----------
    last : (int, int), optional
        Highest instance and result object to ask about: what is newer came after the copy.
    """
    instances, results = last or _highest(database)
    with database.read() as session:
        for start in custody.windows(session, Instance):
            rows = custody.instance_files(session, start, min(start + custody.WINDOW, instances))
            yield from (
                f"archive/{row.relative_path}" for row in rows if _is_missing(root / "archive", row, holds_its_name)
            )
        for start in custody.windows(session, ResultObject):
            rows = custody.result_files(session, start, min(start + custody.WINDOW, results))
            yield from (f"results/{row.relative_path}" for row in rows if _is_missing(root / "results", row, _never))


def _is_missing(root: Path, row: custody.FileRow, whole_all_the_same: Callable[[Path], bool]) -> bool:
    """True without a file of the right size, unless the row knows of the damage already.

    An instance may have another size and be whole: a resend after damage writes its file meta information anew.
    """
    path = root / row.relative_path
    if row.damage:
        return False
    return not path.is_file() or (path.stat().st_size != row.size and not whole_all_the_same(path))


def _never(_path: Path) -> bool:
    return False


def _require_usable(settings: Settings, target: Path) -> None:
    inside = target.absolute()
    if inside.is_relative_to(settings.data) or settings.data.is_relative_to(inside):
        raise SettingsError(f"{target} and the data directory hold each other.", next_step="Name another folder.")
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = any(target.iterdir())
    except OSError as error:
        raise SettingsError(f"{target} cannot be used: {error.strerror}.", next_step="Name another folder.") from error
    if used and not any((target / name).exists() for name in (MANIFEST, "archive")):
        raise SettingsError(f"{target} holds something that is no backup.", next_step="Name an empty folder.")


def _require_current(live: Database) -> None:
    """Refuse a database of another version, whose rows this one cannot read; its own could copy it."""
    found, needed = live.revision()
    if found != needed:
        raise SettingsError(
            f"The database has schema {found or 'none'}, this version needs {needed}.",
            next_step="Make the backup with the firstread that runs on it. Or run `firstread db upgrade` first, "
            "which copies an SQLite database itself; PostgreSQL, copy it with pg_dump before.",
        )


def _folders(source: Path) -> Iterator[tuple[Path, list[str]]]:
    def fail(error: OSError) -> None:
        raise error

    for folder, inner, names in os.walk(source, onerror=fail):
        inner.sort()
        yield Path(folder), sorted(name for name in names if not name.endswith(_PART))


def _copy_file(source: Path, target: Path, tree: Tree) -> None:
    try:
        state = source.stat()
    except FileNotFoundError:
        return  # retention removed it while we walked; rows say so
    tree.files += 1
    tree.size += state.st_size
    try:
        known = target.stat()
        if (known.st_size, int(known.st_mtime)) == (state.st_size, int(state.st_mtime)):
            return
        if not holds_its_name(source):
            return
    except FileNotFoundError:
        pass
    part = target.with_name(f"{target.name}{_PART}")
    try:
        with source.open("rb") as reader, open(part, "wb", opener=_private) as writer:
            shutil.copyfileobj(reader, writer, 1024 * 1024)
            writer.flush()
            os.utime(part, ns=(state.st_atime_ns, state.st_mtime_ns))
            os.fsync(writer.fileno())
        part.rename(target)
    except FileNotFoundError:
        part.unlink(missing_ok=True)
        tree.files, tree.size = tree.files - 1, tree.size - state.st_size
        return
    tree.copied += 1


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _conclude(target: Path, manifest: Manifest) -> None:
    text = json.dumps(manifest.as_json(), indent=1)
    part = target / f"{MANIFEST}{_PART}"
    try:
        part.write_text(text, encoding="utf-8")
        part.chmod(0o600)
        sync(part)
        part.rename(target / MANIFEST)
        sync(target)
        for copy in target.glob("database-*"):
            if copy.name != manifest.database:
                copy.unlink()
    except OSError as error:
        raise StorageFullError(f"The manifest could not be written: {error.strerror}.") from error


def _highest(database: Database) -> tuple[int, int]:
    with database.read() as session:
        highest = (session.scalar(sa.select(sa.func.max(table.id))) or 0 for table in (Instance, ResultObject))
        return next(highest), next(highest)
