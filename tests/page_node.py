"""The HTTP door of a node on a real port with cases in it, for tests that drive its pages in a real browser."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from worklist_rows import Seen, arrive, score

from triage.database import Database
from triage.repositories import outcomes
from triage.settings import Settings
from worklist.app import create_app

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@dataclass
class Node:
    """The HTTP door of a node on a real port; it can go away and come back there.

    Attributes
    ----------
    ahead : timedelta
        Of its clock before the machine's.
    """

    settings: Settings
    database: Database
    port: int = 0
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None
    uids: dict[str, str] = field(default_factory=dict)
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        listening.listen()  # from here on a client waits for the server instead of being refused
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            create_app(self.settings, self.database, clock=self.now), log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join()

    def case(self, name: str, value: float, *, minutes_ago: float, pictures: bool = True) -> str:
        """One more scored case; above 0.6 it is STAT."""
        at = self.now() - timedelta(minutes=minutes_ago)
        previews = outcomes.Previews(image="image.jpg", overlay="overlay.jpg") if pictures else None
        with self.database.write() as session:
            study = arrive(session, name, at=at)
            score(session, study, [Seen("pneumothorax", value), Seen("nodule", 0.1)], at=at, previews=previews)
            self.uids[name] = study.study_instance_uid
        return self.uids[name]


@contextmanager
def watched_tab(browser: Any, url: str, *, width: int, height: int, **more: Any) -> Iterator[Any]:
    """A tab that fails its test when a script fails or anything is asked of another host than ``url``; ``more`` is the
    browser's own, as ``has_touch``.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, **more)
    tab = context.new_page()
    tab.set_default_timeout(20_000)
    trouble: list[str] = []
    tab.on("pageerror", lambda error: trouble.append(f"script: {error}"))
    tab.on("console", lambda said: trouble.append(f"CSP: {said.text}") if "Security" in said.text else None)
    tab.on("request", lambda asked: None if asked.url.startswith(url) else trouble.append(f"asked {asked.url}"))
    yield tab
    context.close()
    assert trouble == [], trouble  # said, because pytest explains asserts of tests only
