"""The schema of the database: made when there is none, brought forward by command only, after a copy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from triage.database import Database, alembic_config
from triage.errors import SettingsError
from triage.settings import Settings


def make_or_require(settings: Settings) -> None:
    """Make the schema in an empty database; refuse any other than this version's.

    Raises
    ------
    SettingsError
        The schema is older or newer. Nothing was changed.
    DatabaseDamagedError
        The file of the embedded database is not whole.
    """
    database = Database(settings.database)
    try:
        database.require_sound()
        if database.revision()[0] is None:
            database.migrate()
        database.require_current()
    finally:
        database.dispose()


def upgrade(settings: Settings, *, now: datetime, backed_up: bool = False) -> Path | None:
    """Bring the schema to this version, after a copy of the database; returns where the copy is.

    Parameters
    ----------
    now : datetime
        Goes into the copy's name.
    backed_up : bool
        The person says that there is a backup: needed on PostgreSQL, which this cannot copy.

    Raises
    ------
    SettingsError
        The schema is newer than this version, or there is no backup.
    """
    database = Database(settings.database)
    try:
        found, needed = database.revision()
        if found == needed:
            return None
        if found is not None and found not in _known():
            database.require_current()
        copy = None
        if found is not None and not backed_up:
            copy = _copy(database, found, now)
        database.migrate()
    finally:
        database.dispose()
    return copy


def _known() -> set[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - half a second that a start on a known schema saves

    return {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}


def _copy(database: Database, found: str, now: datetime) -> Path:
    """A consistent copy beside an SQLite file, also while others write."""
    if not database.is_sqlite or not database.url.database:
        raise SettingsError(
            f"The database has schema {found} and would be changed.",
            next_step="Make a backup (pg_dump), then run `firstread db upgrade --backed-up`.",
        )
    source = Path(database.url.database)
    copy = source.with_name(f"{source.name}.{found}.{now:%Y%m%dT%H%M%S}")
    copy.touch(mode=0o600, exist_ok=False)
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(copy)) as kept:
        live.backup(kept)
    return copy
