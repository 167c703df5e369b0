"""The overview is true: what is retried, dead, silent or nearly full stands there, and where all is well, nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from test_orders_admin import FEEDS, RIS, beat
from worklist_rows import NOON, PACS, Seen, arrive, deliver, score, start

from triage.order_feeds import HL7, FeedState
from triage.outbox import BUDGET, Verdict
from triage.people import Role
from triage.repositories import browser_sessions, events, heartbeats, order_listing, users
from triage.repositories.deliveries import Attempt
from triage.room import Room

URL = "/api/v1/admin/attention"


@pytest.fixture
def well(house: Any) -> Any:
    """A house in which all is well."""
    house.settings.archive.mkdir()
    for part in ("listen", "work", "deliver"):
        alive(house, part)
    return house


def alive(house: Any, part: str, **detail: Any) -> None:
    with house.database.write() as session:
        heartbeats.beat(session, f"{part}@here:1", part, at=house.clock(), detail=detail)


def told(house: Any, **settings: Any) -> list[tuple[str, str, str]]:
    items = house.client(**settings).get(URL).json()["items"]
    return [(item["subject"], item["gravity"], f"{item['what']} {item['more']}") for item in items]


def said(house: Any, **settings: Any) -> str:
    page: str = house.client(**settings).get("/admin", headers={"Accept": "text/html"}).text
    return page


def attempt(house: Any, verdict: Verdict, error: str, *, hour: int = 0) -> None:
    with house.database.write() as session:
        deliver(session, at=NOON + timedelta(hours=hour), attempt=Attempt(verdict=verdict, error=error))


def test_where_all_is_well_nothing_needs_attention(well: Any) -> None:
    with well.database.write() as session:
        score(session, arrive(session, "a"), [Seen("nodule", 0.1)])  # its report waits to be sent for the first time
    assert told(well) == []
    assert "Nothing." in said(well)


@pytest.mark.parametrize(
    ("queues", "lacks"), [(["analysis", "delivery", "housekeeping"], []), (["analysis"], ["deliver"])]
)
def test_a_worker_is_a_part_of_the_house_for_each_of_its_queues(
    house: Any, queues: list[str], lacks: list[str]
) -> None:
    house.settings.archive.mkdir()
    alive(house, "listen")
    alive(house, "work", queues=queues)
    missing = [said for subject, _, said in told(house, destinations=(PACS,)) if subject == "parts"]
    assert missing == [
        f"No sign of life from {part}: no result is sent. Run `firstread doctor` on its host." for part in lacks
    ]


def test_work_that_nobody_takes_is_told_although_workers_live(well: Any) -> None:
    with well.database.write() as session:
        arrive(session, "a", at=well.clock() - timedelta(seconds=10))
    assert told(well) == [], "it came this moment"
    with well.database.write() as session:
        arrive(session, "b", at=well.clock() - timedelta(minutes=2))
    ((subject, gravity, words),) = told(well)
    assert (subject, gravity) == ("parts", "bad")
    assert words.startswith("An analysis is due and no worker takes it since ")
    assert "AI is standing still" in well.client().get("/").text
    answer = well.client().get("/readyz")
    assert (answer.status_code, "no worker takes it" in answer.json()["detail"]) == (503, True)

    with well.database.write() as session:
        start(session, arrive(session, "c"), at=well.clock())
    assert told(well) == [], "a worker is at another one: those wait their turn"
    assert well.client().get("/readyz").status_code == 200


def test_a_delivery_that_nobody_sends_is_told_where_a_sender_lives(well: Any) -> None:
    with well.database.write() as session:
        score(session, arrive(session, "a"), [Seen("nodule", 0.1)], at=well.clock() - timedelta(minutes=2))
    ((_, gravity, words),) = told(well, destinations=[PACS])
    assert (gravity, words.partition(" since")[0]) == ("bad", "A delivery is due and nobody sends it")


def test_deliveries_that_are_tried_in_vain_are_told_by_destination(well: Any) -> None:
    with well.database.write() as session:
        score(session, arrive(session, "a"), [Seen("nodule", 0.1)])
    attempt(well, Verdict.TRANSIENT, "connection refused")
    ((subject, gravity, words),) = told(well)
    assert (subject, gravity) == ("deliveries", "warn")
    assert f"1 delivery to {PACS} tried in vain so far; the oldest waits since 2026-03-01 12:00 UTC:" in words
    assert "connection refused" in words
    page = said(well)
    assert "Nothing." not in page
    assert "connection refused" in page


def test_a_flood_of_stat_by_the_ai_is_told(well: Any) -> None:
    with well.database.write() as session:
        for number in range(20):
            score(session, arrive(session, f"s{number}"), [Seen("pneumothorax", 0.9 if number < 12 else 0.1)])
    ((subject, gravity, words),) = told(well)
    assert (subject, gravity) == ("breaker", "bad")
    assert "12 of the last 20 analysed cases are STAT by the AI:" in words
    assert told(well, ai_stat_share=0.9) == []


def test_deliveries_that_were_given_up_stand_first(well: Any) -> None:
    with well.database.write() as session:
        score(session, arrive(session, "a"), [Seen("nodule", 0.1)])
        events.record(
            session, "security_alert", at=NOON, who="XR", reason="CALLING_AE_TITLE_NOT_RECOGNISED",
            peer_address="10.9.9.9", count=1,
        )  # fmt: skip
    for hour in range(BUDGET[Verdict.REFUSED]):
        attempt(well, Verdict.REFUSED, "too large", hour=hour)
    assert [(subject, gravity) for subject, gravity, _ in told(well)] == [("deliveries", "bad"), ("peers", "warn")]


def test_a_listed_title_that_was_turned_away_is_not_offered_to_be_admitted(well: Any) -> None:
    with well.database.write() as session:
        events.record(
            session, "security_alert", at=NOON, who="CT1", reason="WITHOUT_ITS_CERTIFICATE", peer_address="10.9.9.9",
            count=1,
        )  # fmt: skip
    ((subject, _, words),) = told(well)
    assert (subject, "CT1" in words, "Admit" in words) == ("peers", True, False)
    page = well.client().get("/admin/peers", headers={"Accept": "text/html"}).text
    assert "without its certificate" in page
    assert "title=CT1" not in page


def test_a_technologist_gets_no_link_to_what_administrators_decide(well: Any) -> None:
    with well.database.write() as session:
        events.record(
            session, "security_alert", at=NOON, who="XR", reason="CALLING_AE_TITLE_NOT_RECOGNISED",
            peer_address="10.9.9.9", count=1,
        )  # fmt: skip
    assert 'href="/admin/peers">XR. Admit' in said(well)
    with well.database.write() as session:
        users.add(session, "root.lee", Role.ADMIN, "", at=NOON, who="test")
        technologist = users.add(session, "t.berg", Role.TECHNOLOGIST, "", at=NOON, who="test")
        secret = browser_sessions.begin(session, at=well.clock(), user=technologist)
    browser = well.client()
    browser.cookies.set("firstread_session", secret)
    page = browser.get("/admin", headers={"Accept": "text/html"}).text
    assert "XR. Admit" in page
    assert "/admin/peers" not in page


@pytest.mark.parametrize(
    ("part", "settings"),
    [("listen", {}), ("work", {}), ("deliver", {}), ("orders", FEEDS)],
)
def test_a_part_that_is_silent_is_missed_where_it_is_needed(well: Any, part: str, settings: Any) -> None:
    destinations = well.settings.model_validate({"destinations": PACS}).destinations
    well.clock.pass_by(minutes=5)
    for other in {"listen", "work", "deliver"} - {part}:
        alive(well, other)
    ((subject, gravity, words),) = told(well, destinations=destinations, **settings)
    assert (subject, gravity) == ("parts", "bad")
    assert f"No sign of life from {part}:" in words


def test_feeds_that_fail_and_messages_that_were_refused_are_told(well: Any) -> None:
    beat(well, FeedState(HL7, NOON), FeedState(RIS, NOON, problem="The provider does not answer."))
    with well.database.write() as session:
        order_listing.record_refusal(session, reason="No accession number.", sender="RIS", count=3, at=NOON)
    assert [(subject, gravity) for subject, gravity, _ in told(well, **FEEDS)] == [
        ("orders", "bad"),
        ("orders", "warn"),
    ]
    page = said(well, **FEEDS)
    assert f"Orders of {RIS} are not heard:" in page
    assert "3 order messages refused lately." in page
    well.clock.pass_by(days=2)
    for part in ("listen", "work"):
        alive(well, part)
    beat(well, FeedState(HL7, NOON), FeedState(RIS, NOON))
    assert told(well, **FEEDS) == [], "what was refused two days ago is on the page of orders"


def test_a_disk_is_told_before_it_refuses_and_when_it_does(well: Any) -> None:
    free_mebibytes = Room.of(well.settings.archive).free_bytes // 2**20
    assert [kind[:2] for kind in told(well, min_free_megabytes=int(free_mebibytes / 1.2))] == [("disk", "warn")]
    assert [kind[:2] for kind in told(well, min_free_megabytes=free_mebibytes * 2)] == [("disk", "bad")]
    alive(well, "listen", refusing="Too little room.")
    assert ("disk", "bad", "New data is refused: Too little room.") in told(well)
    well.settings.archive.rmdir()
    assert any("does not answer" in words for _, _, words in told(well))
