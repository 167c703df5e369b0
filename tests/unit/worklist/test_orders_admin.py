"""Orders and their feeds for administrators: what each gave, what was refused, which feed stands still."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import NOON, arrive

from triage.findings import Urgency
from triage.order_feeds import HL7, FeedState, Hl7Orders, OrderFeed
from triage.orders import OrderSource, PlacedOrder
from triage.priority import Targets
from triage.repositories import heartbeats, order_listing, orders

URL = "/api/v1/admin/orders"
RIS = "RIS@10.0.0.7:104"
FEEDS: Any = {"order_feeds": (OrderFeed(address=RIS),), "hl7_orders": Hl7Orders(port=2575)}
HTML = {"Accept": "text/html"}


def placed(accession: str, urgency: Urgency | None, **said: Any) -> PlacedOrder:
    usual = {"source": OrderSource.HL7, "sender": "RIS|HOSP", "number": accession, "patient_ids": (), "priority": "S"}
    return PlacedOrder(**{**usual, "accession_number": accession, "urgency": urgency, **said})


@pytest.fixture
def ordered(house: Any) -> Any:
    """Two studies and four orders: one of each, one of a foreign patient, one that waits, one that was cancelled."""
    with house.database.write() as session:
        arrive(session, "a")
        arrive(session, "b")
        wanted = [
            placed("A-a", Urgency.STAT),
            placed("A-b", Urgency.URGENT, patient_ids=("P-other",)),
            placed("A-later", None, priority="7"),
            placed("A-gone", Urgency.STAT, cancelled=True),
        ]
        orders.record(session, wanted, Targets(), at=NOON)
    return house


def beat(house: Any, *states: FeedState) -> None:
    with house.database.write() as session:
        detail = {"hl7_port": 2575, "feeds": [state.as_detail() for state in states]}
        heartbeats.beat(session, "orders@here:1", "orders", at=house.clock(), detail=detail)


def test_every_order_says_what_it_gave(ordered: Any) -> None:
    client = ordered.client()
    items = {item["accession_number"]: item for item in client.get(URL).json()["items"]}
    (study,) = items["A-a"]["studies"]
    assert (study["urgency"], study["order_urgency"], study["of_this_patient"]) == ("STAT", "STAT", True)
    (foreign,) = items["A-b"]["studies"]
    assert (foreign["urgency"], foreign["order_urgency"], foreign["of_this_patient"]) == ("ROUTINE", None, False)
    assert (items["A-later"]["priority"], items["A-later"]["urgency"], items["A-later"]["studies"]) == ("7", None, [])
    assert items["A-gone"]["cancelled_at"] is not None
    waiting = client.get(URL, params={"waiting": True}).json()["items"]
    assert [item["accession_number"] for item in waiting] == ["A-later"]
    assert client.get(f"{URL}/feeds").json()["waiting"] == 1


def test_orders_come_in_pages(ordered: Any) -> None:
    client, seen, before = ordered.client(), [], None
    for _ in range(4):
        page = client.get(URL, params={"limit": 1} | ({"before": before} if before else {})).json()
        seen += [item["accession_number"] for item in page["items"]]
        before = page["next_before"]
    assert len(set(seen)) == 4
    assert client.get(URL, params={"limit": 1, "before": before}).json() == {"items": [], "next_before": None}


def test_a_feed_works_fails_or_is_silent(ordered: Any) -> None:
    client = ordered.client(**FEEDS)
    feeds = client.get(f"{URL}/feeds").json()["feeds"]
    assert [(feed["feed"], feed["state"]) for feed in feeds] == [(HL7, "silent"), (RIS, "silent")]
    beat(
        ordered, FeedState(HL7, NOON, last_at=NOON, messages=3, refused=1, orders=2), FeedState(RIS, NOON, problem="x")
    )
    hl7, ris = client.get(f"{URL}/feeds").json()["feeds"]
    assert (hl7["state"], hl7["messages"], hl7["refused"], hl7["orders"]) == ("working", 3, 1, 2)
    assert (ris["state"], ris["problem"], ris["last_at"]) == ("failing", "x", None)
    ordered.clock.pass_by(minutes=2)
    assert [feed["state"] for feed in client.get(f"{URL}/feeds").json()["feeds"]] == ["silent", "silent"]


def test_refusals_and_unknown_priorities_are_told_by_sender(ordered: Any) -> None:
    with ordered.database.write() as session:
        for minute in range(3):
            order_listing.record_refusal(
                session, reason="No accession number in OBR-18.", sender="RIS|HOSP", count=2,
                at=NOON + timedelta(minutes=minute),
            )  # fmt: skip
    told = ordered.client().get(f"{URL}/feeds").json()
    assert told["refused"] == [
        {
            "sender": "RIS|HOSP", "reason": "No accession number in OBR-18.", "times": 6,
            "last_at": "2026-03-01T12:02:00Z",
        }
    ]  # fmt: skip
    (sender,) = told["senders"]
    assert (sender["orders"], sender["unknown"], sender["cancelled"]) == (4, 1, 1)


def test_the_page_shows_it_all(ordered: Any) -> None:
    client = ordered.client(**FEEDS)
    client.headers.update(HTML)
    beat(
        ordered, FeedState(HL7, NOON, last_at=NOON, messages=3, refused=1, orders=2), FeedState(RIS, NOON, problem="x")
    )
    with ordered.database.write() as session:
        order_listing.record_refusal(session, reason="<b>No</b> MSH.", sender="<i>", count=2, at=NOON)
    page = client.get("/admin/orders").text
    for words in (
        "2 orders in 3 messages, 1 refused", "not working</span> x", RIS, "a priority that nobody knows", "cancelled",
        "names another patient", "1 of the last day without a study", "&lt;b&gt;No&lt;/b&gt; MSH.", "2 times",
    ):  # fmt: skip
        assert words in page, words
    assert "A-later" in client.get("/admin/orders?waiting=true").text
    assert "A-gone" not in client.get("/admin/orders?waiting=true").text


def test_without_feeds_the_page_says_so(client: TestClient) -> None:
    page = client.get("/admin/orders", headers=HTML).text
    assert "None is set" in page
    assert "None.</p>" in page
