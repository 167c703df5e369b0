"""Peers and sessions of before revision 0016: who was admitted may ask for the same, and nobody is signed out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from peers.postgres import postgres

from triage.database import Database, alembic_config
from triage.people import TimeOuts
from triage.repositories import browser_sessions, peers
from triage.services import PeerService

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = TimeOuts(idle=timedelta(hours=1), absolute=timedelta(hours=12))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        yield from _before(f"sqlite:///{tmp_path / 'rows.sqlite'}")
        return
    with postgres() as url:
        yield from _before(url)


def _before(url: str) -> Iterator[Database]:
    database = Database(url)
    with database.engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0015")
    yield database
    database.dispose()


def test_peers_keep_their_services_and_people_their_sessions(before: Database) -> None:
    at = NOON.replace(tzinfo=None)
    with before.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO peers (ae_title, network, note, version, changed_at, changed_by) "
                "VALUES ('CT1', '10.1.2.0/24', 'Room 3', 4, :at, 'anna')"
            ).bindparams(sa.bindparam("at", at, sa.DateTime()))
        )
        connection.execute(
            sa.text(
                "INSERT INTO browser_sessions (digest, settings_token, began_at, seen_at, id_token) "
                "VALUES (:digest, 'x', :at, :at, '')"
            ).bindparams(sa.bindparam("at", at, sa.DateTime()), digest=browser_sessions.digest("secret"))
        )
    before.migrate()
    with before.write() as session:
        (peer,) = peers.all_of(session)
        assert (peer.ae_title, peer.version, peer.services) == ("CT1", 4, [str(service) for service in PeerService])
        known = browser_sessions.find(session, "secret", at=NOON, limits=LIMITS)
        assert known is not None
        assert (known.address, known.browser) == ("", "")
