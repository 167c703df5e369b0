"""What a node stands on, looked at before anything starts: the clock, and the file system of its data directory.

What would break custody is refused; what only weakens it is warned of, at every start and by the doctor.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Final

import sqlalchemy as sa

from triage import release
from triage.database import Database
from triage.durable import sync_folder
from triage.errors import SettingsError
from triage.logging import get_logger
from triage.settings import Settings
from triage.tables import Instance

VOLATILE: Final = frozenset({"tmpfs", "ramfs", "overlay"})
REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs"})
PATIENCE: Final = 2.0  # seconds
YOUNG: Final = 3600.0
"""Seconds after which a stored file belongs to a node that has been at work."""
_MOUNTS: Final = Path("/proc/self/mountinfo")

log = get_logger(__name__)


def require_sane_clock(now: datetime) -> None:
    """Refuse to run with a clock that is certainly wrong: due times, leases and reports would carry its time.

    Raises
    ------
    SettingsError
        The clock stands before this version was made.
    """
    if now < release.DATE:
        raise SettingsError(
            f"The clock says {now:%Y-%m-%d}, which is before this version was made ({release.DATE:%Y-%m-%d}).",
            next_step="Set the clock of this machine, best from a time server.",
        )


def make_folders(settings: Settings) -> None:
    """Make the data directory with what belongs in it, closed to other users, and try it.

    Raises
    ------
    SettingsError
        It cannot be made or written, or its parts lie on file systems between which no file can be renamed.
    """
    try:
        for folder in (settings.data, settings.archive, settings.results):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                sync_folder(folder.parent)  # a loss of power takes a folder with all that was promised to be in it
        with tempfile.TemporaryFile(dir=settings.archive):
            pass
    except OSError as error:
        raise SettingsError(
            f"The data directory {settings.data} cannot be used: {error.strerror}.",
            next_step="Make it writable for this user, or name another one with --data.",
        ) from error
    require_one_device(settings.archive)
    if settings.database.startswith("sqlite") and (kind := file_system(settings.data)) in REMOTE:
        raise SettingsError(
            f"The data directory {settings.data} is on {kind}, where SQLite can lose what was committed.",
            next_step="Use a local disk, or PostgreSQL (database_url).",
        )


def require_one_device(archive: Path) -> None:
    """Refuse an archive whose incoming files cannot be renamed into their place.

    Raises
    ------
    SettingsError
        Some of its folders are mounts or links to another file system.
    """
    device = archive.stat().st_dev
    for name in ("incoming", "store", "quarantine"):
        folder = archive / name
        if folder.exists() and folder.stat().st_dev != device:
            raise SettingsError(
                f"{folder} is on another file system than {archive}: a file cannot be renamed between them.",
                next_step="Mount the whole archive as one file system.",
            )


def require_database(settings: Settings, now: datetime) -> Database:
    """What a part needs before it works: a sane clock, and the database of this archive, with this version's schema.

    Raises
    ------
    SettingsError
        The clock is wrong, or the database has another schema or is not the archive's.
    """
    require_sane_clock(now)
    database = Database(settings.database)
    database.require_current()
    require_memory(settings, now)
    return database


def require_memory(settings: Settings, now: datetime) -> None:
    """Refuse a database without an image beside an archive in use: the list would be empty, and what was acknowledged
    forgotten by everybody but the disk.

    A young file is no sign: a listener killed between its first file and its first row leaves one.

    Raises
    ------
    SettingsError
        The database is another one, or has been lost.
    """
    if not _in_use(settings, now) or _has_rows(settings):
        return
    raise SettingsError(
        f"The database knows of no image, and {settings.archive} holds some: it is not the database of this archive.",
        next_step=(
            "Correct `database_url`, put the backup of the database back, or make one from the archive with "
            "`firstread fsck --reindex`."
        ),
    )


def _in_use(settings: Settings, now: datetime) -> bool:
    if any(names for _, _, names in os.walk(settings.results)):
        return True  # results are made of what rows say
    return any(
        now.timestamp() - file.stat().st_mtime > YOUNG
        for folder, _, names in os.walk(settings.archive / "store")
        for file in (Path(folder, name) for name in names)
    )


def _has_rows(settings: Settings) -> bool:
    database = Database(settings.database)
    if database.is_sqlite and database.url.database and not Path(database.url.database).is_file():
        return False  # to ask would make it
    try:
        if database.revision()[0] is None:
            return False
        with database.read() as session:
            return bool(session.scalar(sa.select(sa.exists(sa.select(Instance.id)))))
    finally:
        database.dispose()


def doubts(settings: Settings) -> Iterator[tuple[str, str]]:
    """(what weakens custody here, what to do), as far as the data directory exists."""
    kind = file_system(settings.data)
    if kind in VOLATILE:
        yield (
            f"{settings.data} is on {kind}: what senders were promised is lost when this machine or container ends",
            "Use a directory on a disk.",
        )
    elif kind in REMOTE:
        yield (
            f"{settings.data} is on {kind}: a receipt is as durable as that server's disk",
            "Use a local disk, or make sure that the server writes synchronously.",
        )


def file_system(folder: Path) -> str:
    """Type of the file system that holds a folder ("ext4", "nfs4"); "" where the system does not say (not Linux)."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    place = folder.resolve()
    found, kind = Path("/"), ""
    for line in lines:
        mount, _, source = line.partition(" - ")
        point = Path(mount.split()[4].encode().decode("unicode_escape"))  # a blank is \040 there
        if place.is_relative_to(point) and point.is_relative_to(found):
            found, kind = point, source.split()[0]
    return kind


def hold(file: Path, what: str) -> IO[str]:
    """Hold a lock file for this process: it says who (process id, boot id) and is free again however this one ends.

    Parameters
    ----------
    what : str
        What may run only once, for the message.

    Raises
    ------
    SettingsError
        Another process holds it, and did so for :data:`PATIENCE`: one that was killed may still be on its way out.
    """
    lock = file.open("a+")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: children of a fork would hold it too
            break
        except OSError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            lock.seek(0)
            holder = lock.readline().split(" ")[0].strip()
            lock.close()
            raise SettingsError(
                f"Another {what} runs on {file.parent} (process {holder or 'unknown'}).",
                next_step="Stop it, or give this one its own --data.",
            ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()} {_boot_id()}\n")
    lock.flush()
    return lock


def stand(settings: Settings, now: datetime) -> IO[str] | None:
    """All of this for a listener: refuses, warns, and holds the embedded database, for which there is one listener.

    A second node on the same data would take the first one's associations and files for its own. On PostgreSQL
    nothing is held: there any number of listeners work together.

    Raises
    ------
    SettingsError
        The clock or the archive is unusable, or another listener works on this database.
    """
    require_sane_clock(now)
    make_folders(settings)
    for doubt, advice in doubts(settings):
        log.warning("ground_doubtful", doubt=doubt, advice=advice)
    file = Database(settings.database).url.database if settings.database.startswith("sqlite") else None
    return hold(Path(f"{file}.listen.lock"), "listener") if file else None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "?"
