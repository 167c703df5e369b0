"""No room for SQLite's file: a reason to wait, with the words for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from triage.database import Database
from triage.errors import DatabaseUnavailableError


def test_a_full_disk_is_called_that_and_is_no_server_that_is_away(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'firstread.sqlite'}")
    with database.write() as session:
        session.execute(sa.text("CREATE TABLE kept (content BLOB)"))
    with pytest.raises(DatabaseUnavailableError) as caught, database.write() as session:
        session.execute(sa.text("PRAGMA max_page_count = 3"))
        session.execute(sa.text("INSERT INTO kept VALUES (zeroblob(100000))"))
    database.dispose()
    assert caught.value.advice() == "There is no room for the database. Free disk space below the data directory."
