"""The administrator's pages in a real browser: forms that speak JSON, answers that come live, usable by everybody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_node import Node

from triage.peers import CallingPeer
from triage.repositories import events, peers
from workers.bundle_listing import publish
from workers.errands import run_due
from workers.workbench import Workbench

pytestmark = pytest.mark.peer
PAGES = (
    "",
    "/peers",
    "/destinations",
    "/models",
    "/analyses",
    "/deliveries",
    "/quarantine",
    "/orders",
    "/rules",
    "/disk",
    "/audit",
)


@pytest.fixture
def worker(node: Node) -> Iterator[Workbench]:
    """What a worker process has at hand; a test lets it work."""
    node.settings.archive.mkdir(exist_ok=True)
    bench = Workbench.open(node.settings)
    publish(bench)
    yield bench
    bench.decoder.close()
    bench.database.dispose()


def _live(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("[data-live-state=live]")


def _refuse_strangers(node: Node) -> None:
    with node.database.write() as session:
        for number in range(3):
            events.record(
                session, "security_alert", at=datetime.now(UTC) - timedelta(minutes=number), who="XR_NEW",
                reason="CALLING_AE_TITLE_NOT_RECOGNISED", peer_address="10.9.9.9", count=2,
            )  # fmt: skip


def test_a_stranger_is_admitted_asked_and_removed_by_keyboard(page: Any, node: Node, worker: Workbench) -> None:
    _refuse_strangers(node)
    _live(page, f"{node.url}/admin/peers")
    page.locator("[data-key=refused] a", has_text="Admit").press("Enter")
    page.wait_for_selector("[name=ae_title][value=XR_NEW]")
    page.locator("[name=note]").fill("Room 7")
    page.locator("[name=note]").press("Enter")
    row = page.locator("tr", has_text="Room 7")
    row.wait_for()
    assert "10.9.9.9" in row.inner_text()
    page.wait_for_selector("[data-live-state=live]")
    row.locator("[name=host]").fill("127.0.0.1")
    row.locator("[name=port]").fill("1")
    row.locator("[name=port]").press("Enter")
    page.wait_for_selector("text=a worker is at it")
    run_due(worker)
    page.wait_for_selector("text=Check host and port")  # comes live, with the next step
    page.once("dialog", lambda dialog: dialog.accept())
    row.locator("button", has_text="Remove").press("Enter")
    row.wait_for(state="detached")
    _live(page, f"{node.url}/admin/audit")
    assert page.locator("section.panel h2").all_inner_texts()[0].startswith("Peer removed peer:XR_NEW · local")


def test_whoever_comes_second_hears_so_and_overwrites_nothing(page: Any, node: Node) -> None:
    with node.database.write() as session:
        peer = peers.add(session, CallingPeer(ae_title="CT1"), "", at=datetime.now(UTC), who="anna")
    _live(page, f"{node.url}/admin/peers?change={peer.id}")
    with node.database.write() as session:
        row = peers.by_id(session, peer.id)
        wanted = CallingPeer(ae_title="CT1", network="10.0.0.0/8")
        peers.change(session, row, wanted, "", at=datetime.now(UTC), who="bert")
    page.locator("[name=note]").fill("mine")
    page.locator("[name=note]").press("Enter")
    page.wait_for_selector("[data-said].bad:not([hidden])")
    assert "Somebody else has changed it" in page.locator("[data-said]").inner_text()
    with node.database.read() as session:
        assert (peers.all_of(session)[0].network, peers.all_of(session)[0].note) == ("10.0.0.0/8", "")


def test_a_threshold_is_set_and_the_page_says_what_it_means(page: Any, node: Node, worker: Workbench) -> None:
    _live(page, f"{node.url}/admin/models")
    row = page.locator("tr[data-key='point-phantom-cxr-shipped-pneumothorax']")
    row.locator("[name=threshold]").fill("0.5")
    row.locator("[name=reason]").fill("too many alarms")
    row.locator("button", has_text="Set").click()
    page.wait_for_selector("text=a worker is at it")
    run_due(worker)
    page.wait_for_selector("text=nobody has measured how many are right at 0.5")
    assert "≥ 0.5" in row.inner_text()


@pytest.mark.parametrize(("width", "height", "theme"), [(1440, 900, "dark"), (390, 844, "light")])
def test_every_page_is_for_everybody(
    page: Any, node: Node, worker: Workbench, width: int, height: int, theme: str
) -> None:
    assert worker.bundles_published is not None
    _refuse_strangers(node)
    node.case("alpha", 0.94, minutes_ago=5)
    with node.database.write() as session:
        peers.add(
            session, CallingPeer(ae_title="CT1", network="10.1.2.0/24"), "Room 3", at=datetime.now(UTC), who="anna"
        )
    page.set_viewport_size({"width": width, "height": height})
    page.context.add_cookies([{"name": "theme", "value": theme, "url": node.url}])
    for path in PAGES:
        _live(page, f"{node.url}/admin{path}")
        serious = [
            (found["id"], [at["html"][:120] for at in found["nodes"][:3]])
            for found in Axe().run(page).response["violations"]
            if found["impact"] in ("serious", "critical")
        ]
        assert serious == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than the screen"
