"""The administrator's pages as HTML: each there, each with its facts, none for whom it is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from test_models_api import KEPT, publish
from worklist_rows import NOON, PACS, Seen, arrive, deliver, score

from triage.outbox import BUDGET, Verdict
from triage.peers import CallingPeer
from triage.repositories import events, peers, quarantine
from triage.repositories.deliveries import Attempt
from worklist.page.admin_routes import PAGES

HTML = {"Accept": "text/html"}
EVIL = "<script>alert('x')</script>"
RIS = "mllp://10.0.0.6:2575"


def fill(house: Any) -> None:
    publish(house)
    house.settings.archive.mkdir()
    with house.database.write() as session:
        score(session, arrive(session, "a"), [Seen("nodule", 0.1)])
        arrive(session, "b", at=NOON + timedelta(minutes=5))
        quarantine.record(session, KEPT)
        peers.add(session, CallingPeer(ae_title="CT1", network="10.1.2.0/24"), EVIL, at=NOON, who="anna")
        events.record(
            session, "security_alert", at=NOON, who="STRANGER", reason="CALLING_AE_TITLE_NOT_RECOGNISED",
            peer_address="10.9.9.9", count=2,
        )  # fmt: skip
    for number in range(BUDGET[Verdict.REFUSED]):
        refused = Attempt(verdict=Verdict.REFUSED, dicom_status=0xA900, error="too large")
        with house.database.write() as session:
            deliver(session, at=NOON + timedelta(hours=number), attempt=refused)


@pytest.fixture
def pages(house: Any) -> TestClient:
    fill(house)
    destinations = house.settings.model_validate({"destinations": f"{PACS},{RIS}"}).destinations
    client: TestClient = house.client(destinations=destinations)
    client.headers.update(HTML)
    return client


def test_every_page_tells_its_facts_and_repeats_them_as_a_fragment(pages: TestClient) -> None:
    told = {
        "": ("1 delivery given up", "1 object in quarantine", "STRANGER", "1 analysis running or waiting"),
        "/peers": ("CT1", "10.1.2.0/24", "Turned away lately", "every AE title is admitted"),
        "/destinations": (PACS, "0 taken, not proven", "1 given up", "Test", RIS, "0 acknowledged"),
        "/models": ("cxr", "Nodule", "nobody has measured how many are right at 0.6", "Disable"),
        "/analyses": ("Running and waiting", "queued", "Analyse again"),
        "/deliveries": ("too large", "Send these again"),
        "/quarantine": ("StudyInstanceUID (0020,000D) is missing.", "it will not try again by itself"),
        "/orders": ("None is set", "Newest first"),
        "/rules": ("None: order priority",),
        "/disk": ("New data refused", "free"),
        "/audit": ("Peer added", "peer:CT1", "10.1.2.0/24"),
    }
    for path, words in told.items():
        page, part = pages.get(f"/admin{path}"), pages.get(f"/fragment/admin{path}")
        assert (page.status_code, part.status_code) == (200, 200), path
        for word in words:
            assert word in page.text, (path, word)
            assert word in part.text, (path, word)
        assert 'aria-current="page"' in page.text
        assert "<html" not in part.text
        assert "<script>alert" not in page.text


def test_pages_that_have_no_route_are_not_offered(pages: TestClient) -> None:
    offered = pages.get("/admin").text
    for path, _ in PAGES:
        assert (f'href="{path}"' in offered) == (pages.get(path).status_code == 200), path


def test_a_peer_is_changed_in_a_form_of_its_version(pages: TestClient, house: Any) -> None:
    with house.database.read() as session:
        (peer,) = peers.all_of(session)
    page = pages.get(f"/admin/peers?change={peer.id}").text
    assert "Change CT1" in page
    assert f'action="/api/v1/admin/peers/{peer.id}" data-seen="1"' in page
    prefilled = pages.get("/admin/peers?title=STRANGER&address=10.9.9.9").text
    assert 'value="STRANGER"' in prefilled
    assert 'value="10.9.9.9"' in prefilled
    assert pages.get("/admin/peers?title=%00").status_code == 422


def test_lists_are_filtered_in_the_address(pages: TestClient) -> None:
    assert "None that matches" in pages.get("/admin/analyses?status=FAILED").text
    assert "None that matches" in pages.get("/admin/deliveries?status=DEAD&reason=other").text
    assert "SR of a case" in pages.get("/admin/deliveries", params={"status": "DEAD", "reason": "too large"}).text
    assert "Nothing that matches" in pages.get("/admin/audit?who=nobody&action=&subject=").text
    assert "Nothing yet" in pages.get("/admin/quarantine?dismissed=true").text


def test_rules_are_tried_as_they_are_written_in_the_settings(pages: TestClient) -> None:
    def tried(toml: str, days: int = 90) -> str:
        answer = pages.post("/fragment/admin/rules/test", json={"toml": toml, "days": days})
        assert answer.status_code == 200
        return answer.text

    rule = '[[rules]]\nname = "all"\nurgency = "STAT"\nmodality = ["DX"]\n'
    assert "<b>2</b> of 2 cases of 90 days would move" in tried(rule)
    assert "only raise" in tried(rule.replace("STAT", "ROUTINE"))
    assert "Expected" in tried("[[rules]") or "expected" in tried("[[rules]").lower()
    assert "eval" in tried(f"{rule}eval = 1\n")
    assert "There is no [[rules]] in it" in tried(rule.replace("[[rules]]", "[[rule]]")), "not: no case would move"
    assert "There is no [[rules]] in it" in tried("")
    assert "Value error" not in tried(f'{rule}hours = ["25:00-26:00"]\n')
    assert pages.post("/fragment/admin/rules/test", json={"toml": rule, "days": 0}).status_code == 422
