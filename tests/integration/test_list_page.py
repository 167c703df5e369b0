"""The reading list in a real browser: every key and button, rows that stand still, and what is new or lost is said."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from page_node import Node, watched_tab

from triage.database import Database
from triage.findings import Urgency
from triage.priority import Targets
from triage.repositories import placing, worklist
from triage.settings import Settings
from triage.states import ReadingStatus
from triage.tables import FindingVerdict, SavedView, Study

pytestmark = pytest.mark.peer

FIRST = "name => document.querySelector('[data-rows] .patient a')?.textContent === name"
SAID = "words => document.querySelector('[data-announce]').textContent.includes(words)"


def _live(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("[data-live-state=live]")
    page.evaluate("window.sameDocument = true")


def _first(page: Any, name: str) -> None:
    page.wait_for_function(FIRST, arg=f"{name.upper()}, ANNA")


def _row(page: Any, name: str) -> Any:
    return page.locator(f"[data-rows] tr:has-text('{name.upper()}, ANNA')")


def _focused(page: Any) -> str:
    name: str = page.evaluate("document.activeElement.closest('tr')?.querySelector('.patient a').textContent")
    return name


def _study(node: Node, name: str) -> Study:
    with node.database.read() as session:
        return worklist.study_by_uid(session, node.uids[name])


def test_a_stat_case_comes_to_the_top_without_reload_and_is_announced(page: Any, node: Node) -> None:
    node.case("alpha", 0.1, minutes_ago=50)
    node.case("beta", 0.1, minutes_ago=20)
    _live(page, node.url)
    _first(page, "alpha")
    kept = page.query_selector("tr:has-text('BETA')")
    page.evaluate("document.addEventListener('announced', (event) => { window.announced = event.detail; })")
    page.get_by_role("button", name="Sound").click()
    assert page.evaluate("window.announced") == "sound", "what will be heard is played once"
    page.evaluate("window.announced = ''")
    page.mouse.move(2, 2)
    node.case("gamma", 0.95, minutes_ago=0)
    _first(page, "gamma")
    assert page.evaluate("window.sameDocument") is True
    assert page.locator("[data-rows] tr").count() == 3
    assert page.locator("[data-rows] tr").first.locator(".badge").inner_text() == "STAT"
    assert page.locator("[data-announce]").inner_text() == "1 new STAT on the list"
    assert page.evaluate("window.announced") == "sound"
    assert page.title().startswith("(1 STAT) ")
    assert kept.evaluate("row => row.isConnected"), "a row that did not change is not replaced"
    page.reload()
    assert page.get_by_role("button", name="Sound").get_attribute("aria-pressed") == "true"


def test_rows_stand_still_under_the_reader_and_what_is_new_is_said(page: Any, node: Node) -> None:
    node.case("alpha", 0.1, minutes_ago=50)
    node.case("beta", 0.1, minutes_ago=20)
    _live(page, node.url)
    for _ in range(2):
        page.keyboard.press("j")
    assert _focused(page) == "BETA, ANNA"
    place = "document.activeElement.getBoundingClientRect().top"
    before = page.evaluate(place)
    node.case("gamma", 0.95, minutes_ago=0)
    page.wait_for_selector("text=1 new STAT above – show")
    assert _focused(page) == "BETA, ANNA"
    assert page.evaluate(place) == before
    assert page.locator("[data-rows] .patient a").all_inner_texts() == ["ALPHA, ANNA", "BETA, ANNA"]
    page.keyboard.press("n")
    _first(page, "gamma")
    assert _focused(page) == "GAMMA, ANNA"
    assert not page.locator("[data-new]").is_visible()
    with node.database.write() as session:  # read elsewhere
        study = worklist.study_by_uid(session, node.uids["gamma"])
        worklist.mark_read(session, study, who="dr-b", at=datetime.now(UTC))
    page.wait_for_selector("text=no longer in this list")
    assert _focused(page) == "GAMMA, ANNA", "also a row that has gone stands until the reader leaves it"
    page.evaluate("document.activeElement.blur()")
    _row(page, "gamma").wait_for(state="detached")


def test_rows_stand_still_under_a_finger_too(browser: Any, node: Node) -> None:
    node.case("alpha", 0.1, minutes_ago=50)
    with watched_tab(browser, node.url, width=390, height=844, has_touch=True) as phone:
        _live(phone, node.url)
        _row(phone, "alpha").locator(".due").tap()
        node.case("gamma", 0.95, minutes_ago=0)
        phone.wait_for_selector("text=1 new STAT above – show")
        assert phone.locator("[data-rows] .patient a").all_inner_texts() == ["ALPHA, ANNA"]
        phone.locator(".asof").tap()
        _first(phone, "gamma")


def test_a_refresh_that_failed_is_tried_again_soon(page: Any, node: Node) -> None:
    node.case("alpha", 0.1, minutes_ago=50)
    _live(page, node.url)
    page.route("**/fragment/worklist*", lambda route: route.abort())
    node.case("beta", 0.1, minutes_ago=20)
    page.wait_for_selector("[data-live-state=stale]")
    page.unroute("**/fragment/worklist*")  # the stream was there all the time, and says nothing more
    page.wait_for_selector("[data-live-state=live]", timeout=10_000)
    assert _row(page, "beta").is_visible()


def test_a_key_that_is_held_down_takes_one_step_and_reads_no_second_case(page: Any, node: Node) -> None:
    for number, name in enumerate(("alpha", "beta", "gamma")):
        node.case(name, 0.94, minutes_ago=9 - number)
    _live(page, node.url)
    page.keyboard.press("j")
    page.keyboard.down("r")
    page.get_by_text("ALPHA, ANNA marked as read.").wait_for()
    page.wait_for_function("() => document.activeElement.textContent === 'BETA, ANNA'")
    for _ in range(3):
        page.keyboard.down("r")  # as a keyboard repeats it
    page.keyboard.up("r")
    page.keyboard.press("c")
    page.get_by_text("claimed by local").wait_for()
    standing = [_study(node, name).reading_status for name in ("alpha", "beta", "gamma")]
    assert standing == [ReadingStatus.READ, ReadingStatus.CLAIMED, ReadingStatus.UNREAD]


def test_impatience_behind_a_slow_line_asks_for_a_step_once(page: Any, node: Node) -> None:
    node.case("alpha", 0.94, minutes_ago=9)
    _live(page, node.url)
    held: list[Any] = []
    page.route("**/read", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks what it calls
    page.keyboard.press("j")
    for _ in range(3):
        page.keyboard.press("r")
    page.get_by_role("button", name="Claim ALPHA, ANNA").click()  # another step is not held up
    page.wait_for_selector("text=claimed by local")
    assert len(held) == 1
    held[0].abort()
    page.wait_for_selector("[data-rows] output >> text=firstread did not answer")
    with page.expect_request("**/read"):
        page.keyboard.press("r")  # what came to nothing can be tried again


def test_every_key_of_the_list(page: Any, node: Node) -> None:
    for number, name in enumerate(("alpha", "beta")):
        node.case(name, 0.94, minutes_ago=9 - number)
    _live(page, node.url)
    page.keyboard.press("c")
    page.wait_for_selector("[data-refusal] >> text=Choose a case first")
    for press, name in (("j", "ALPHA"), ("j", "BETA"), ("j", "BETA"), ("k", "ALPHA")):
        page.keyboard.press(press)
        assert _focused(page) == f"{name}, ANNA"

    page.keyboard.press("c")
    page.wait_for_selector("text=claimed by local")
    assert (_study(node, "alpha").reading_status, _study(node, "alpha").reader) == (ReadingStatus.CLAIMED, "local")
    page.keyboard.press("c")
    page.wait_for_selector("text=claimed by local", state="detached")
    assert _study(node, "alpha").reading_status is ReadingStatus.UNREAD

    page.keyboard.press("u")
    page.wait_for_selector("[data-class-form][open]")
    page.get_by_role("radio", name="ROUTINE").check()
    page.get_by_label("Reason").fill("known <since> yesterday")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=set by local: known <since> yesterday → ROUTINE")
    assert _study(node, "alpha").manual_urgency is Urgency.ROUTINE
    assert _focused(page) == "ALPHA, ANNA", "the dialog gives the focus back"
    page.keyboard.press("u")
    page.wait_for_selector("[data-class-form][open]")
    assert page.evaluate("document.activeElement.value") == "ROUTINE", "a space would choose what has the focus"
    page.keyboard.press("Escape")
    page.wait_for_selector("[data-class-form][open]", state="detached")
    page.keyboard.press("z")
    page.wait_for_selector("[data-rows] >> text=set by local", state="detached")
    assert (_study(node, "alpha").manual_urgency, _study(node, "alpha").urgency) == (None, Urgency.STAT)
    page.keyboard.press("z")
    page.wait_for_selector("text=there is nothing to undo")
    page.keyboard.press("Escape")
    page.wait_for_selector("text=there is nothing to undo", state="detached")

    for press, opinion in (("a", "agrees"), ("d", "disagrees")):
        page.keyboard.press(press)
        page.wait_for_selector(f"text=local {opinion}")
    with node.database.read() as session:
        given = session.scalars(sa.select(FindingVerdict).order_by(FindingVerdict.id)).all()
        assert [verdict.opinion.value for verdict in given] == ["AGREE", "DISAGREE"]

    page.keyboard.press("r")
    page.wait_for_selector("text=ALPHA, ANNA marked as read.")
    assert _study(node, "alpha").reading_status is ReadingStatus.READ
    assert _focused(page) == "BETA, ANNA"
    page.keyboard.press("z")
    page.wait_for_selector("text=ALPHA, ANNA is to be read again.")
    assert _study(node, "alpha").reading_status is ReadingStatus.UNREAD
    page.wait_for_selector("[data-rows] tr >> text=ALPHA, ANNA")  # else it would come when the dialog is closed

    page.keyboard.press("?")
    dialog = page.locator("dialog[open]")
    told = dialog.locator("kbd").all_inner_texts()
    assert set(told) >= {"j", "k", "Enter", "c", "r", "u", "z", "a", "d", "n", "/", "?", "Escape"}
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert _study(node, "beta").reading_status is ReadingStatus.UNREAD, "in a dialog keys are not for the list"

    page.keyboard.press("/")
    page.keyboard.type("c beta")
    assert page.locator("[data-search]").input_value() == "c beta"
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/studies/{node.uids['alpha']}")


def test_every_step_by_button_and_a_refusal_beside_its_row(page: Any, node: Node) -> None:
    node.case("alpha", 0.94, minutes_ago=9)
    node.case("beta", 0.94, minutes_ago=8)
    _live(page, node.url)
    page.get_by_role("button", name="Claim ALPHA, ANNA").click()
    page.get_by_role("button", name="Release ALPHA, ANNA").click()
    page.get_by_role("button", name="Agree: Pneumothorax of ALPHA, ANNA", exact=True).click()
    page.wait_for_selector("text=local agrees")
    page.get_by_role("button", name="Disagree: Pneumothorax of ALPHA, ANNA").click()
    page.wait_for_selector("text=local disagrees")
    page.get_by_role("button", name="Class of ALPHA, ANNA by hand").click()
    page.get_by_role("radio", name="URGENT").check()
    page.get_by_label("Reason").fill("ward called")
    page.get_by_role("button", name="Set", exact=True).click()
    page.get_by_role("button", name="Undo the class of ALPHA, ANNA by hand").click()
    page.wait_for_selector("text=ward called", state="detached")
    page.get_by_role("button", name="Mark as read: ALPHA, ANNA").click()
    page.get_by_role("button", name="Undo z").click()
    page.wait_for_selector("text=ALPHA, ANNA is to be read again.")
    assert _study(node, "alpha").reading_status is ReadingStatus.UNREAD

    with node.database.write() as session:  # somebody else is first, and sets a class
        study = worklist.study_by_uid(session, node.uids["beta"])
        worklist.claim(session, study, who="dr-b", at=datetime.now(UTC))
    page.wait_for_selector("text=claimed by dr-b")
    page.get_by_role("button", name="Mark as read: BETA, ANNA").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('tr')].some((row) => row.textContent.includes('BETA') &&"
        " row.querySelector('output')?.textContent.startsWith('dr-b has claimed this case.'))"
    )
    assert _study(node, "beta").reader == "dr-b"


def test_the_case_that_keys_are_about_is_seen_and_a_click_chooses_it(page: Any, node: Node) -> None:
    for number, name in enumerate(("alpha", "beta")):
        node.case(name, 0.94, minutes_ago=9 - number)
    _live(page, node.url)
    page.keyboard.press("j")
    page.locator("[data-theme-switch]").click()
    assert page.locator("tr[aria-current=true] .patient a").all_inner_texts() == ["ALPHA, ANNA"]
    _row(page, "beta").locator(".study").click()
    assert page.locator("tr[aria-current=true] .patient a").all_inner_texts() == ["BETA, ANNA"]
    page.keyboard.press("c")
    page.wait_for_selector("text=claimed by local")
    standing = [_study(node, name).reading_status for name in ("alpha", "beta")]
    assert standing == [ReadingStatus.UNREAD, ReadingStatus.CLAIMED]
    assert page.locator("tr[aria-current=true] .patient a").all_inner_texts() == ["BETA, ANNA"]


@pytest.mark.parametrize(("press", "name"), [("j", "GAMMA"), ("k", "ALPHA")])
def test_keys_go_on_from_where_a_case_stood_that_has_left(page: Any, node: Node, press: str, name: str) -> None:
    for number, patient in enumerate(("alpha", "beta", "gamma")):
        node.case(patient, 0.94, minutes_ago=9 - number)
    _live(page, node.url)
    for _ in range(2):
        page.keyboard.press("j")
    assert _focused(page) == "BETA, ANNA"
    with node.database.write() as session:  # read elsewhere
        worklist.mark_read(session, worklist.study_by_uid(session, node.uids["beta"]), who="dr-b", at=node.now())
    page.wait_for_selector("text=no longer in this list")
    page.evaluate("document.activeElement.blur()")
    _row(page, "beta").wait_for(state="detached")
    page.keyboard.press(press)
    assert _focused(page) == f"{name}, ANNA"


def test_a_refusal_goes_when_its_reason_has_gone(page: Any, node: Node) -> None:
    node.case("alpha", 0.94, minutes_ago=9)
    with node.database.write() as session:
        worklist.claim(session, worklist.study_by_uid(session, node.uids["alpha"]), who="dr-b", at=node.now())
    _live(page, node.url)
    page.keyboard.press("j")
    page.keyboard.press("c")
    refusal = page.locator("[data-rows] output", has_text="dr-b has claimed this case.")
    refusal.wait_for()
    page.evaluate("() => { const now = Date.now; Date.now = () => now() + 6000; }")
    with node.database.write() as session:
        study = worklist.study_by_uid(session, node.uids["alpha"])
        placing.set_manual_urgency(
            session, study, Urgency.URGENT, reason="ward called", by="dr-b", targets=Targets(), at=node.now()
        )
    page.wait_for_selector("text=ward called")
    assert refusal.is_visible(), "it is still claimed"
    with node.database.write() as session:
        worklist.release(session, worklist.study_by_uid(session, node.uids["alpha"]), who="dr-b", at=node.now())
    refusal.wait_for(state="detached")


def test_a_class_set_by_somebody_else_is_undone_after_a_question_only(page: Any, node: Node) -> None:
    node.case("alpha", 0.94, minutes_ago=9)
    with node.database.write() as session:
        study = worklist.study_by_uid(session, node.uids["alpha"])
        placing.set_manual_urgency(
            session, study, Urgency.ROUTINE, reason="known", by="dr-b", targets=Targets(), at=datetime.now(UTC)
        )
    _live(page, node.url)
    page.keyboard.press("j")
    page.keyboard.press("z")
    page.wait_for_selector("text=dr-b set ALPHA, ANNA to ROUTINE. Undo that?")
    page.keyboard.press("Escape")
    assert _study(node, "alpha").manual_urgency is Urgency.ROUTINE
    page.keyboard.press("z")
    page.get_by_role("button", name="Undo", exact=True).click()
    page.wait_for_selector("[data-rows] .badge.stat")
    assert _study(node, "alpha").manual_urgency is None


def test_a_lost_stream_is_said_with_its_time_and_found_again(page: Any, node: Node) -> None:
    node.case("alpha", 0.1, minutes_ago=50)
    _live(page, node.url)
    node.stop()
    page.wait_for_selector("[data-stale]:not([hidden])")
    assert page.locator("[data-stale]").inner_text().startswith("Order stale since ")
    assert page.locator("[data-rows] tr").count() == 1, "the last known order stays on the screen"
    node.case("gamma", 0.95, minutes_ago=0)
    node.start()
    page.wait_for_selector("[data-live-state=live]")
    _first(page, "gamma")
    page.wait_for_selector("[data-stale]", state="hidden")
    assert page.evaluate("window.sameDocument") is True


@pytest.mark.parametrize("away", ["silent", "asleep"])
def test_a_stream_that_is_open_and_silent_or_slept_through_is_opened_again(page: Any, node: Node, away: str) -> None:
    page.clock.install()
    node.case("alpha", 0.1, minutes_ago=50)
    _live(page, node.url)
    with page.expect_request("**/worklist/events"):
        if away == "silent":
            page.clock.run_for(40_000)  # four heartbeats that do not come
        else:
            page.clock.fast_forward(3_600_000)  # the lid is closed for an hour
    page.clock.run_for(3_000)
    page.wait_for_selector("[data-live-state=live]")


def test_who_is_signed_out_is_asked_to_sign_in_and_comes_back(browser: Any, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, http_tokens=(f"ada:{'a' * 24}",))
    settings.results.mkdir()
    database = Database(settings.database)
    database.migrate()
    node = Node(settings, database)
    node.start()
    context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {'a' * 24}"})
    try:
        page = context.new_page()
        _live(page, f"{node.url}/?modality=CT")
        context.set_extra_http_headers({})
        node.case("alpha", 0.1, minutes_ago=1)
        page.wait_for_url("**/sign-in?next=%2F%3Fmodality%3DCT")
    finally:
        context.close()
        node.stop()
        database.dispose()


def test_whoever_may_only_look_is_told_so_at_every_key_and_asked_for_nothing(page: Any, node: Node) -> None:
    node.case("alpha", 0.94, minutes_ago=9)
    _live(page, node.url)
    page.evaluate("for (const one of document.querySelectorAll('[data-do]')) one.remove()")  # a technologist's row
    page.keyboard.press("j")
    for press in "cruzad":
        page.keyboard.press(press)
        page.get_by_text("Your account may look at cases, and take no steps through them.").wait_for()
        page.locator("[data-refusal] button").click()
        page.keyboard.press("k")
    assert page.locator("dialog[open]").count() == 0
    assert _study(node, "alpha").reading_status is ReadingStatus.UNREAD


def test_views_are_saved_and_columns_remembered(page: Any, node: Node) -> None:
    node.case("alpha", 0.94, minutes_ago=9)
    node.case("beta", 0.1, minutes_ago=8)
    _live(page, node.url)
    page.locator("select[name=urgency]").select_option("STAT")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile(r"/\?urgency=STAT$"))
    page.get_by_role("button", name="Your views").click()
    page.get_by_label("Save what is shown now as").fill("Hot <b>")
    page.get_by_label("Open the list with it").check()
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector("nav a[aria-current]:has-text('Hot <b>')")
    page.goto(node.url)
    assert page.url.endswith("/?urgency=STAT"), "the default view"
    page.get_by_role("button", name="Your views").click()
    page.get_by_label("Name of Hot <b>").fill("Hot")
    page.get_by_role("button", name="Rename").click()
    page.wait_for_selector("nav a:has-text('Hot'):not(:has-text('<b>'))")
    page.get_by_role("button", name="Your views").click()
    page.get_by_role("button", name="Delete").click()
    page.wait_for_selector("nav a:has-text('Hot')", state="detached")
    with node.database.read() as session:
        assert session.scalars(sa.select(SavedView)).all() == []

    assert page.locator("td.accession").first.is_visible()
    page.locator("summary", has_text="Columns").click()
    held: list[Any] = []
    page.route("**/fragment/worklist*", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request("**/fragment/worklist*"):
        node.case("gamma", 0.1, minutes_ago=7)
    before = page.request.get(f"{node.url}/fragment/worklist").text()
    page.get_by_label("Accession number").uncheck()
    assert not page.locator("td.accession").first.is_visible()
    held[0].fulfill(body=before, content_type="text/html")  # asked for before the column was switched off
    _row(page, "gamma").wait_for()
    assert not page.locator("td.accession").first.is_visible()
    page.get_by_role("button", name="Light").click()
    page.reload()
    assert not page.locator("td.accession").first.is_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_a_later_page_stands_and_says_what_came_before_it(page: Any, node: Node) -> None:
    for number in range(5):
        node.case(f"n{number}", 0.1, minutes_ago=50 - number, pictures=False)
    _live(page, f"{node.url}/?limit=2")
    page.get_by_role("link", name="More cases").click()
    _first(page, "n2")
    page.wait_for_selector("[data-live-state=live]")
    node.case("gamma", 0.95, minutes_ago=0)
    page.wait_for_selector("text=1 new STAT outside this view – show")
    assert page.locator("[data-rows] .patient a").all_inner_texts() == ["N2, ANNA", "N3, ANNA"]
    page.keyboard.press("n")
    _first(page, "gamma")


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_of_the_list_is_out_of_reach(page: Any, node: Node, width: int, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    node.case("alpha", 0.94, minutes_ago=200)
    node.case("beta", 0.1, minutes_ago=2)
    page.set_viewport_size({"width": width, "height": 900})
    page.context.add_cookies([{"name": "theme", "value": theme, "url": node.url}])
    _live(page, node.url)
    serious = [v["id"] for v in axe.run(page).response["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("[data-rows] button").all():
        assert button.is_visible()
