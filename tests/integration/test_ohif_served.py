"""OHIF as firstread serves it: the real viewer, in Chromium, shows an image of our archive over our own DICOMweb."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from node_under_test import draw, opened
from page_node import CHROMIUM
from peers.ohif import unpacked

from firstread.parts import archive_over_http
from worklist.app import create_app

pytestmark = [pytest.mark.peer, pytest.mark.slow]
FLAGS = ("--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
PATIENCE = 60_000  # milliseconds: 150 MB of scripts, and WebGL in software


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL and Study Instance UID of a node with a radiograph and OHIF."""
    folder = unpacked(tmp_path / "ohif")
    chest = draw(1, {"pneumothorax"})
    with opened(tmp_path / "data", ohif_folder=folder) as node:
        node.receive(chest)
        app = create_app(
            node.bench.settings,
            node.bench.database,
            dicom_web=archive_over_http(node.bench.settings, node.bench.database),
        )
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", str(chest.StudyInstanceUID)
        server.should_exit = True
        thread.join()


def test_the_button_opens_the_study_in_ohif(house: tuple[str, str], tmp_path: Path) -> None:
    url, study = house
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: install Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    trouble: list[str] = []
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        context = chromium.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.goto(f"{url}/studies/{study}")
        with context.expect_page() as opening:
            page.get_by_role("link", name="Open in OHIF").click()
        viewer = opening.value
        viewer.set_default_timeout(PATIENCE)
        viewer.on("request", lambda asked: None if asked.url.startswith((url, "blob:", "data:")) else trouble.append(
            asked.url))  # fmt: skip
        viewer.on("console", lambda said: trouble.append(said.text) if "Security Policy" in said.text else None)
        viewer.wait_for_function(_SHOWS_AN_IMAGE)
        viewer.screenshot(path=tmp_path / "ohif.png")
        chromium.close()
    assert trouble == []


_SHOWS_AN_IMAGE: Any = """() => [...document.querySelectorAll('.cornerstone-canvas')].some(canvas => {
    const pixels = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
    const greys = new Set();
    for (let at = 0; at < pixels.length; at += 4) greys.add(pixels[at]);
    return greys.size > 60;
})"""
