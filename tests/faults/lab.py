"""What a fault of the catalogue is run with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from peers.processes import eventually

from faults.exams import Exam
from faults.fork_server import ForkServer
from faults.invariants import Verdict
from faults.rig import Rig, rig
from triage.tables import Event


@dataclass
class Lab:
    """A place for one fault.

    Attributes
    ----------
    full : bool
        Times and numbers of the catalogue; otherwise shorter and fewer.
    notes : list of str
        What was done and measured, for the table.
    """

    folder: Path
    fork_server: ForkServer
    full: bool = False
    seed: int = 1
    notes: list[str] = field(default_factory=list)
    _rigs: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def rig(self, **options: Any) -> AbstractContextManager[Rig]:
        """A rig in a folder of its own."""
        self._rigs += 1
        options = {"fork_server": self.fork_server, "seed": self.seed, **options}
        return rig(self.folder / f"rig{self._rigs}", **options)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def much(self, full: int, quick: int) -> int:
        """A number of the catalogue, or a smaller one."""
        return full if self.full else quick


@dataclass(frozen=True)
class Fault:
    """A row of the catalogue.

    Attributes
    ----------
    run : callable
        Injects it, repairs it and checks; returns V, or raises AssertionError with what does not hold.
    ci : bool
        Among the few that run with every test run.
    """

    id: str
    what: str
    run: Callable[[Lab], Verdict]
    ci: bool = False


@contextmanager
def load(here: Rig, *, streams: int = 2, every: float = 0.5) -> Iterator[list[threading.Thread]]:
    """Modalities that send as long as the block lasts; afterwards everything they began is acknowledged."""
    from faults.senders import Stream  # noqa: PLC0415

    lock = threading.Lock()
    threads = [Stream(here.sender(calling=f"MOD{n}"), here.exams.any, every, lock) for n in range(streams)]
    for thread in threads:
        thread.start()
    yield list(threads)
    for thread in threads:
        thread.stop()
    for thread in threads:
        thread.finish()


def together(tasks: Sequence[Callable[[], object]]) -> None:
    """Run all at once and wait for the last; the first exception is raised."""
    failures: list[BaseException] = []

    def attempt(task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=attempt, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def died(here: Rig, part: str, *, within: float = 20.0) -> None:
    """Wait for a part to die at its crash point."""
    eventually(lambda: not here.product.alive(part), within=within, what=f"{part} dies at its crash point")


def count(here: Rig, query: Any) -> int:
    """The number that a query gives."""
    with here.product.database.read() as session:
        return int(session.scalar(query) or 0)


def events(here: Rig, kind: str) -> int:
    return count(here, sa.select(sa.func.count()).select_from(Event).where(Event.kind == kind))


def until(moment: Callable[[], bool], *, within: float, what: str) -> float:
    """Wait closely for a moment; returns the seconds it took."""
    begin = time.monotonic()
    while not moment():
        assert time.monotonic() - begin < within, f"{what}: not within {within:g} s"
        time.sleep(0.002)
    return time.monotonic() - begin


def split(exam: Exam) -> list[Exam]:
    """Each instance as a study sent by itself."""
    return [Exam(exam.study_uid, [instance]) for instance in exam.instances]
