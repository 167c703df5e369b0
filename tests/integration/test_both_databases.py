"""The reading list says the same on SQLite and on PostgreSQL: order, pages, searches, and what is new."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from peers.postgres import postgres
from starlette.testclient import TestClient
from worklist_rows import NOON, arrive

from triage.database import Database
from triage.findings import Urgency
from triage.repositories import events, worklist
from triage.repositories.list_query import Filters, Place
from triage.settings import Settings
from triage.states import ReadingStatus, StudyStatus
from triage.tables import Event, Study
from worklist.app import create_app
from worklist.live import Feed

pytestmark = pytest.mark.peer
MINUTE = timedelta(minutes=1)
NAMES = (
    "MÜLLER^ANNA",
    "muller^Änne",
    "Zoë",
    "ÅNGSTRÖM",
    "aa",
    "AA",
    "a_a",
    "a%a",
    "ß^ss",
    "İstanbul",
    "山田^太郎",
    "",
    "~",
)
SEARCHES = (
    "", "mull", "Müll", "ä", "a%", "_", "SS", "i", "山", "zoe", "aa", "A2026-000", "5.2", "1.2.840.7.3", "müller, anna",
)  # fmt: skip
ROW = st.tuples(
    st.sampled_from((0, 1)),
    st.integers(0, 4),  # due, in minutes: collisions wanted
    st.sampled_from(list(ReadingStatus)),
    st.sampled_from(NAMES),
    st.sampled_from(("DX", "CT", "CT\\SR", "ct", "")),
    st.sampled_from(list(Urgency)),
)
FILTERS = st.builds(
    Filters,
    everything=st.booleans(),
    reading=st.sampled_from((None, *ReadingStatus)),
    status=st.sampled_from((None, *StudyStatus)),
    urgency=st.sampled_from((None, None, *Urgency)),
    modality=st.sampled_from(("", "", "CT", "DX")),
    q=st.sampled_from(SEARCHES),
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Database]]:
    with postgres() as url:
        databases = (Database(f"sqlite:///{tmp_path_factory.mktemp('both') / 'firstread.sqlite'}"), Database(url))
        for database in databases:
            database.migrate()
        yield databases
        for database in databases:
            database.dispose()


@settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(ROW, max_size=20), filters=FILTERS, limit=st.integers(1, 7))
@example(
    rows=[(1, 0, ReadingStatus.READ, name, "DX", Urgency.STAT) for name in NAMES],
    filters=Filters(everything=True, q="mull"),
    limit=3,
)
def test_the_same_facts_stand_in_the_same_order(
    both: tuple[Database, Database], rows: list[Any], filters: Filters, limit: int
) -> None:
    listed = []
    for database in both:
        with database.write() as session:
            session.execute(sa.delete(Event))
            session.execute(sa.delete(Study))
            for number, (tier, due, reading, name, modality, urgency) in enumerate(rows):
                session.add(
                    Study(
                        study_instance_uid=f"1.2.840.7.{number}", opened_at=NOON, received_at=NOON, tier=tier,
                        last_received_at=NOON, due_at=NOON + due * MINUTE, reading_status=reading, patient_name=name,
                        patient_id=f"{number}.2", accession_number=f"A2026-{number:05d}", modality=modality,
                        urgency=urgency,
                    )
                )  # fmt: skip
                session.flush()
        listed.append(_pages(database, filters, limit))
    assert listed[0] == listed[1]


def test_a_case_is_found_by_its_uid_among_the_read_ones_too(both: tuple[Database, Database]) -> None:
    for database in both:
        with database.write() as session:
            session.execute(sa.delete(Event))
            session.execute(sa.delete(Study))
            session.add(
                Study(
                    study_instance_uid="1.2.840.99.7", opened_at=NOON, received_at=NOON, last_received_at=NOON,
                    due_at=NOON, reading_status=ReadingStatus.READ, patient_name="KELLER^ANNA",
                )
            )  # fmt: skip
        for filters in (
            Filters(everything=True, q="1.2.840.99.7"),
            Filters(reading=ReadingStatus.READ, q="1.2.840.99.7"),
        ):
            assert _pages(database, filters, 5) == ["1.2.840.99.7"]


def _pages(database: Database, filters: Filters, limit: int) -> list[str]:
    uids: list[str] = []
    after: Place | None = None
    with database.read() as session:
        while True:
            page = worklist.list_page(session, filters, after, limit)
            uids += [case.study.study_instance_uid for case in page.cases]
            after = page.next
            if after is None:
                return uids


def test_a_tag_holds_until_somebody_commits(both: tuple[Database, Database], tmp_path: Path) -> None:
    for number, database in enumerate(both):
        client = TestClient(
            create_app(Settings(data=tmp_path), database, clock=lambda: NOON), base_url="http://127.0.0.1:8080"
        )
        with database.write() as session:
            arrive(session, f"first{number}")
        page = client.get("/api/v1/worklist")
        tag = {"If-None-Match": page.headers["etag"]}
        for _ in range(2):
            unchanged = client.get("/api/v1/worklist", headers=tag)
            assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (
                304, b"", page.headers["etag"],
            )  # fmt: skip
        with database.write() as session:
            arrive(session, f"second{number}")
        changed = client.get("/api/v1/worklist", headers=tag)
        assert changed.status_code == 200
        assert len(changed.json()["items"]) == len(page.json()["items"]) + 1
        again = client.get("/api/v1/worklist", headers={"If-None-Match": f'"other", W/{changed.headers["etag"]}'})
        assert again.status_code == 304


def test_what_is_committed_behind_later_events_is_seen_and_told(
    both: tuple[Database, Database], tmp_path: Path
) -> None:
    """Two transactions that overlap: the one that took its event id first commits last."""
    _, database = both
    client = TestClient(
        create_app(Settings(data=tmp_path), database, clock=lambda: NOON), base_url="http://127.0.0.1:8080"
    )

    async def story() -> list[str]:
        notices = Feed(database).follow(None)
        await anext(notices)
        with database.write() as slow:
            arrive(slow, "slow")
            slow.flush()
            with database.write() as quick:
                events.record(quick, "quick", at=NOON)
            told = [(await anext(notices)).kind]
            tag = client.get("/api/v1/worklist").headers["etag"]
        told += [(await anext(notices)).kind for _ in range(2)]
        assert client.get("/api/v1/worklist", headers={"If-None-Match": tag}).status_code == 200
        await notices.aclose()
        return told

    async def bounded() -> list[str]:
        async with asyncio.timeout(20):
            return await story()

    assert asyncio.run(bounded()) == ["quick", "instance_stored", "study_complete"]
