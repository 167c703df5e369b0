"""The statistics page in a real browser: read by keyboard, by eye and by a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from page_node import Node

from triage.repositories import worklist

pytestmark = pytest.mark.peer


@pytest.fixture
def busy(node: Node) -> Node:
    """Cases of today, whatever the hour is: two read, one waiting past its due time."""
    noon = datetime.now(UTC).replace(hour=12, minute=0)
    node.ahead = noon - datetime.now(UTC)
    for name, value, ago in (("alpha", 0.9, 40), ("beta", 0.1, 30), ("gamma", 0.95, 20)):
        node.case(name, value, minutes_ago=ago)
    with node.database.write() as session:
        for name in ("alpha", "beta"):
            study = worklist.study_by_uid(session, node.uids[name])
            worklist.mark_read(session, study, who="dr", at=node.now())
    return node


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_it_fits_and_can_be_used_by_everybody(page: Any, busy: Node, width: int, height: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{busy.url}/statistics?days=2")
    for summary in page.locator("summary").all():
        summary.click()
    for theme in ("dark", "light"):
        if theme == "light":
            page.get_by_role("button", name="Light").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.run(page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


def test_the_figures_their_charts_and_their_downloads(page: Any, busy: Node) -> None:
    page.goto(busy.url)
    page.get_by_role("link", name="Statistics").click()
    page.wait_for_selector("text=1 unread and past their due time")
    assert page.locator("svg.bars").count() == 2
    assert page.locator("svg.bars title", has_text="3 arrived; 2 STAT").count() >= 1
    page.get_by_role("link", name="today").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/statistics?days=1")
    page.locator("select[name=urgency]").select_option("STAT")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Show").press("Enter")
    page.wait_for_selector(".sums li:has-text('2 arrived')")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of models").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    assert download.value.suggested_filename.startswith("firstread-models-")
    assert [(row["finding"], row["cases"], row["positive"]) for row in rows] == [
        ("Nodule", "2", "0"), ("Pneumothorax", "2", "2"),
    ]  # fmt: skip


def test_a_period_that_means_nothing_is_said_in_words(page: Any, busy: Node) -> None:
    page.goto(f"{busy.url}/statistics?since=2026-02-02&until=2026-02-01")
    assert "before it begins" in page.locator(".problem").inner_text()
