"""The case page in a real browser, over a node whose bundles have read a phantom radiograph and a phantom head CT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from node_under_test import draw, opened
from page_node import Node, watched_tab
from pydicom.dataset import Dataset
from shown_case import any_mark, complete, film, grey, opened_case, picture, settled, shown, shown_by

from models.phantom.head_ct import generate_head_ct
from models.phantom.head_dicom import to_datasets
from models.preprocessing import display_image
from triage import tables
from triage.repositories import events, worklist
from workers.analysis import analyse_due
from workers.workbench import Workbench

pytestmark = pytest.mark.peer
SLICES = 24


@dataclass
class House:
    """A node with its door, a case of each kind, and the worker that makes what the page asks for."""

    door: Node
    bench: Workbench
    radiograph: str
    head: str

    @property
    def url(self) -> str:
        return self.door.url


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    chest = draw(1, {"pneumothorax"})
    head = to_datasets(
        generate_head_ct(77, 1, size=192, kinds=frozenset({"epidural"}), slices=SLICES), 77, 1,
        taken_at=datetime(2026, 3, 1, 8, tzinfo=UTC),
    )  # fmt: skip
    with opened(tmp_path_factory.mktemp("case") / "data") as node:
        node.receive(chest)
        node.receive(*head)
        complete(node)
        analyse_due(node.bench)
        with shown_by(node) as door:
            yield House(door, node.bench, str(chest.StudyInstanceUID), str(head[0].StudyInstanceUID))


@pytest.fixture
def page(browser: Any, house: House) -> Iterator[Any]:
    with watched_tab(browser, house.url, width=1440, height=900) as tab:
        yield tab


def test_window_invert_zoom_and_pan_change_the_pixels_and_reset_brings_them_back(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    as_sent = picture(page)
    before = grey(page, 0.5, 0.5)
    page.keyboard.press("i")
    after = grey(page, 0.5, 0.5)
    assert [255 - value for value in before[:3]] == pytest.approx(after[:3], abs=1)
    page.keyboard.press("i")
    assert picture(page) == as_sent

    box = film(page)
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 420, steps=4)
    page.mouse.up()
    windowed = picture(page)
    assert windowed != as_sent
    assert "by hand" in page.locator("[data-viewer=case] [data-part=window] option:checked").inner_text()

    page.mouse.wheel(0, -400)
    zoomed = picture(page)
    assert zoomed != windowed
    page.locator("[data-viewer=case] [data-tool][value=pan]").check()
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 340, box["y"] + 320, steps=4)
    page.mouse.up()
    assert picture(page) not in (zoomed, windowed, as_sent)
    page.keyboard.press("0")
    assert picture(page) == as_sent


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_applied_as_the_image_asks(page: Any, house: House, function: str) -> None:
    """The page's greys are those of the pictures that are made elsewhere in the house."""
    told = Dataset()
    told.PhotometricInterpretation, told.VOILUTFunction = "MONOCHROME2", function
    told.WindowCenter, told.WindowWidth = [2048], [1500]
    words = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    expected = display_image(told, words).ravel() * 255
    page.goto(f"{house.url}/?status=OPEN")
    shown = page.evaluate(
        "async (name) => { const { greyTable } = await import('/static/painting.js');"
        " const frame = { slope: 1, intercept: 0, inverted: false, function: name };"
        " return [...greyTable(frame, 2048, 1500).slice(0, 4096)].map((pixel) => pixel & 0xff); }",
        function,
    )
    assert shown == pytest.approx(expected, abs=0.51)


def test_the_image_has_more_grey_values_than_a_picture_of_eight_bits(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    count = page.evaluate("() => { const all = firstreadViewer; return new Set(all.frames.get(all.image.url)).size }")
    assert count > 256
    page.locator("[data-viewer=case] [data-part=window]").select_option(index=0)
    wide = picture(page)
    for _ in range(20):
        page.keyboard.press("[")
    assert picture(page) != wide, "a narrow window brings out what a wide one hides"


def test_what_is_looked_at_stays_in_the_middle_when_a_phone_is_turned(page: Any, house: House) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened_case(page, house.url, house.radiograph)
    page.evaluate("() => { firstreadViewer.zoom(3); firstreadViewer.pan(60, -90); }")
    middle = (
        "() => { const { canvas, image } = firstreadViewer; const place = firstreadViewer.place(image.frame);"
        " return [(canvas.width / 2 - place.x) / place.width, (canvas.height / 2 - place.y) / place.height]; }"
    )
    picture(page)
    before = page.evaluate(middle)
    page.set_viewport_size({"width": 844, "height": 390})
    page.wait_for_function("() => firstreadViewer.canvas.width > 600")
    assert page.evaluate(middle) == pytest.approx(before, abs=0.005)


def test_heat_map_and_outline_lie_over_the_image_and_leave_it_alone(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    page.wait_for_function("() => [...firstreadViewer.frames.heats.values()].some(heat => heat)")
    image, marked = picture(page), picture(page, "marks")

    def strongest() -> int:
        settled(page)
        value: int = page.evaluate(
            """() => {
                const canvas = document.querySelector('[data-part="marks"]');
                const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                let strongest = 0;
                for (let at = 3; at < data.length; at += 4) strongest = Math.max(strongest, data[at]);
                return strongest;
            }"""
        )
        return value

    page.keyboard.press("l")
    faint = strongest()
    assert 0 < faint < 200, "no more than the opacity says"
    page.locator("[data-viewer=case] [data-part=opacity]").fill("90")
    assert strongest() > faint
    page.keyboard.press("h")
    assert strongest() == 0
    page.keyboard.press("l")
    assert strongest() == 255
    assert picture(page, "marks") != marked
    assert picture(page) == image


def test_the_outline_lies_where_the_network_looked(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    (mark,) = page.evaluate("() => firstreadViewer.image.marks.filter(mark => mark.key === 'pneumothorax')")
    with house.bench.database.read() as session:
        row = session.get_one(tables.Finding, mark["finding_id"])
    assert [list(point) for point in row.outline] == mark["outline"]
    assert mark["peak"] == row.peak
    assert "Pneumothorax" in page.locator("[data-viewer=case] [data-part=state]").inner_text()


def test_a_series_opens_at_its_key_slice_and_scrolls_to_both_ends(page: Any, house: House) -> None:
    opened_case(page, house.url, house.head)
    at = "() => [firstreadViewer.at.image, firstreadViewer.stack.length]"
    key, count = page.evaluate(at)
    assert count == SLICES
    assert page.evaluate("() => firstreadViewer.image.marks.length") == 1
    assert f"{key + 1} of {SLICES}" in page.locator("[data-viewer=case] [data-part=state]").inner_text()
    here = picture(page)
    page.keyboard.press("v")
    page.keyboard.press("ArrowDown")
    shown(page, key + 1)
    assert picture(page) != here
    box = film(page)
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, -120)
    shown(page, key - 1)
    page.keyboard.press("Home")
    shown(page, 0)
    page.keyboard.press("End")
    shown(page, SLICES - 1)
    page.keyboard.press("k")
    shown(page, key)
    assert picture(page) == here
    places = page.evaluate("() => firstreadViewer.stack.map(image => image.place)")
    assert places == [f"slice {number} of {SLICES}" for number in range(1, SLICES + 1)], "from below to above"
    page.locator("[data-viewer=case] [data-part=window]").select_option(label="blood 75 / 215 HU")
    assert picture(page) != here


def test_marks_lie_on_the_slice_that_they_belong_to_and_on_no_other(page: Any, house: House) -> None:
    opened_case(page, house.url, house.head)
    key = page.evaluate("() => firstreadViewer.at.image")
    page.wait_for_function("() => [...firstreadViewer.frames.heats.values()].some(heat => heat)")
    on_its_slice = picture(page, "marks")
    assert any_mark(page)
    page.keyboard.press("v")
    for other, step in ((key - 1, "ArrowUp"), (key, "ArrowDown"), (key + 1, "ArrowDown")):
        page.keyboard.press(step)
        shown(page, other)
        marked = bool(page.evaluate("() => firstreadViewer.image.marks.length"))
        assert marked == (other == key)
        assert any_mark(page) == marked
    page.keyboard.press("k")
    shown(page, key)
    assert picture(page, "marks") == on_its_slice


def test_verdicts_by_keys_and_by_the_form_are_kept_and_leave_the_viewer_as_it_is(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    page.keyboard.press("i")
    inverted = picture(page)
    finding = page.locator("[data-finding-key=pneumothorax]")
    finding.locator("[data-show]").focus()
    page.keyboard.press("a")
    finding.locator("[data-opinion=AGREE][aria-pressed=true]").wait_for()
    page.wait_for_function("() => document.activeElement.dataset.show !== undefined")
    page.keyboard.press("d")
    form = page.locator("[data-opinion-form]")
    form.get_by_label("Why").select_option("artefact")
    form.get_by_label("Comment").fill("a <b>skin</b> fold")
    page.keyboard.press("Enter")
    finding.get_by_text("an artefact, fold or superposition – a <b>skin</b> fold").wait_for()
    assert picture(page) == inverted
    with house.bench.database.read() as session:
        given = session.scalars(sa.select(tables.FindingVerdict).order_by(tables.FindingVerdict.id)).all()
    assert [(v.opinion.value, v.who, v.comment) for v in given] == [
        ("AGREE", "local", ""), ("DISAGREE", "local", "a <b>skin</b> fold"),
    ]  # fmt: skip


def test_what_the_ai_missed_is_marked_and_withdrawn(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    page.keyboard.press("m")
    form = page.locator("[data-missed-form]")
    form.get_by_label("Finding").select_option(label="something else (in words below)")
    form.get_by_label("Side").select_option("L")
    form.get_by_role("textbox").fill("rib fracture")
    page.keyboard.press("Enter")
    page.get_by_text("Missed by the AI: rib fracture (left)").wait_for()
    page.get_by_role("button", name="Withdraw rib fracture").click()
    page.get_by_text("Missed by the AI: rib fracture").wait_for(state="detached")
    with house.bench.database.read() as session:
        (row,) = session.scalars(sa.select(tables.MissedFinding)).all()
    assert (row.text, row.laterality, row.who, row.withdrawn_by) == ("rib fracture", "L", "local", "local")


def test_a_half_typed_comment_outlives_a_change_of_the_case(page: Any, house: House) -> None:
    opened_case(page, house.url, house.head)
    page.keyboard.press("t")
    comment = page.locator("[data-opinion-form]").get_by_label("Comment")
    comment.fill("half a")
    with house.bench.database.write() as session:
        study = session.scalars(sa.select(tables.Study).where(tables.Study.study_instance_uid == house.head)).one()
        worklist.claim(session, study, who="local", at=datetime.now(UTC))
    page.get_by_text("claimed by local").wait_for()
    assert comment.input_value() == "half a"
    assert comment.evaluate("field => field === document.activeElement")


@contextmanager
def claimed_by(house: House, who: str) -> Iterator[Any]:
    """The radiograph's case, claimed for as long as a test needs it; gives a function that says by whom."""

    def reader() -> str:
        with house.bench.database.read() as session:
            return worklist.study_by_uid(session, house.radiograph).reader

    with house.bench.database.write() as session:
        worklist.claim(session, worklist.study_by_uid(session, house.radiograph), who=who, at=datetime.now(UTC))
    yield reader
    if reader():
        with house.bench.database.write() as session:
            worklist.release(session, worklist.study_by_uid(session, house.radiograph), who=who, at=datetime.now(UTC))


def happened(house: House, kind: str, uid: str) -> None:
    """Something about the case, so that its page is told and made anew."""
    with house.bench.database.write() as session:
        study = worklist.study_by_uid(session, uid)
        events.record(session, kind, at=datetime.now(UTC), study=study, who="test")


def test_no_key_takes_a_claim_from_somebody_else_and_a_refusal_stays_to_be_read(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    refusal = page.locator("[data-refusal]")
    with claimed_by(house, "dr-b") as reader:
        page.get_by_text("claimed by dr-b").wait_for()
        page.keyboard.press("c")
        assert refusal.inner_text().startswith("dr-b has claimed this case.")
        refusal.get_by_role("button", name="Close").click()
        assert not refusal.is_visible()
        page.keyboard.press("r")
        assert refusal.is_visible()
        page.locator("[data-finding-key=pneumothorax] [data-opinion=AGREE]").click()
        refusal.get_by_text("dr-b has claimed this case.").wait_for()
        happened(house, "analysis_requested", house.radiograph)
        page.get_by_text("Another analysis asked for").wait_for()
        assert refusal.is_visible(), "the part that was made anew did not take it along"
        assert reader() == "dr-b"

        asked: list[str] = []

        def answer(dialog: Any) -> None:
            asked.append(dialog.message)
            (dialog.accept if len(asked) > 1 else dialog.dismiss)()

        page.on("dialog", answer)
        page.get_by_role("button", name="Release dr-b's claim").click()
        assert asked == ["dr-b has claimed this case. Give it back to the list all the same?"]
        assert reader() == "dr-b"
        page.get_by_role("button", name="Release dr-b's claim").click()
        page.get_by_role("button", name="Claim", exact=True).wait_for()
        assert reader() == ""


def test_a_key_that_is_held_down_and_a_double_click_take_one_step(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    asked: list[str] = []
    page.on(
        "request", lambda request: asked.append(request.url.rpartition("/")[2]) if request.method == "POST" else None
    )
    page.keyboard.down("c")
    page.get_by_text("claimed by local").wait_for()
    page.keyboard.down("c")
    page.keyboard.up("c")
    page.get_by_role("button", name="Release", exact=True).dblclick()
    page.get_by_role("button", name="Claim", exact=True).wait_for()
    assert [step for step in asked if step in ("claim", "release")] == ["claim", "release"]
    place = page.get_by_role("button", name="Claim", exact=True).bounding_box()
    page.mouse.move(place["x"] + 5, place["y"] + 5)
    page.mouse.down()
    page.mouse.up()
    page.get_by_role("button", name="Mark as read").and_(page.locator(":hover")).wait_for()
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)
    page.get_by_role("button", name="Release", exact=True).click()
    page.get_by_role("button", name="Claim", exact=True).wait_for()
    assert "read" not in asked, "it stands where the claim's button was"
    assert not page.locator("[data-refusal]").is_visible()


def test_a_case_that_changed_unseen_is_not_marked_as_read(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    with page.expect_response("**/fragment/studies/*"):  # what the stream's opening asked for
        happened(house, "analysis_requested", house.radiograph)
    page.route("**/fragment/studies/*", lambda route: route.abort())
    happened(house, "analysis_requested", house.radiograph)
    page.keyboard.press("r")
    page.locator("[data-refusal]").get_by_text("The case has changed just now. Look again, then repeat.").wait_for()
    page.unroute("**/fragment/studies/*")
    with page.expect_response("**/fragment/studies/*"):
        happened(house, "analysis_requested", house.radiograph)
    page.wait_for_function("() => document.querySelector('[data-live-state=live]')")
    page.keyboard.press("r")
    page.get_by_role("button", name="Read again").click()
    page.get_by_role("button", name="Claim", exact=True).wait_for()


def test_a_button_keeps_the_focus_when_what_stands_around_it_is_made_anew(page: Any, house: House) -> None:
    opened_case(page, house.url, house.radiograph)
    page.get_by_role("button", name="Mark as read").focus()
    with house.bench.database.write() as session:
        study = worklist.study_by_uid(session, house.radiograph)
        study.ward = "ICU 2"
        events.record(session, "ward_ordered", at=datetime.now(UTC), study=study, who="test", ward="ICU 2")
    page.locator(".head").get_by_text("ICU 2").wait_for()
    assert page.evaluate("() => document.activeElement.textContent") == "Mark as read"


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nobody_is_shut_out(page: Any, house: House, size: tuple[int, int], theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.context.add_cookies([{"name": "theme", "value": theme, "url": house.url}])
    opened_case(page, house.url, house.radiograph)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    found = axe.run(page).response["violations"]
    serious = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert serious == []
