"""What other systems are told and what they order is the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from peers.postgres import postgres
from worklist_rows import NOON, arrive

from triage.catalogue import Narrowing
from triage.database import Database
from triage.findings import Urgency
from triage.orders import OrderSource, PlacedOrder
from triage.priority import Targets
from triage.repositories import list_export, orders, worklist
from triage.repositories.catalogue import DatabaseCatalogue
from triage.repositories.list_query import Filters
from triage.tables import Order, Study

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]
STAT = PlacedOrder(
    source=OrderSource.HL7, sender="RIS", number="1", accession_number="A-b", patient_ids=("P-b",), priority="S",
    urgency=Urgency.STAT, digest="d",
)  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder: Path = tmp_path_factory.mktemp("lists")
    if request.param == "sqlite":
        yield from _filled(f"sqlite:///{folder / 'lists.sqlite'}")
        return
    with postgres() as url:
        yield from _filled(url)


def _filled(url: str) -> Iterator[Database]:
    database = Database(url)
    database.migrate()
    with database.write() as session:
        orders.record(session, [STAT], Targets(), at=NOON)
        for number, name in enumerate("abcd"):
            arrive(session, name, at=NOON + timedelta(minutes=number), patient_name=f"MÜLLER_{name}^JÖRG", count=2)
        worklist.mark_read(session, arrive(session, "r", at=NOON), who="dr", at=NOON)
    yield database
    database.dispose()


def test_the_order_is_that_of_the_list(database: Database) -> None:
    catalogue = DatabaseCatalogue(database)
    found = catalogue.studies(Narrowing(), lambda _: True, 10)
    assert [facts.patient_id for facts in found] == ["P-b", "P-a", "P-c", "P-d", "P-r"]
    assert found[0].urgency is Urgency.STAT
    with database.read() as session:
        places = list_export.places(session, Filters(), None, 10)
        assert [place.id for place in places] == [facts.id for facts in found[:-1]]


@pytest.mark.parametrize(
    ("narrowing", "expected"),
    [
        (Narrowing(patterns=(("patient_name", "*müller_c*"),)), ["P-c"]),
        (Narrowing(patterns=(("patient_name", "m?ller*"),)), ["P-b", "P-a", "P-c", "P-d"]),
        (Narrowing(patterns=(("patient_name", "*100%*"),)), []),
        (Narrowing(unread=True, patient_ids=("P-a", "P-r")), ["P-a"]),
        (Narrowing(accession_numbers=("A-d",), study_dates=("20260101", "")), ["P-d"]),  # without a date it may match
    ],
)
def test_the_database_leaves_out_only_what_cannot_match(
    database: Database, narrowing: Narrowing, expected: list[str]
) -> None:
    found = DatabaseCatalogue(database).studies(narrowing, lambda _: True, 10)
    assert [facts.patient_id for facts in found] == expected


def test_series_and_instances_are_grouped(database: Database) -> None:
    catalogue = DatabaseCatalogue(database)
    (study,) = catalogue.studies(Narrowing(patient_ids=("P-c",)), lambda _: True, 10)
    (series,) = catalogue.series(study.study_instance_uid)
    assert series.instances == 2
    assert len(catalogue.instances(study.study_instance_uid, series.series_instance_uid)) == 2


def test_an_order_from_several_sides_at_once_is_one_row(database: Database) -> None:
    with database.write() as session:
        arrive(session, "race", at=NOON + timedelta(hours=2))
    begin = threading.Barrier(4)
    fresh = replace(STAT, number="race", accession_number="A-race", patient_ids=("P-race",), digest="race")

    def tell(_: int) -> None:
        begin.wait(30)
        with database.write() as session:
            orders.record(session, [fresh], Targets(), at=NOON)

    with ThreadPoolExecutor(4) as sides:
        list(sides.map(tell, range(4)))  # raises what a side raised
    with database.write() as session:
        assert session.query(Order).filter_by(number="race").count() == 1
        study = session.query(Study).filter_by(patient_id="P-race").one()
        assert study.order_urgency is Urgency.STAT
        worklist.mark_read(session, study, who="dr", at=NOON)


def test_the_listener_knows_for_which_new_studies_something_is_ordered(database: Database) -> None:
    said = {uid: [_received(number)] for uid, number in (("1.1", "A-b"), ("1.2", "A-nobody-ordered"), ("1.3", ""))}
    with database.transaction() as connection:
        assert orders.without_orders(connection, said).keys() == {"1.2", "1.3"}
    with database.write() as session:
        study = arrive(session, "late", at=NOON + timedelta(hours=1), accession_number="A-b", patient_id="P-b")
        assert study.urgency is Urgency.STAT
        study.accession_number = "A-late"
        worklist.mark_read(session, study, who="dr", at=NOON)


def _received(accession_number: str) -> Any:
    """What the question looks at of an instance that has come."""
    return SimpleNamespace(header=SimpleNamespace(accession_number=accession_number))
