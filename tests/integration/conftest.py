"""A node and a browser for tests of pages: one Chromium per file, a node and a tab for each test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from migrated import migrate
from page_node import CHROMIUM, FLAGS, Node
from PIL import Image

from triage.database import Database
from triage.repositories import heartbeats
from triage.settings import Settings


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    settings = Settings(data=tmp_path)
    settings.results.mkdir()
    for name, grey in (("image", 90), ("overlay", 180)):
        Image.fromarray(np.full((300, 240), grey, dtype=np.uint8)).save(settings.results / f"{name}.jpg")
    database = Database(settings.database)
    migrate(database)
    with database.write() as session:
        for part in ("listen", "work"):
            heartbeats.beat(session, f"{part}@test:1", part, at=datetime.now(UTC))
    node = Node(settings, database)
    node.start()
    yield node
    node.stop()
    database.dispose()


@pytest.fixture(scope="module")  # its event loop runs until it ends: no longer than tests that want it
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: install Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, node: Node) -> Iterator[Any]:
    """A tab that fails its test when a script fails or anything is asked of another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.set_default_timeout(20_000)
    trouble: list[str] = []
    tab.on("pageerror", lambda error: trouble.append(f"script: {error}"))
    tab.on("console", lambda said: trouble.append(f"CSP: {said.text}") if "Security" in said.text else None)
    tab.on("request", lambda asked: None if asked.url.startswith(node.url) else trouble.append(f"asked {asked.url}"))
    yield tab
    context.close()
    assert trouble == []
