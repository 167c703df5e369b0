"""What stands on the list of quarantined objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrated import migrate

from triage.database import Database
from triage.instances import Arrival, QuarantinedObject
from triage.repositories import quarantine
from triage.tables import Event, Quarantined

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ARRIVAL = Arrival(
    received_at=NOW,
    association_uid="assoc-1",
    calling_ae_title="CR1",
    called_ae_title="FIRSTREAD",
    peer_address="127.0.0.1",
)
KEPT = QuarantinedObject(
    reason="StudyInstanceUID (0020,000D) is missing.",
    dicom_status=0xC000,
    relative_path=Path("quarantine/a.dcm"),
    digest="a" * 64,
    size=10,
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    arrival=ARRIVAL,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    migrate(database)
    yield database
    database.dispose()


def keep(database: Database, kept: QuarantinedObject = KEPT) -> None:
    with database.write() as session:
        quarantine.record(session, kept)


def rows(database: Database) -> list[Quarantined]:
    with database.read() as session:
        return list(session.scalars(sa.select(Quarantined).order_by(Quarantined.id)))


def test_what_is_kept_aside_has_a_row_and_an_event(database: Database) -> None:
    keep(database)
    (row,) = rows(database)
    assert (row.relative_path, row.reason, row.dicom_status) == ("quarantine/a.dcm", KEPT.reason, 0xC000)
    assert (row.calling_ae_title, row.peer_address, row.association_uid) == ("CR1", "127.0.0.1", "assoc-1")
    assert (row.at, row.digest, row.size, row.dismissed_at) == (NOW, "a" * 64, 10, None)
    with database.read() as session:
        event = session.scalars(sa.select(Event)).one()
    assert (event.kind, event.who, event.detail["dicom_status"]) == ("instance_quarantined", "CR1", "0xc000")


def test_the_same_bytes_again_stand_there_once_and_come_back_when_dismissed(database: Database) -> None:
    keep(database)
    with database.write() as session:
        row = session.scalars(sa.select(Quarantined)).one()
        row.dismissed_at, row.dismissed_by = NOW, "admin"
    keep(database, replace(KEPT, arrival=replace(ARRIVAL, received_at=NOW + timedelta(hours=1))))
    (row,) = rows(database)
    assert (row.at, row.dismissed_at, row.dismissed_by) == (NOW, None, "")
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Event)) == 2
    keep(database, replace(KEPT, relative_path=Path("quarantine/b.dcm")))
    assert len(rows(database)) == 2
