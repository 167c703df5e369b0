"""Empty databases of this version's schema for tests that are not about its making, which takes half a second."""

from __future__ import annotations

import functools
import os
import tempfile
import threading
from pathlib import Path
from typing import Final

from dicom_node.incoming import sync_folder
from triage.database import Database

_ALONE: Final = threading.Lock()
"""Alembic keeps what it is at in module globals, and `make faults ARGS=--jobs` begins several faults at once."""


def migrate(database: Database) -> None:
    """As :meth:`Database.migrate`; a SQLite file that is not there yet becomes a copy of one made before."""
    file = Path(database.url.database or "")
    with _ALONE:
        if database.is_sqlite and not file.exists():
            with file.open("wb") as made:  # durable, as what the product makes: some tests take the disk away
                made.write(empty_sqlite())
                made.flush()
                os.fsync(made.fileno())
            sync_folder(file.parent)
        else:
            database.migrate()


@functools.cache
def empty_sqlite() -> bytes:
    """The file of a migrated SQLite database without rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "firstread.sqlite"
        database = Database(f"sqlite:///{file}")
        database.migrate()
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.dispose()
        return file.read_bytes()
