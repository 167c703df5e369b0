"""``firstread restore``: a backup becomes the data directory of a node that has not started yet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from firstread.backup import Manifest, copy_tree, missing_files, trees_of
from firstread.database_copies import digest, require_restorable, restore_from
from triage.database import Database
from triage.errors import SettingsError, StorageFullError
from triage.repositories import heartbeats, installation
from triage.settings import Settings
from workers.clock import utc_now


@dataclass(kw_only=True)
class Restored:
    """What came back. ``missing`` as in :class:`firstread.backup.Manifest`; ``upgrade``: the schema is an older one."""

    made_at: str
    data: str
    database: bool
    upgrade: bool = False
    files: int = 0
    missing: list[str] = field(default_factory=list)
    missing_count: int = 0


def restore(source: Path, settings: Settings, *, progress: Callable[[str], None] = lambda _name: None) -> Restored:
    """Make the data directory of ``settings`` out of a backup; it appears under its name only when it is whole.

    Raises
    ------
    SettingsError
        ``source`` is no finished backup or of a later version, its database copy was altered, or there is something
        at the data directory already.
    StorageFullError
        No room, or a file cannot be read.
    """
    manifest = Manifest.read(source)
    data = settings.data
    if data.exists() and any(data.iterdir()):
        raise SettingsError(f"{data} is not empty.", next_step="Restore into a new directory with --data.")
    copy = source / manifest.database if manifest.database else None
    if copy is not None:
        progress("database")
        if not copy.is_file() or digest(copy) != manifest.database_sha256:
            raise SettingsError(
                f"{copy} is not the copy that the manifest names.", next_step="Use another backup; this one is damaged."
            )
    _require_same_kind(manifest, settings)
    database = Database(settings.database)
    _require_database(database, empty=copy is not None)
    begun = data.with_name(f"{data.name}.restoring")
    shutil.rmtree(begun, ignore_errors=True)  # of a restore that broke off
    parts = settings.model_copy(update={"data": begun})
    try:
        for name, target in trees_of(parts).items() | {("bundles", begun / "bundles")}:
            if name in manifest.trees:
                progress(name)
                copy_tree(source / name, target)
        (begun / "archive").mkdir(mode=0o700, parents=True, exist_ok=True)
        (begun / "results").mkdir(mode=0o700, parents=True, exist_ok=True)
        if data.exists():
            data.rmdir()
        if copy is not None and settings.database.startswith("sqlite"):
            restore_from(copy, Database(parts.database))
        begun.rename(data)
    except OSError as error:
        raise StorageFullError(f"{begun} could not become {data}: {error.strerror}.") from error
    try:
        if copy is not None and not database.is_sqlite:
            progress("database")
            restore_from(copy, database)
        if copy is not None or not database.is_sqlite:
            with database.write() as session:
                installation.renew_device_uid(session, at=utc_now())
                heartbeats.forget(session)  # of processes of the other node, which would pass for ours
        return _look(manifest, settings, database)
    finally:
        database.dispose()


def _require_same_kind(manifest: Manifest, settings: Settings) -> None:
    kind = Database(settings.database).url.get_backend_name()
    if kind != manifest.database_kind:
        raise SettingsError(
            f"The backup is of a {manifest.database_kind} database, database_url names {kind}.",
            next_step=f"Set database_url to {manifest.database_kind}.",
        )


def _require_database(database: Database, *, empty: bool) -> None:
    """Refuse a PostgreSQL that is not empty, or not filled where the backup has no copy to fill it with."""
    if empty:
        require_restorable(database)
    elif not database.is_sqlite and database.revision()[0] is None:
        raise SettingsError(
            "The backup has no copy of the database, and the one of database_url is empty.",
            next_step="Bring your own copy back into it first (pg_restore), then run this again.",
        )


def _look(manifest: Manifest, settings: Settings, database: Database) -> Restored:
    restored = Restored(
        made_at=manifest.made_at,
        data=str(settings.data),
        database=bool(manifest.database),
        files=sum(tree.files for tree in manifest.trees.values()),
    )
    found, needed = database.revision()
    if found != needed:
        restored.upgrade = True
        return restored
    for path in missing_files(database, settings.data):
        restored.missing_count += 1
        restored.missing += [path] if len(restored.missing) < 100 else []
    return restored
