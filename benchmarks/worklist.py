"""The reading list at a large department's size: 1,000,000 studies of which 20,000 are not read, on both databases.

Each question is asked as a client asks it, over HTTP on one connection that stays open, of a `firstread serve`
process; and of the repository, without HTTP. First of a node at rest, then while 50 studies a second arrive and one in
five is scored and read.

The population is built once and kept in ``--data``. Usage: ``python benchmarks/worklist.py --data DIR --write``.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import worklist_data
from worklist_data import Population
from worklist_load import SCORED
from worklist_serving import serving

from triage.database import Database
from triage.findings import Urgency
from triage.repositories import worklist
from triage.repositories.worklist import Filters, Place

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from peers.postgres import postgres  # noqa: E402

GOAL_MS: Final = 20.0
DEEP: Final = 10_000
"""Cases before the deep page."""
LIST: Final = "/api/v1/worklist"
Times = dict[str, list[float]]


@dataclass
class Client:
    """One connection that stays open."""

    port: int
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        answer = self.connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}

    def get(self, **query: Any) -> dict[str, Any]:
        status, body, _ = self.ask("GET", f"{LIST}?{urlencode(query)}")
        assert status == 200, body
        page: dict[str, Any] = json.loads(body)
        return page


class Questions:
    """What readers and programs ask, each once a round, with other values each time."""

    def __init__(self, client: Client, population: Population, seed: int) -> None:
        self._client, self._population, self._draw = client, population, random.Random(seed)  # noqa: S311
        self._deep = self._cursor_at(DEEP)
        self.asked: dict[str, Callable[[], Any]] = {
            "first page": self._page,
            "first page, unchanged (If-None-Match)": self._unchanged,
            f"page behind {DEEP:,} cases": lambda: self._page(cursor=self._deep),
            "by name": lambda: self._page(q=worklist_data.name_of(self._open()).partition("^")[0]),
            "by a part of a name": lambda: self._page(q=worklist_data.name_of(self._open())[2:7]),
            "by accession number": lambda: self._one(q=worklist_data.accession_of(self._open())),
            "by accession number, read ones too": lambda: self._one(
                status="ALL", q=worklist_data.accession_of(self._draw.randint(1, population.studies))
            ),
            "by name, read ones too": lambda: self._page(
                status="ALL", q=worklist_data.name_of(self._draw.randint(1, population.studies)).partition("^")[0]
            ),
            "one modality and class": lambda: self._page(modality="MR", urgency="URGENT"),
            "something over its threshold": lambda: self._client.get(positive="true"),
            "a rare finding": lambda: self._client.get(finding="nodule"),
            "one ward": lambda: self._client.get(ward="icu"),
            "priority change, then seen in its place": self._priority,
            "fragment of the page": self._fragment,
        }
        self._tag = ""

    def reconnect(self) -> None:
        """After a pause, in which the server may have closed the connection."""
        self._client.connection.close()

    def round(self, times: Times) -> None:
        """Ask each once, in another order each time."""
        for name in self._draw.sample(list(self.asked), len(self.asked)):
            began = time.perf_counter()
            self.asked[name]()
            times.setdefault(name, []).append(1000 * (time.perf_counter() - began))
            if name.startswith("priority"):
                self._take_back()

    def _open(self) -> int:
        return self._draw.randint(self._population.studies - self._population.unread + 1, self._population.studies)

    def _page(self, **query: Any) -> None:
        assert self._client.get(**query)["items"]

    def _one(self, **query: Any) -> None:
        assert len(self._client.get(**query)["items"]) == 1

    def _fragment(self) -> None:
        status, body, _ = self._client.ask("GET", "/fragment/worklist")
        assert status == 200, body

    def _unchanged(self) -> None:
        status, _, headers = self._client.ask("GET", LIST, **({"If-None-Match": self._tag} if self._tag else {}))
        assert status in (200, 304)
        self._tag = headers.get("etag", "")

    def _priority(self) -> None:
        """Among the longest waiting, so that the case moves to the first page."""
        first = self._population.studies - self._population.unread
        number = first + 50 * self._draw.randint(1, 40) + self._draw.randint(6, 49)
        self._changed = worklist_data.uid_of(1, number)
        body = {"urgency": "STAT", "reason": "benchmark"}
        status, answer, _ = self._client.ask("PATCH", f"/api/v1/studies/{self._changed}/priority", body)
        assert status == 200, answer
        assert self._changed in [item["study_instance_uid"] for item in self._client.get()["items"]]

    def _take_back(self) -> None:
        body = {"urgency": None, "reason": "benchmark"}
        status, answer, _ = self._client.ask("PATCH", f"/api/v1/studies/{self._changed}/priority", body)
        assert status == 200, answer

    def _cursor_at(self, position: int) -> str:
        cursor: dict[str, str] = {}
        for _ in range(position // 200):
            cursor = {"cursor": self._client.get(limit=200, **cursor)["next_cursor"]}
        return cursor["cursor"]


@dataclass
class Measured:
    """One database: the questions at rest and beside the load, and what serve and load needed."""

    name: str
    alone: Times
    beside: Times
    repository: Times
    load: dict[str, float]
    serve_mb: float


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="worklist-") as name:
        folder = Path(arguments.data or name)
        folder.mkdir(parents=True, exist_ok=True)
        population = Population(
            arguments.studies, arguments.unread, datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        )
        measured = [_measure(each, folder, population, arguments) for each in arguments.databases]
    if arguments.build_only:
        return
    text = _report(measured, arguments)
    sys.stdout.write(text)
    if arguments.write:
        target = ROOT / "docs" / "measurements" / f"worklist-{datetime.now(UTC):%Y-%m-%d}.md"
        target.write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder in which the populated databases stay; default: a temporary one")
    parser.add_argument("--databases", default=["sqlite", "postgres"], type=_databases, help="sqlite,postgres")
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--unread", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50.0, help="studies a second beside the questions")
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--build-only", action="store_true", help="populate and end")
    parser.add_argument("--write", action="store_true", help="write docs/measurements/worklist-DATE.md")
    return parser.parse_args()


def _databases(named: str) -> list[str]:
    """Refuses what it does not know: another word than postgres would be measured as SQLite."""
    names = named.split(",")
    if not set(names) <= {"sqlite", "postgres"}:
        raise argparse.ArgumentTypeError("sqlite and postgres are known")
    return names


def _measure(name: str, folder: Path, population: Population, arguments: argparse.Namespace) -> Measured:
    data = folder / name
    data.mkdir(exist_ok=True)
    private = postgres(folder / "cluster") if name == "postgres" else nullcontext(f"sqlite:///{data}/firstread.sqlite")
    with private as url:
        database = Database(url)
        database.migrate()
        with database.read() as session:
            empty = not worklist.list_page(session, Filters(everything=True), None, 1).cases
        if empty:
            began = time.perf_counter()
            worklist_data.populate(database, population)
            sys.stderr.write(f"{name}: populated in {time.perf_counter() - began:.0f} s\n")
        if arguments.build_only:
            database.dispose()
            return Measured(name, {}, {}, {}, {}, 0)
        with serving(url, data) as (port, pid):
            questions = Questions(Client(port), population, arguments.seed)
            alone, beside = Times(), Times()
            for _ in range(5):
                questions.round(Times())
            for _ in range(arguments.repeats):
                questions.round(alone)
            sys.stderr.write(f"{name}: at rest: {_summary(alone)}\n")
            repository = _ask_repository(database, arguments.repeats)
            questions.reconnect()
            with _load(url, arguments) as load:
                for _ in range(arguments.repeats):
                    questions.round(beside)
            sys.stderr.write(f"{name}: beside: {_summary(beside)}\n")
            megabytes = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        database.dispose()
    return Measured(name, alone, beside, repository, load, megabytes)


@contextmanager
def _load(url: str, arguments: argparse.Namespace) -> Iterator[dict[str, float]]:
    """The department at work until the block ends; what it managed is in the mapping then."""
    told: dict[str, float] = {}
    command = [sys.executable, str(Path(__file__).with_name("worklist_load.py")), url, "--rate", str(arguments.rate)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "at work\n":
        raise RuntimeError("the load did not start")
    try:
        yield told
        output, _ = process.communicate("\n", timeout=60)
        told.update(json.loads(output.splitlines()[-1]))
    finally:
        process.kill()
        process.wait()


def _ask_repository(database: Database, repeats: int) -> Times:
    """The same questions without HTTP, JSON and pydantic: transaction and rows."""
    with database.read() as session:
        first = worklist.list_page(session, Filters(), None, 1).cases[0].study
        deep = session.scalars(worklist.page_query(Filters(), None, DEEP)).all()[-1]
    place, name = Place(deep.tier, deep.due_at, deep.id), first.patient_name.partition("^")[0]
    asked = {
        "first page": (Filters(), None),
        f"page behind {DEEP:,} cases": (Filters(), place),
        "by name": (Filters(q=name), None),
        "by accession number": (Filters(q=first.accession_number), None),
        "by accession number, read ones too": (Filters(q=first.accession_number, everything=True), None),
        "by name, read ones too": (Filters(q=name, everything=True), None),
        "one modality and class": (Filters(modality="MR", urgency=Urgency.URGENT), None),
    }
    times = Times()
    for _ in range(repeats):
        for question, (filters, after) in asked.items():
            began = time.perf_counter()
            with database.read() as session:
                worklist.list_page(session, filters, after, 50)
            times.setdefault(question, []).append(1000 * (time.perf_counter() - began))
    return times


def _summary(times: Times) -> str:
    return "; ".join(f"{name} {_p95(values):.1f}" for name, values in times.items())


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def _report(measured: Sequence[Measured], arguments: argparse.Namespace) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    lines = [
        f"# The reading list at scale, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"Commit {commit.stdout.strip()}, seed {arguments.seed}; {arguments.studies:,} studies, {arguments.unread:,} "
        f"not read; {arguments.repeats} rounds; {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}. `python benchmarks/worklist.py`.",
        "",
        "Milliseconds as a client on the same machine sees them: one `firstread serve`, one connection that stays "
        f"open, pages of 50, JSON read to its end. *Beside*: while {arguments.rate:.0f} studies a second arrive and "
        f"one in {SCORED} is scored and one read (listener's, worker's and reader's transactions, each durable). "
        "*Repository*: transaction and rows alone. "
        f"Goal: P95 ≤ {GOAL_MS:.0f} ms each, and beside the load less than twice that at rest.",
        "",
    ]
    for each in measured:
        lines += _table(each)
    return "\n".join(lines) + "\n"


def _table(each: Measured) -> list[str]:
    lines = [
        f"## {each.name}",
        "",
        "| question | P50 | P95 | max | beside: P50 | P95 | × P95 | repository: P50 | P95 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for question, alone in each.alone.items():
        beside, rows = each.beside[question], each.repository.get(question)
        own = f"{statistics.median(rows):.1f} | {_p95(rows):.1f}" if rows else " | "
        lines.append(
            f"| {question} | {statistics.median(alone):.1f} | {_p95(alone):.1f} | {max(alone):.1f} | "
            f"{statistics.median(beside):.1f} | {_p95(beside):.1f} | {_p95(beside) / _p95(alone):.2f} | {own} |"
        )
    load = each.load
    lines += [
        "",
        f"The load managed {load['rate']:.1f} studies a second with {100 * load['cpu']:.0f} % of a core; the "
        f"listener's transaction took {load['receipt_p50']:.1f} ms (P95 {load['receipt_p95']:.1f}). "
        f"`serve`: {each.serve_mb:.0f} MB.",
        "",
    ]
    return lines


if __name__ == "__main__":
    main()
