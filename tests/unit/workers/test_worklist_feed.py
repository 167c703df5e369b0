"""The orders of new studies from a Modality Worklist: DCMTK's wlmscpfs in the part of the RIS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from peers.processes import free_port
from peers.worklist_server import WorklistServer, worklist_server
from worklist_rows import NOON, arrive

from triage.database import Database
from triage.errors import DeliveryError
from triage.findings import Urgency
from triage.order_feeds import OrderFeed
from triage.repositories import order_listing, worklist
from triage.settings import Settings
from triage.tables import Study
from workers.orders.worklist_feed import AGAIN, WorklistFeed

pytestmark = [pytest.mark.timeout(60), pytest.mark.peer]


@pytest.fixture(scope="module")
def ris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorklistServer]:
    with worklist_server(tmp_path_factory.mktemp("ris")) as server:
        yield server


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'feed.sqlite'}")
    made.migrate()
    yield made
    made.dispose()


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def feed_of(database: Database, address: str, clock: Clock, **options: object) -> WorklistFeed:
    feed = OrderFeed(address=address, **options)  # type: ignore[arg-type]
    return WorklistFeed(database, Settings(), feed, clock)


def study(database: Database, name: str) -> Study:
    with database.read() as session:
        return session.query(Study).filter_by(accession_number=f"A-{name}").one()


def test_a_study_gets_the_class_that_its_order_asks_for(database: Database, ris: WorklistServer) -> None:
    ris.schedule("A-keller", "STAT", patient_id="P-keller")
    ris.schedule("A-weber", "HIGH", patient_id="P-weber")
    ris.schedule("A-weber", "LOW", patient_id="P-weber", procedure="RP2")
    with database.write() as session:
        for name in ("keller", "weber", "nobody"):
            arrive(session, name)
    assert feed_of(database, ris.address, Clock()).look() == 3
    assert [study(database, name).urgency for name in ("keller", "weber", "nobody")] == [
        Urgency.STAT, Urgency.URGENT, Urgency.ROUTINE,
    ]  # fmt: skip
    assert study(database, "keller").explanation.startswith("ordered STAT")


def test_an_entry_says_where_the_patient_is_with_or_without_a_priority(database: Database, ris: WorklistServer) -> None:
    ris.schedule("A-ward", "", patient_id="P-ward", CurrentPatientLocation="ICU^3", RequestingService="Surgery")
    ris.schedule("A-both", "STAT", patient_id="P-both", RequestingService="Surgery")
    with database.write() as session:
        for name in ("ward", "both"):
            arrive(session, name)
    assert feed_of(database, ris.address, Clock()).look() == 2
    assert [study(database, name).order_ward for name in ("ward", "both")] == ["ICU 3", "Surgery"]
    assert [study(database, name).urgency for name in ("ward", "both")] == [Urgency.ROUTINE, Urgency.STAT]


def test_an_entry_of_another_patient_claims_nothing(database: Database, ris: WorklistServer) -> None:
    ris.schedule("A-mixed", "STAT", patient_id="P-other")
    with database.write() as session:
        arrive(session, "mixed")
    feed_of(database, ris.address, Clock()).look()
    mixed = study(database, "mixed")
    assert (mixed.urgency, mixed.flags) == (Urgency.ROUTINE, ["order_mismatch"])


def test_a_study_is_asked_about_again_after_a_while_and_then_no_more(database: Database, ris: WorklistServer) -> None:
    clock = Clock()
    feed = feed_of(database, ris.address, clock, priorities={"sofort": "STAT"})
    with database.write() as session:
        arrive(session, "late")
    assert feed.look() == 0
    ris.schedule("A-late", "SOFORT", patient_id="P-late")
    assert feed.look() == 0  # asked already, and nothing to wait for yet
    clock.now = NOON + AGAIN[0]
    assert feed.look() == 1
    assert study(database, "late").urgency is Urgency.STAT
    heard = []
    for age in (*AGAIN[1:], timedelta(hours=3)):
        clock.now = NOON + age
        heard.append(feed.look())
    assert heard == [1, 1, 1, 0]


def test_what_is_read_or_old_is_not_asked_about(database: Database, ris: WorklistServer) -> None:
    ris.schedule("A-done", "STAT", patient_id="P-done")
    ris.schedule("A-old", "STAT", patient_id="P-old")
    with database.write() as session:
        worklist.mark_read(session, arrive(session, "done"), who="dr", at=NOON)
        arrive(session, "old", at=NOON - timedelta(days=2))
    assert feed_of(database, ris.address, Clock()).look() == 0


def test_a_provider_that_is_away_costs_nothing_and_is_asked_again(database: Database, ris: WorklistServer) -> None:
    ris.schedule("A-again", "STAT", patient_id="P-again")
    with database.write() as session:
        arrive(session, "again")
    away = feed_of(database, f"RIS@127.0.0.1:{free_port()}", Clock())
    with pytest.raises(DeliveryError):
        away.look()
    assert away.asked == {}
    there = feed_of(database, ris.address, Clock())
    assert there.look() == 1
    with database.read() as session:
        assert [order.source for order in [one.order for one in order_listing.listed(session)]] == ["WORKLIST"]
