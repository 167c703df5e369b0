"""The simulator page in a real browser: sliders by keyboard, inputs in the address, gain beside harm."""

from __future__ import annotations

from typing import Any

import pytest
from page_node import Node

pytestmark = pytest.mark.peer


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_it_fits_and_can_be_used_by_everybody(page: Any, node: Node, width: int, height: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{node.url}/simulator?days=2")
    for theme in ("dark", "light"):
        if theme == "light":
            page.get_by_role("button", name="Light").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.run(page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


def test_a_slider_plays_again_and_the_address_keeps_it(page: Any, node: Node) -> None:
    page.goto(f"{node.url}/simulator?days=2")
    page.wait_for_selector(".gains li:has-text('pneumothorax')")
    assert page.locator(".harms li").first.inner_text().startswith("no finding")
    slider = page.locator("input[name=sensitivity]")
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => new URLSearchParams(location.search).get('sensitivity') === '0'")
    page.wait_for_selector(".harms li:has-text('pneumothorax')")
    assert slider.locator("xpath=../output").inner_text() == "0 %"
    assert "readers" not in page.url, "what nobody has set stays as the scenario has it"
    words = page.locator(".harms").inner_text()
    page.reload()
    assert page.locator(".harms").inner_text() == words
    assert slider.input_value() == "0"


def test_what_cannot_be_played_is_said_beside_the_sliders(page: Any, node: Node) -> None:
    page.goto(f"{node.url}/simulator?days=2&reading_minutes=30")
    assert "of what the readers can do" in page.locator("main [role=alert]").inner_text()
    assert page.locator("input[name=reading_minutes]").input_value() == "30"
    assert page.locator("input[name=prevalence]").input_value() == "0.3", (
        "what is not given stays as the scenario has it"
    )
    page.locator("input[name=seed]").fill("")
    page.get_by_text("seed: Input should be a valid integer").wait_for()
    assert page.locator("header").count() == 1, "not a page within the page"
