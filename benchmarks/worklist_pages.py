"""Two hundred open pages on one `firstread serve`: how long until each shows what has changed, and what that costs.

Each page is what a browser makes of it: one event stream, and a fragment fetched after each notice, with the pauses of
``live.js``, on a connection of its own. Five cases a second change their place meanwhile.

Usage: ``python benchmarks/worklist_pages.py --write``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import worklist_data
from worklist_data import Population
from worklist_serving import serving

from triage.database import Database
from triage.findings import Urgency
from triage.priority import Targets
from triage.repositories import placing
from triage.tables import Study

ROOT = Path(__file__).parents[1]
TOGETHER, SPREAD, QUIET, SLOWER, LONGEST = 0.040, 0.400, 0.250, 2.0, 5.0
"""Of live.js, in seconds: TOGETHER_MS, SPREAD_MS, QUIET_MS, how often the answer's own time it waits,
LONGEST_PAUSE_MS."""
GOAL: Final = 1.0


@dataclass
class Page:
    """One open page; ``seen`` holds when each fragment was asked for and when it was there."""

    port: int
    seen: list[tuple[float, float]] = field(default_factory=list)
    notices: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self) -> None:
        """Listen and fetch until cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /api/v1/worklist/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        fetching = asyncio.create_task(self._refresh())
        try:
            while line := await reader.readline():
                if line.startswith(b"data:"):
                    self.notices += 1
                    self._news.set()
        finally:
            fetching.cancel()
            writer.close()

    async def _refresh(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        refreshed, pause, answered = 0.0, QUIET, 0.0
        while True:
            await self._news.wait()
            spread = random.random() * min(SLOWER * answered, SPREAD)  # noqa: S311
            await asyncio.sleep(max(TOGETHER + spread, refreshed + pause - time.monotonic()))
            self._news.clear()
            asked = time.monotonic()
            if writer.is_closing() or reader.at_eof():
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
            writer.write(b"GET /fragment/worklist HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            (length,) = (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            refreshed = time.monotonic()
            answered = refreshed - asked
            pause = min(max(QUIET, SLOWER * answered), LONGEST)
            self.seen.append((asked, refreshed))


class Changer(threading.Thread):
    """People who move cases: so many a second, each a transaction of its own."""

    def __init__(self, database: Database, population: Population, rate: float) -> None:
        super().__init__(daemon=True)
        self._database, self._population, self._rate = database, population, rate
        self.committed: list[float] = []
        self.stop = threading.Event()

    def run(self) -> None:
        draw, began = random.Random(1), time.monotonic()  # noqa: S311
        while not self.stop.wait(max(0.0, began + len(self.committed) / self._rate - time.monotonic())):
            number = self._population.studies - draw.randrange(self._population.unread)
            with self._database.write() as session:
                study = session.scalars(
                    sa.select(Study).where(Study.study_instance_uid == worklist_data.uid_of(1, number))
                ).one()
                placing.set_manual_urgency(
                    session, study, draw.choice(list(Urgency)), reason="benchmark", by="dr_day", targets=Targets(),
                    at=datetime.now(UTC),
                )  # fmt: skip
            self.committed.append(time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--rate", type=float, default=5.0, help="changes a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--write", action="store_true", help="write docs/measurements/worklist-pages-DATE.md")
    arguments = parser.parse_args()
    population = Population(5000, 2000, datetime.now(UTC))
    with tempfile.TemporaryDirectory(prefix="pages-") as name:
        url = f"sqlite:///{name}/firstread.sqlite"
        database = Database(url)
        database.migrate()
        worklist_data.populate(database, population)
        with serving(url, Path(name)) as (port, pid):
            lines = asyncio.run(_measure(database, population, port, pid, arguments))
        database.dispose()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    text = "\n".join(
        [
            f"# Open pages, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "",
            f"Commit {commit.stdout.strip()}; {platform.machine()}, {os.cpu_count()} cores, Python "
            f"{platform.python_version()}, SQLite, 2,000 open cases. `python benchmarks/worklist_pages.py`.",
            "",
            *lines,
            "",
        ]
    )
    sys.stdout.write(text)
    if arguments.write:
        target = ROOT / "docs" / "measurements" / f"worklist-pages-{datetime.now(UTC):%Y-%m-%d}.md"
        target.write_text(text, encoding="utf-8")


async def _measure(
    database: Database, population: Population, port: int, pid: int, arguments: argparse.Namespace
) -> list[str]:
    before = _megabytes(pid)
    pages = [Page(port) for _ in range(arguments.pages)]
    open_pages = [asyncio.create_task(page.live()) for page in pages]
    async with asyncio.timeout(30):
        while not all(page.seen for page in pages):
            await asyncio.sleep(0.1)
    idle = _megabytes(pid)
    for page in pages:
        page.seen.clear()
        page.notices = 0
    changer = Changer(database, population, arguments.rate)
    cpu, began = _cpu_seconds(pid), time.monotonic()
    changer.start()
    await asyncio.sleep(arguments.seconds)
    cpu, lasted = _cpu_seconds(pid) - cpu, time.monotonic() - began
    changer.stop.set()
    await asyncio.sleep(2.0)
    for task in open_pages:
        if task.done():
            raise RuntimeError(f"a page ended: {task.exception()}")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    committed = list(changer.committed)
    waits = sorted(wait for page in pages for wait in _waits(page, committed))
    fetched = sum(len(page.seen) for page in pages)
    late = sum(wait > GOAL for wait in waits)
    return [
        f"{arguments.pages} pages, {len(committed) / lasted:.1f} changes a second for {lasted:.0f} s; every page "
        f"showed every change: {len(waits) == len(committed) * len(pages)}.",
        "",
        "| from commit to the page that shows it | seconds |",
        "|---|---|",
        f"| P50 | {statistics.median(waits):.2f} |",
        f"| P95 | {waits[int(0.95 * len(waits))]:.2f} |",
        f"| P99 | {waits[int(0.99 * len(waits))]:.2f} |",
        f"| max | {waits[-1]:.2f} |",
        "",
        f"Later than {GOAL:.0f} s: {100 * late / len(waits):.2f} %. Fragments: {fetched / lasted:.0f} a second, "
        f"answered in {1000 * statistics.median(b - a for page in pages for a, b in page.seen):.0f} ms (median). "
        f"`serve` used {100 * cpu / lasted:.0f} % of a core, and {1000 * (idle - before) / arguments.pages:.0f} kB for "
        "an open page (its stream and its other connection).",
    ]


def _waits(page: Page, committed: Sequence[float]) -> list[float]:
    """Per change, until the first fragment is there that was asked for after it."""
    asked = [moment for moment, _ in page.seen]
    found = [(bisect_left(asked, moment), moment) for moment in committed]
    return [page.seen[index][1] - moment for index, moment in found if index < len(asked)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
