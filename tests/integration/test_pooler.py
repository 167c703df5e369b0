"""PgBouncer in transaction mode before PostgreSQL: everything runs, copies of the database are refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from peers.pgbouncer import pgbouncer
from peers.postgres import postgres

from firstread.backup import backup
from firstread.doctor import examine
from triage.database import Database
from triage.errors import SettingsError
from triage.settings import Settings

pytestmark = pytest.mark.peer
STATEMENTS, CLIENTS = 40, 4


def test_everything_runs_through_a_pooler_but_pg_dump(tmp_path: Path) -> None:
    with postgres() as url, pgbouncer(url, servers=2) as pooled:
        direct, database = Database(url), Database(pooled)
        assert not direct.behind_pooler()
        assert database.behind_pooler()
        database.migrate()

        def use(number: int) -> int:
            watch = database.watch()
            for _ in range(STATEMENTS):  # the driver prepares what it runs for the sixth time
                watch.changed()
                with database.write() as session:
                    session.execute(sa.text("UPDATE installation SET id = id WHERE id = :id"), {"id": number})
                with database.look() as session:
                    session.scalar(sa.text("SELECT count(*) FROM studies WHERE id = :id"), {"id": number})
            watch.close()
            return number

        with ThreadPoolExecutor(CLIENTS) as pool:
            assert list(pool.map(use, range(CLIENTS))) == list(range(CLIENTS))

        settings = Settings(data=tmp_path / "data", database_url=pooled)
        settings.data.mkdir()
        with pytest.raises(SettingsError, match="connection pooler"):
            backup(settings, tmp_path / "kept", now=datetime.now(UTC))
        assert not [*(tmp_path / "kept").iterdir()], "it is refused before anything is copied"
        (said,) = (finding for finding in examine(settings) if finding.subject == "database")
        assert "pooler" in said.message
        direct.dispose()
        database.dispose()
