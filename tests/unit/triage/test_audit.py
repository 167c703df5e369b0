"""The audit keeps every change as it was, on a real database, and lets nobody change it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from peers.postgres import postgres
from sqlalchemy.exc import IntegrityError

from triage.database import Database
from triage.repositories import audit
from triage.repositories.audit import AuditFilter
from triage.tables import AuditEntry, Event

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(f"sqlite:///{tmp_path / 'rows.sqlite'}") as database:
        yield database


def change(database: Database, subject: str, *, who: str = "anna", minutes: int = 0) -> None:
    with database.write() as session:
        audit.record(
            session, at=NOW + timedelta(minutes=minutes), who=who, action="peer_changed", subject=subject,
            before={"network": None}, after={"network": "10.0.0.0/8"},
        )  # fmt: skip


def subjects(database: Database, wanted: AuditFilter, **page: int) -> list[str]:
    with database.read() as session:
        return [row.subject for row in audit.listed(session, wanted, **page)]


def test_a_change_stands_with_before_and_after_and_tells_whoever_watches(database: Database) -> None:
    change(database, "peer:CT1")
    with database.write() as session:
        audit.record(session, at=NOW, who="x", action="peer_removed", subject="peer:CT2", before={}, after=None)
    with database.read() as session:
        removed, changed = audit.listed(session, AuditFilter())
        told = session.scalars(sa.select(Event).order_by(Event.id)).first()
        assert session.scalar(sa.select(sa.func.count()).where(AuditEntry.after.is_(None))) == 1
    assert (changed.at, changed.who, changed.before, changed.after) == (
        NOW, "anna", {"network": None}, {"network": "10.0.0.0/8"},
    )  # fmt: skip
    assert (removed.before, removed.after) == ({}, None)
    assert told is not None
    assert (told.kind, told.who, told.detail["subject"]) == ("house_changed", "anna", "peer:CT1")


def test_entries_are_found_by_who_subject_and_time_page_by_page(database: Database) -> None:
    for number, subject in enumerate(["peer:CT1", "peer:CT2", "user:bert", "peer_x:1"]):
        change(database, subject, who=f"w{number % 2}", minutes=number)
    assert subjects(database, AuditFilter(subject="peer:")) == ["peer:CT2", "peer:CT1"]
    assert subjects(database, AuditFilter(subject="peer:CT")) == []
    assert subjects(database, AuditFilter(who="w1")) == ["peer_x:1", "peer:CT2"]
    assert subjects(database, AuditFilter(action="peer_added")) == []
    middle = AuditFilter(since=NOW + timedelta(minutes=1), until=NOW + timedelta(minutes=3))
    assert subjects(database, middle) == ["user:bert", "peer:CT2"]
    assert subjects(database, AuditFilter(), before=3, limit=1) == ["peer:CT2"]


def refuse_changes(database: Database) -> None:
    change(database, "peer:CT1")
    for statement in (sa.update(AuditEntry).values(who="nobody"), sa.delete(AuditEntry)):
        with pytest.raises(IntegrityError, match="neither changed nor removed"), database.write() as session:
            session.execute(statement)
    assert subjects(database, AuditFilter(who="anna")) == ["peer:CT1"]


def test_no_entry_can_be_changed_or_removed(database: Database) -> None:
    refuse_changes(database)


@pytest.mark.peer
@pytest.mark.timeout(120)
def test_nor_on_postgresql() -> None:
    with postgres() as url, opened(url) as database:
        refuse_changes(database)
        assert subjects(database, AuditFilter(subject="peer:")) == ["peer:CT1"]
