"""What tests of the case view share: a node whose worker makes what the page asks for, and looks at its canvases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from node_under_test import Node as Bench
from page_node import Node

from triage.repositories import completing
from workers.rendering import render_due
from workers.workbench import Workbench


@contextmanager
def shown_by(node: Bench) -> Iterator[Node]:
    """The door of a node, and a worker that makes frames."""
    door = Node(node.bench.settings, node.bench.database)
    door.start()
    done = threading.Event()
    worker = threading.Thread(target=_make_what_is_asked, args=(node.bench, done), daemon=True)
    worker.start()
    try:
        yield door
    finally:
        done.set()
        worker.join()
        door.stop()


def complete(node: Bench) -> None:
    node.clock.pass_by(seconds=node.bench.settings.completion.quiet + 1)
    with node.bench.database.write() as session:
        for study in completing.due_studies(session, node.clock()):
            completing.reconsider(session, study, node.clock(), node.bench.settings.completion)


def _make_what_is_asked(bench: Workbench, done: threading.Event) -> None:
    watch = bench.database.watch()
    while not done.wait(0.02):
        if watch.changed():
            render_due(bench)
    watch.close()


def opened_case(page: Any, url: str, study: str) -> None:
    """The case with its image on the canvas."""
    page.goto(f"{url}/studies/{study}")
    page.wait_for_selector("[data-live-state=live]")
    page.wait_for_function("() => document.querySelector('[data-viewer=case]').dataset.shown")
    settled(page)


def settled(page: Any) -> None:
    """What was asked for is on the canvas."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def picture(page: Any, part: str = "image") -> str:
    """A digest of the pixels of a canvas."""
    settled(page)
    digest: str = page.evaluate(
        """async part => {
            const canvas = document.querySelector(`[data-part="${part}"]`);
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            const digest = await crypto.subtle.digest("SHA-256", pixels);
            return [...new Uint8Array(digest)].map(byte => byte.toString(16).padStart(2, "0")).join("");
        }""",
        part,
    )
    return digest


def grey(page: Any, x: float, y: float, part: str = "image") -> list[int]:
    """Red, green, blue and opacity of a canvas at a share of its width and height."""
    settled(page)
    values: list[int] = page.evaluate(
        """([part, x, y]) => {
            const canvas = document.querySelector(`[data-part="${part}"]`);
            const at = [Math.round(canvas.width * x), Math.round(canvas.height * y)];
            return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
        }""",
        [part, x, y],
    )
    return values


def film(page: Any) -> dict[str, float]:
    box: dict[str, float] = page.locator("[data-viewer=case] .film").bounding_box()
    return box


def shown(page: Any, index: int) -> None:
    page.wait_for_function(
        """index => firstreadViewer.at.image === index &&
            document.querySelector('[data-viewer=case]').dataset.shown === firstreadViewer.image.sop_instance_uid""",
        arg=index,
    )


def any_mark(page: Any, viewer: str = "case") -> bool:
    """Whether anything lies on the marks of a viewer."""
    settled(page)
    found: bool = page.evaluate(
        """viewer => {
            const canvas = document.querySelector(`[data-viewer=${viewer}] [data-part=marks]`);
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return data.some((value, at) => at % 4 === 3 && value > 0);
        }""",
        viewer,
    )
    return found
