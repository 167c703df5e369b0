"""The viewer in a real browser: every frame of a multi-frame image, colours, fingers on a phone, a study beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from node_under_test import Node as Bench
from node_under_test import draw, opened
from numpy.typing import NDArray
from page_node import watched_tab
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from shown_case import any_mark, complete, film, grey, opened_case, picture, settled, shown_by

from models.phantom.head_ct import generate_head_ct
from models.phantom.head_dicom import to_datasets
from workers.analysis import analyse_due

pytestmark = pytest.mark.peer
FRAMES = 120
SLICES = 12
PHONE = (390, 844)
STATE = "[data-viewer=case] [data-part=state]"


@dataclass
class House:
    """A node whose cases a reader looks at."""

    bench: Bench
    url: str
    movie: str
    colours: str
    head: str
    chest: str
    prior: str


def of_frames(frames: NDArray[Any], study: str, **elements: Any) -> Dataset:
    """An ultrasound clip, or what ``elements`` make of it."""
    dataset = draw(3)
    for keyword in (
        "VOILUTSequence",
        "WindowCenter",
        "WindowWidth",
        "PresentationLUTShape",
        "PixelSpacing",
        "ViewPosition",
    ):
        if keyword in dataset:
            del dataset[keyword]
    dataset.Modality, dataset.SOPClassUID = "US", "1.2.840.10008.5.1.4.1.1.3.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
    dataset.SOPInstanceUID, dataset.InstanceNumber = f"{study}.1.{elements.get('InstanceNumber', 1)}", 1
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.BitsAllocated = dataset.BitsStored = 8 * frames.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelData = frames.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def movie() -> Dataset:
    """Each frame has one grey value, its number, and a window of its own around it."""
    frames = np.broadcast_to(np.arange(1, FRAMES + 1, dtype="u2")[:, None, None], (FRAMES, 60, 80)).copy()
    frames[:, :10] = 0
    windows = []
    for number in range(1, FRAMES + 1):
        window, item = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = number, 11
        item.FrameVOILUTSequence = Sequence([window])
        windows.append(item)
    return of_frames(frames, "2.25.101", FrameTime=25, PerFrameFunctionalGroupsSequence=Sequence(windows))


def colours() -> list[Dataset]:
    """A clip in colours of two frames, and a grey picture in the same series."""
    frames = np.zeros((2, 40, 60, 3), np.uint8)
    frames[0], frames[1] = [220, 40, 10], [10, 60, 200]
    colour = of_frames(frames, "2.25.102", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    plain = of_frames(np.full((1, 40, 60), 100, "u2"), "2.25.102", InstanceNumber=2)
    return [colour, plain]


def dot() -> Dataset:
    """An image of one pixel."""
    return of_frames(np.full((1, 1, 1), 100, "u2"), "2.25.103", WindowCenter=100, WindowWidth=200)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    head = to_datasets(
        generate_head_ct(77, 1, size=96, kinds=frozenset({"epidural"}), slices=SLICES), 77, 1,
        taken_at=datetime(2026, 3, 1, 8, tzinfo=UTC),
    )  # fmt: skip
    chest, prior = draw(1, {"pneumothorax"}), draw(1)
    prior.StudyInstanceUID, prior.SeriesInstanceUID, prior.SOPInstanceUID = "2.25.201", "2.25.202", "2.25.203"
    prior.StudyDate, prior.StudyDescription = "20250301", "Chest last year"
    prior.file_meta.MediaStorageSOPInstanceUID = "2.25.203"
    with opened(tmp_path_factory.mktemp("viewer") / "data") as node:
        for study in ([movie()], colours(), [dot()], head, [prior], [chest]):
            node.receive(*study)
        complete(node)
        analyse_due(node.bench)
        with shown_by(node) as door:
            yield House(
                node, door.url, "2.25.101", "2.25.102", str(head[0].StudyInstanceUID), str(chest.StudyInstanceUID),
                "2.25.201",
            )  # fmt: skip


@pytest.fixture
def page(browser: Any, house: House) -> Iterator[Any]:
    with watched_tab(browser, house.url, width=1440, height=900) as tab:
        yield tab


def test_an_image_of_one_pixel_is_shown(page: Any, house: House) -> None:
    opened_case(page, house.url, "2.25.103")
    assert state(page).endswith("1 × 1")
    assert grey(page, 0.5, 0.5)[3] == 255, "painted"


def state(page: Any) -> str:
    settled(page)
    text: str = page.locator(STATE).inner_text()
    return text


def at_frame(page: Any, number: int) -> None:
    page.wait_for_function("n => document.querySelector('[data-viewer=case]').dataset.frame === String(n)", arg=number)


# --- frames and colours ---


def test_every_frame_of_an_image_is_scrolled_through_and_told(page: Any, house: House) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened_case(page, house.url, house.movie)
    assert page.evaluate("() => firstreadViewer.stack.length") == FRAMES
    assert f"frame 1 of {FRAMES}" in state(page)
    assert "C 1 W 11" in state(page)
    page.keyboard.press("v")
    for number in (2, 3):
        page.keyboard.press("ArrowDown")
        at_frame(page, number)
    page.keyboard.press("End")
    at_frame(page, FRAMES)
    assert f"frame {FRAMES} of {FRAMES}" in state(page)
    assert f"C {FRAMES} W 11" in state(page), "each frame has its own window"
    assert grey(page, 0.5, 0.5)[:3] == pytest.approx([140] * 3, abs=2), "in the middle of its window"
    page.locator("[data-viewer=case] [data-part=slice]").fill("60")
    at_frame(page, 60)
    words = page.evaluate("() => firstreadViewer.frames.get(firstreadViewer.image.url)[40 * 80]")
    frame = page.evaluate("() => firstreadViewer.image.frame")
    assert words * frame["slope"] + frame["intercept"] == 60
    fetched = {url for url in asked if "/words" in url}
    assert len(fetched) < FRAMES, "nobody gets frames that nobody comes near"


def test_every_frame_comes_when_all_are_passed_in_a_hurry(page: Any, house: House) -> None:
    opened_case(page, house.url, house.movie)
    page.keyboard.press("v")
    for _ in range(FRAMES // 10):
        page.keyboard.press("PageDown")
    at_frame(page, FRAMES)
    for number in (93, 47, 20):
        page.evaluate("n => firstreadViewer.goTo(0, n - 1)", number)
        at_frame(page, number)
        assert f"frame {number} of {FRAMES}" in state(page)


def test_a_stack_is_played_as_a_film_and_stopped(page: Any, house: House) -> None:
    opened_case(page, house.url, house.movie)
    page.evaluate(
        """() => {
            window.passed = [];
            const show = firstreadViewer.show;
            firstreadViewer.show = function () { show.call(this); passed.push(this.at.image + 1); };
        }"""
    )
    rate, play = (page.locator(f"[data-viewer=case] [data-part={part}]") for part in ("rate", "play"))
    assert rate.input_value() == "40", "as the object asks"
    rate.fill("60")
    page.keyboard.press("Enter")
    page.keyboard.press("p")
    assert play.inner_text() == "Stop"
    page.wait_for_function(f"() => passed.includes({FRAMES}) && passed.at(-1) < {FRAMES}", timeout=30_000)  # round once
    assert "60 a second" in state(page)
    page.keyboard.press("ArrowUp")
    assert play.inner_text() == "Play", "whoever goes somewhere by hand wants to stay there"
    passed = page.evaluate("() => passed")
    assert set(passed) == set(range(1, FRAMES + 1)), "none is skipped"
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert play.get_attribute("aria-pressed") == "false"
    opened_case(page, house.url, house.chest)
    assert page.locator("[data-viewer=case] [data-part=cine]").is_hidden(), "a single image is no film"


def test_a_colour_image_is_shown_in_its_colours_and_says_that_it_has_no_window(page: Any, house: House) -> None:
    opened_case(page, house.url, house.colours)
    window = page.locator("[data-viewer=case] [data-part=window]")
    assert grey(page, 0.5, 0.5) == [220, 40, 10, 255]
    assert window.is_disabled()
    assert "no window" in state(page)
    page.keyboard.press("]")
    page.keyboard.press(".")
    assert grey(page, 0.5, 0.5) == [220, 40, 10, 255]
    box = film(page)
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 340, box["y"] + 320, steps=2)
    page.mouse.up()
    assert page.evaluate("() => firstreadViewer.view") == {"zoom": 1, "x": 40, "y": 20}, "a drag moves it"
    page.keyboard.press("i")
    assert grey(page, 0.5, 0.5) == [35, 215, 245, 255]
    page.keyboard.press("i")
    page.keyboard.press("v")
    page.keyboard.press("ArrowDown")
    at_frame(page, 2)
    assert "2 of 3 · frame 2 of 2" in state(page)
    assert grey(page, 0.5, 0.5) == [10, 60, 200, 255]
    page.keyboard.press("ArrowDown")
    at_frame(page, 1)
    assert "3 of 3" in state(page)
    assert not window.is_disabled(), "the grey image beside them has a window"


# --- a study beside it ---


def test_another_study_of_the_patient_stands_beside_with_its_own_pixels_and_marks(page: Any, house: House) -> None:
    opened_case(page, house.url, house.chest)
    page.wait_for_function("() => [...firstreadViewer.frames.heats.values()].some(heat => heat)")
    page.locator("[data-compare]").first.click()
    beside = page.locator("[data-viewer=prior]")
    page.wait_for_function("() => document.querySelector('[data-viewer=prior]').dataset.shown === '2.25.203'")
    assert "2025" in beside.locator("[data-part=title]").inner_text()
    assert any_mark(page)
    assert not any_mark(page, "prior"), "what the AI marked lies on the study that it belongs to"
    ours, theirs = film(page), beside.locator(".film").bounding_box()
    assert theirs["x"] >= ours["x"] + ours["width"]
    assert theirs["y"] == pytest.approx(ours["y"], abs=2)
    before = picture(page)
    page.keyboard.press("i")  # the image beside has the focus
    settled(page)
    assert beside.locator("[data-part=invert]").get_attribute("aria-pressed") == "true"
    assert picture(page) == before, "each has its own window"
    page.get_by_role("button", name="Close").click()
    assert beside.is_hidden()
    assert page.evaluate("() => document.querySelector('[data-viewer=prior]').dataset.shown") == ""
    page.keyboard.press("i")
    assert picture(page) != before, "the keys are the case's again"


# --- fingers ---


class Fingers:
    """Touches of a phone, as the browser gets them from its screen."""

    def __init__(self, tab: Any) -> None:
        self._tab = tab
        self._session = tab.context.new_cdp_session(tab)

    def drag(self, *paths: tuple[tuple[float, float], tuple[float, float]], steps: int = 8) -> None:
        """Each finger from one point to another, all at once."""
        self._send("touchStart", [path[0] for path in paths])
        for step in range(1, steps + 1):
            part = step / steps
            self._send("touchMove", [(a + (c - a) * part, b + (d - b) * part) for (a, b), (c, d) in paths])
        self._send("touchEnd", [])
        settled(self._tab)

    def _send(self, kind: str, points: list[tuple[float, float]]) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


@contextmanager
def phone(browser: Any, url: str) -> Iterator[Any]:
    with watched_tab(browser, url, width=PHONE[0], height=PHONE[1], has_touch=True, is_mobile=True) as tab:
        yield tab


def middle(page: Any) -> tuple[float, float]:
    page.locator("[data-viewer=case] .film").scroll_into_view_if_needed()
    box = film(page)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_fingers_pinch_move_and_scroll_a_series(browser: Any, house: House) -> None:
    with phone(browser, house.url) as page:
        opened_case(page, house.url, house.head)
        fingers = Fingers(page)
        assert page.locator("[data-viewer=case] [data-tool][value=scroll]").is_checked(), "a finger scrolls a stack"
        x, y = middle(page)
        first = page.evaluate("() => firstreadViewer.at.image")
        fingers.drag(((x, y - 60), (x, y + 60)))
        swiped = page.evaluate("() => firstreadViewer.at.image")
        assert swiped > first
        fingers.drag(((x, y + 60), (x, y - 60)))
        assert page.evaluate("() => firstreadViewer.at.image") == first
        fingers.drag(((x - 40, y - 40), (x - 110, y - 110)), ((x + 40, y + 40), (x + 110, y + 110)))
        view = page.evaluate("() => firstreadViewer.view")
        assert view["zoom"] == pytest.approx(2.2, abs=0.5)
        assert page.evaluate("() => firstreadViewer.at.image") == first, "a pinch is no swipe"
        page.locator("[data-viewer=case] [data-tool][value=window]").check()
        fingers.drag(((x - 40, y - 60), (x - 40, y + 60)), ((x + 40, y - 60), (x + 40, y + 60)))
        assert page.evaluate("() => firstreadViewer.at.image") > first, "two fingers scroll while one windows"
        assert page.evaluate("() => firstreadViewer.window") is None
        before = page.evaluate("() => firstreadViewer.grey")
        fingers.drag(((x, y), (x + 60, y)))
        assert page.evaluate("() => firstreadViewer.grey.width") > before["width"]
        page.locator("[data-viewer=case] [data-tool][value=pan]").check()
        at = page.evaluate("() => firstreadViewer.view.x")
        fingers.drag(((x, y), (x + 50, y)))
        assert page.evaluate("() => firstreadViewer.view.x") == pytest.approx(at + 50, abs=8)
        page.touchscreen.tap(x, y)
        page.touchscreen.tap(x, y)
        page.wait_for_function("() => firstreadViewer.view.zoom === 1")


def test_a_finger_windows_a_single_image_and_the_last_one_of_two_does_nothing(browser: Any, house: House) -> None:
    with phone(browser, house.url) as page:
        opened_case(page, house.url, house.chest)
        assert page.locator("[data-viewer=case] [data-tool][value=window]").is_checked()
        x, y = middle(page)
        session = page.context.new_cdp_session(page)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            touches = [{"x": a, "y": b, "id": number} for number, (a, b) in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

        touch("touchStart", (x - 50, y))
        touch("touchStart", (x - 50, y), (x + 50, y))
        touch("touchMove", (x - 90, y), (x + 90, y))
        touch("touchMove", (x - 120, y), (x + 120, y))
        touch("touchEnd", (x - 120, y))
        touch("touchMove", (x - 20, y + 80))
        touch("touchEnd")
        assert page.evaluate("() => firstreadViewer.view.zoom") > 1
        assert page.evaluate("() => firstreadViewer.window") is None, "lifting two fingers is no windowing"
        Fingers(page).drag(((x, y), (x + 60, y + 30)))
        assert page.evaluate("() => firstreadViewer.window") is not None


def test_the_page_can_still_be_scrolled_on_a_phone(browser: Any, house: House) -> None:
    with phone(browser, house.url) as page:
        opened_case(page, house.url, house.chest)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE[0]
        middle(page)
        box = film(page)
        above, below = box["y"], PHONE[1] - box["y"] - box["height"]
        assert above + below >= 180, "room for a finger beside the image"
        y = box["y"] + box["height"] + 30 if below > above else box["y"] - 60
        before = page.evaluate("() => scrollY")
        finger = ((150.0, y), (150.0, y - 150)) if before == 0 or below > above else ((150.0, y), (150.0, y + 50))
        Fingers(page).drag(finger)
        page.wait_for_function("before => scrollY !== before", arg=before)
        assert page.evaluate("() => firstreadViewer.view.y") == 0
