"""The page in a real browser: Chromium against a node's HTTP door, live over server-sent events."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_node import Node
from worklist_rows import NOON, arrive, decline, deliver

from triage.findings import NotAnalysedReason
from triage.instances import Arrival, QuarantinedObject
from triage.outbox import Verdict
from triage.repositories import quarantine
from triage.repositories.deliveries import Attempt

pytestmark = pytest.mark.peer
REFUSED = QuarantinedObject(
    reason="StudyInstanceUID (0020,000D) is missing.", dicom_status=0xC000, relative_path=Path("quarantine/a.dcm"),
    digest="a" * 64, size=10, transfer_syntax_uid="1.2.840.10008.1.2.1",
    arrival=Arrival(
        received_at=NOON, association_uid="assoc-1", calling_ae_title="CR1", called_ae_title="FIRSTREAD",
        peer_address="127.0.0.1",
    ),
)  # fmt: skip


def _live(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("[data-live-state=live]")
    page.evaluate("window.sameDocument = true")


def test_a_case_learns_of_its_deliveries(page: Any, node: Node) -> None:
    uid = node.case("alpha", 0.94, minutes_ago=2)
    _live(page, f"{node.url}/studies/{uid}")
    poster = page.locator("[data-viewer=case] [data-part=poster]")
    poster.wait_for()
    assert poster.evaluate("img => img.decode().then(() => img.naturalWidth)") == 240, "until a worker has the image"
    with node.database.write() as session:
        deliver(session, at=datetime.now(UTC))
    page.wait_for_selector("text=results sent")
    assert page.evaluate("window.sameDocument") is True


def test_a_person_claims_sets_a_class_and_reads(page: Any, node: Node) -> None:
    uid = node.case("alpha", 0.94, minutes_ago=2)
    _live(page, f"{node.url}/studies/{uid}")
    page.get_by_role("button", name="Claim").click()
    page.wait_for_selector("text=claimed by local")
    page.get_by_label("Class").select_option("URGENT")
    page.get_by_role("textbox", name="Reason").fill("seen on the <ward>")
    page.get_by_role("button", name="Set", exact=True).click()
    page.wait_for_selector("text=set by local: seen on the <ward> → URGENT")
    page.get_by_role("button", name="Mark as read").click()
    again = page.get_by_role("button", name="Read again")
    again.wait_for()
    page.route("**/fragment/**", lambda route: route.abort())  # this page has not heard of it yet
    with node.database.write() as session:  # meanwhile somebody else opened it again and read it
        session.connection().exec_driver_sql("UPDATE studies SET reading_status = 'UNREAD'")
    again.click()
    page.wait_for_selector("text=The case waits to be read already: nobody has claimed or read it.")


def test_the_open_page_of_a_case_keeps_its_claim(page: Any, node: Node) -> None:
    page.clock.install()
    _live(page, f"{node.url}/studies/{node.case('alpha', 0.94, minutes_ago=2)}")
    page.get_by_role("button", name="Claim").click()
    page.wait_for_selector("text=claimed by local")
    with page.expect_response("**/claim/renew") as renewed:
        page.clock.run_for(61_000)
    assert renewed.value.status == 200


def test_what_was_given_up_is_sent_again_with_a_click(page: Any, node: Node) -> None:
    uids = [node.case(name, 0.94, minutes_ago=9) for name in ("alpha", "beta")]
    refused = Attempt(verdict=Verdict.REFUSED, dicom_status=0xA900, error="refused with status 0xa900")
    for minutes in (8, 6, 4):
        with node.database.write() as session:
            deliver(session, at=datetime.now(UTC) - timedelta(minutes=minutes), attempt=refused)
    _live(page, f"{node.url}/studies/{uids[0]}")
    page.wait_for_selector("text=given up – refused with status 0xa900")
    page.get_by_role("button", name="Send again").click()
    page.wait_for_selector("text=SR to be sent to")
    page.get_by_role("link", name="Deliveries").click()
    page.wait_for_selector("[data-live-state=live]")
    assert page.locator("text=1 given up").count() == 1
    page.get_by_role("button", name="Send all again").click()
    page.wait_for_selector("text=2 waiting")
    page.get_by_role("button", name="Send again").wait_for(state="detached")
    with node.database.write() as session:
        deliver(session, at=datetime.now(UTC))
    page.wait_for_selector("text=2 taken, not proven")


@pytest.mark.parametrize("width", [320, 360, 800, 1280, 1440])
def test_nothing_is_wider_than_the_screen(page: Any, node: Node, width: int) -> None:
    uid = node.case("alpha", 0.94, minutes_ago=200)
    node.case("a-very-long-name-without-any-space-in-it-at-all-indeed", 0.7, minutes_ago=1)
    with node.database.write() as session:
        at = datetime.now(UTC) - timedelta(minutes=130)
        mixed = arrive(session, "beta", at=at, modality="CT", body_part_examined="ABDOMEN", ward="Emergency 2")
        mixed.modality = "CT\\OT\\SR"
        decline(session, mixed, NotAnalysedReason.UNSUPPORTED_MODALITY, "CT", at=at)
        quarantine.record(session, REFUSED)
    page.set_viewport_size({"width": width, "height": 800})  # 320: 1280 at 400 % (WCAG 2.2, 1.4.10)
    for path in ("/", f"/studies/{uid}", "/deliveries", "/node", "/docs", "/sign-in"):
        page.goto(node.url + path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, path
    page.goto(node.url)
    right = "name => document.querySelector(name).getBoundingClientRect().right"
    assert page.evaluate(right, ".cases") <= page.evaluate(right, ".filters") + 1, (
        "it ends where the rest of the page does"
    )


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_with_the_readers_own_colours_nothing_is_told_by_a_ground_alone(page: Any, node: Node, scheme: str) -> None:
    """Forced colours, as of Windows' contrast themes: a low score must not look like a full bar."""
    uid = node.case("alpha", 0.94, minutes_ago=5)
    page.emulate_media(forced_colors="active", color_scheme=scheme)
    page.goto(f"{node.url}/studies/{uid}")
    drawn = page.evaluate(
        "() => { const look = (name, what) => getComputedStyle(document.querySelector(name))[what];"
        " return { track: look('.negative .track', 'fill'), value: look('.negative .value', 'fill'),"
        " tick: look('.negative .threshold', 'fill'), ground: look('html', 'backgroundColor'),"
        " button: look('button.first', 'backgroundColor'), words: look('button.first', 'color') }; }"
    )
    assert drawn["track"] == drawn["ground"]
    assert drawn["value"] not in (drawn["ground"], drawn["tick"])
    assert drawn["words"] != drawn["button"]
    page.goto(f"{node.url}/?status=OPEN")
    borders = page.evaluate(
        "[...document.querySelectorAll('.views a')].map((a) => getComputedStyle(a).borderBottomColor)"
    )
    assert borders[0] not in borders[1:], "which view it is"


def test_the_stream_over_the_wire_with_what_was_missed(node: Node) -> None:
    node.case("alpha", 0.1, minutes_ago=5)
    with httpx.stream(
        "GET", f"{node.url}/api/v1/worklist/events", headers={"Last-Event-ID": "0"}, timeout=20
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        lines = (line for line in answer.iter_lines() if line.startswith(("id: ", "data: ")))
        kinds = []
        while "analysis_succeeded" not in kinds:
            number, data = next(lines), json.loads(next(lines).removeprefix("data: "))
            kinds.append(data["kind"])
        assert int(number.removeprefix("id: ")) > 0
    assert kinds[:3] == ["hello", "instance_stored", "study_complete"]
