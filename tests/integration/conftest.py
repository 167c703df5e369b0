"""A node and a browser for tests of pages: one Chromium per file, a node and a tab for each test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from migrated import migrate
from page_node import CHROMIUM, FLAGS, Node, watched_tab
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
    with watched_tab(browser, node.url, width=1280, height=800) as tab:
        yield tab
