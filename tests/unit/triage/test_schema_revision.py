"""What is asked of a schema without alembic is what alembic says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from triage import schema_revision
from triage.database import Database, alembic_config


def test_the_needed_revision_is_alembics_head() -> None:
    assert schema_revision.needed() == ScriptDirectory.from_config(alembic_config()).get_current_head()


def test_the_found_revision_is_alembics_in_an_empty_and_in_a_made_database(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'firstread.sqlite'}")
    assert database.revision()[0] is None
    database.migrate()
    with database.engine.connect() as connection:
        noted = MigrationContext.configure(connection).get_current_revision()
    assert database.revision() == (noted, noted)
    database.dispose()


def test_a_database_is_opened_and_asked_without_alembic() -> None:
    code = "import sys, triage.database as d; d.Database('sqlite://').revision(); sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
