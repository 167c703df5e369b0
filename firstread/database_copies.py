"""A consistent copy of the database while others write, and the way back."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from triage.database import Database
from triage.errors import FirstreadError, SettingsError, StorageFullError

_LONGEST: Final = 6 * 3600
"""Seconds that pg_dump or pg_restore may take."""


def require_copyable(database: Database) -> None:
    """Refuse what :func:`copy_to` could not do: before it, hours may go into copying files.

    Raises
    ------
    FirstreadError
        pg_dump is missing, or a pooler stands before the server.
    """
    if not database.is_sqlite:
        _installed("pg_dump")
        _require_direct(database)


def require_restorable(database: Database) -> None:
    """The same of :func:`restore_from` into PostgreSQL.

    Raises
    ------
    FirstreadError
        pg_restore is missing, a pooler stands before the server, or the database has a schema.
    """
    if database.is_sqlite:
        return
    _installed("pg_restore")
    _require_direct(database)
    if database.revision()[0] is not None:
        raise SettingsError("The database of database_url is not empty.", next_step="Name an empty one.")


def copy_to(database: Database, target: Path) -> None:
    """Copy everything that is committed at one moment; nobody has to stop.

    SQLite is copied page by page (its backup interface), PostgreSQL with ``pg_dump`` in its custom format.

    Raises
    ------
    FirstreadError
        The copy could not be made; says why.
    """
    target.touch(mode=0o600, exist_ok=False)
    if database.is_sqlite:
        _copy_sqlite(Path(database.url.database or ""), target)
    else:
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={target}", url=database.url)
    sync(target)


def restore_from(copy: Path, database: Database) -> None:
    """Bring a copy back into a database that does not exist yet (SQLite) or is empty (PostgreSQL).

    Raises
    ------
    FirstreadError
        It could not be brought back, or something is there already.
    """
    if database.is_sqlite:
        target = Path(database.url.database or "")
        target.touch(mode=0o600, exist_ok=False)
        _copy_sqlite(copy, target)
        sync(target)
        return
    require_restorable(database)
    _run("pg_restore", "--no-owner", "--exit-on-error", str(copy), url=database.url)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make a file or folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_sqlite(source: Path, target: Path) -> None:
    if not source.is_file():
        raise SettingsError(f"There is no database at {source}.", next_step="Check `data` and `database_url`.")
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(target)) as kept,
        ):
            live.backup(kept)  # in one step: a reader in WAL mode holds no writer up
            kept.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
            (verdict,) = kept.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            raise StorageFullError(f"There is no room for the copy at {target.parent}.") from error
        raise FirstreadError(f"The database could not be copied: {type(error).__name__}.") from error
    if verdict != "ok":
        raise FirstreadError("The database is damaged.", next_step="Restore the last backup, then `firstread fsck`.")


def _require_direct(database: Database) -> None:
    """Refuse to copy through a pooler: what pg_dump sets for itself would stay for whoever comes next."""
    if database.behind_pooler():
        raise SettingsError(
            "database_url leads through a connection pooler (PgBouncer), which PostgreSQL's programs cannot use.",
            next_step="Name PostgreSQL itself for this command: FIRSTREAD_DATABASE_URL=postgresql://...:5432/...",
        )


def _installed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise FirstreadError(
            f"{program} is not installed here.",
            next_step="Install PostgreSQL's client programs, or copy the database yourself and add --without-database.",
        )
    return path


def _run(program: str, *arguments: str, url: sa.URL) -> None:
    # As a whole, with what it says of TLS; but the password, which arguments would show to everybody.
    name = sa.URL.create(
        "postgresql", username=url.username, host=url.host, port=url.port, database=url.database, query=url.query
    ).render_as_string()
    command = [_installed(program), f"--dbname={name}", *arguments]
    environment = {"PATH": os.defpath}
    if url.password is not None:
        environment["PGPASSWORD"] = str(url.password)
    try:
        done = subprocess.run(  # a fixed program, arguments of ours, no shell
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LONGEST, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FirstreadError(f"{program} did not end: {type(error).__name__}.") from error
    if done.returncode != 0:
        # Its words may quote a row: only the last line's class of failure is safe to show, so none is.
        raise FirstreadError(
            f"{program} ended with status {done.returncode}.",
            next_step=f"Run {program} by hand with the same database; its version must not be older than the server.",
        )
