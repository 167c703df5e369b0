"""`make soak MIN=20`: five instances a second, a random fault every minute; nothing may grow or get lost."""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from peers.replay_sender import Association

from faults import tables
from faults.fork_server import ForkServer
from faults.invariants import Verdict
from faults.product import PARTS
from faults.rig import Rig, rig
from faults.senders import Stream

RATE: Final = 5  # instances a second
LOOK_EVERY: Final = 5.0  # seconds
WARM: Final = 120.0
"""Seconds from the start of a process that do not count: it fills its pools and caches."""
FLAT: Final = {"MiB": 40.0, "descriptors": 8.0, "threads": 6.0}
"""What a process may have more of at its end than when it was warm; between two looks it breathes."""


@dataclass(frozen=True)
class Look:
    """What a part with all its processes holds at a moment. ``pids`` tells when it is another one."""

    at: float
    pids: frozenset[int]
    mebibytes: float
    descriptors: int
    threads: int


@dataclass
class Course:
    """The whole run."""

    seed: int
    minutes: float
    looks: dict[str, list[Look]] = field(default_factory=lambda: {part: [] for part in PARTS})
    faults: list[tuple[float, str]] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    sent: int = 0
    instances: int = 0
    p50: float = 0.0
    p99: float = 0.0

    def growth(self, part: str) -> dict[str, float]:
        """Of its longest-lived process: the mean of the last quarter less the mean of the first, once warm."""
        lives: dict[frozenset[int], list[Look]] = {}
        for look in self.looks[part]:
            lives.setdefault(look.pids, []).append(look)
        longest = max(lives.values(), key=len)
        warm = [look for look in longest if look.at - longest[0].at >= WARM] or longest
        quarter = max(1, len(warm) // 4)
        first, last = warm[:quarter], warm[-quarter:]

        def grown(values: Callable[[Look], float]) -> float:
            return sum(map(values, last)) / len(last) - sum(map(values, first)) / len(first)

        return {
            "MiB": grown(lambda look: look.mebibytes),
            "descriptors": grown(lambda look: look.descriptors),
            "threads": grown(lambda look: look.threads),
            "minutes": (warm[-1].at - warm[0].at) / 60,
        }

    @property
    def flat(self) -> bool:
        return all(self.growth(part)[what] <= limit for part in PARTS for what, limit in FLAT.items())


class Mischief:
    """The faults of a soak, one at a time."""

    def __init__(self, here: Rig, chance: random.Random) -> None:
        self._rig, self._chance = here, chance
        self._kinds: Sequence[tuple[str, Callable[[], None]]] = (
            ("associations cut in the middle of a data set", self._cut),
            ("fifty idle connections", self._idle),
            ("PACS without room for 15 s", self._refuse),
            ("PACS mute for 15 s", self._mute),
            ("database held by another writer for 3 s", self._lock),
            ("delivery asleep for 8 s", lambda: self._sleep("deliver", 8)),
            ("worker asleep for 8 s", lambda: self._sleep("work", 8)),
            ("pool process killed", self._kill_pool),
            ("a part killed", self._kill_part),
        )

    def strike(self) -> str:
        name, act = self._chance.choice(self._kinds)
        act()
        return name

    def _cut(self) -> None:
        for number in range(20):
            instance = self._rig.exams.ct(1).instances[0]
            with suppress(OSError):
                association = Association(self._rig.product.settings.dicom_port, [instance.context])
                association.socket.sendall(association.encode(instance)[: len(instance.data_set) // 2])
                association.reset() if number % 2 else association.abort()

    def _idle(self) -> None:
        address = ("127.0.0.1", self._rig.product.settings.dicom_port)
        idle = [socket.create_connection(address) for _ in range(50)]
        time.sleep(5)
        for connection in idle:
            connection.close()

    def _refuse(self) -> None:
        self._rig.pacs.behave(0xA700)
        time.sleep(15)
        self._rig.pacs.behave()

    def _mute(self) -> None:
        until = time.monotonic() + 15

        def wait(_event: object) -> int:
            time.sleep(max(0.0, until - time.monotonic()))
            return 0x0000

        self._rig.pacs.behave(wait)
        time.sleep(15)
        self._rig.pacs.behave()

    def _lock(self) -> None:
        connection = sqlite3.connect(self._rig.product.settings.data / "firstread.sqlite", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(3)
        connection.execute("ROLLBACK")
        connection.close()

    def _sleep(self, part: str, seconds: float) -> None:
        self._rig.product.freeze(part)
        time.sleep(seconds)
        self._rig.product.thaw(part)

    def _kill_pool(self) -> None:
        for pid in self._rig.product.children("work"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _kill_part(self) -> None:
        self._rig.product.kill(self._chance.choice(PARTS))


def run(folder: Path, fork_server: ForkServer, minutes: float, seed: int, say: Callable[[str], None]) -> Course:
    """Load and mischief for some minutes, then rest, then V."""
    course = Course(seed, minutes)
    with rig(folder, seed=seed, destinations=2, fork_server=fork_server, FIRSTREAD_ANALYSIS_ATTEMPTS="20") as here:
        lock = threading.Lock()
        chance = random.Random(seed)
        # One radiograph and four slices a second: five instances, of which one is analysed.
        sources = [
            Stream(here.sender(calling="CR"), here.exams.radiograph, 1.0, lock),
            Stream(here.sender(calling="CT"), lambda: here.exams.ct(RATE - 1), 1.0, lock),
        ]
        mischief = Mischief(here, chance)
        begin = time.monotonic()
        stop = threading.Event()
        thread = threading.Thread(target=_every_minute, args=(mischief, course, begin, stop, say))
        with here.product.kept():
            for worker in (*sources, thread):
                worker.start()
            while time.monotonic() - begin < minutes * 60:
                for part in PARTS:
                    look = look_at(here, part, time.monotonic() - begin)
                    if look is not None:
                        course.looks[part].append(look)
                time.sleep(LOOK_EVERY)
            stop.set()
            thread.join()
            for source in sources:
                source.finish()
            course.verdict = here.verify()
        course.sent = sum(source.sent for source in sources)
        course.instances = len(here.receipts.acknowledged)
        course.p50, course.p99 = here.receipts.latency(0.5), here.receipts.latency(0.99)
    return course


def _every_minute(
    mischief: Mischief, course: Course, begin: float, stop: threading.Event, say: Callable[[str], None]
) -> None:
    while not stop.wait(60.0 - (time.monotonic() - begin) % 60.0):
        name = mischief.strike()
        course.faults.append(((time.monotonic() - begin) / 60, name))
        latest = {part: f"{looks[-1].mebibytes:.0f} MiB" for part, looks in course.looks.items() if looks}
        say(f"minute {len(course.faults)}: {name}; {latest}")


def look_at(here: Rig, part: str, at: float) -> Look | None:
    """The part and everything below it; None while it is being started again."""
    process = here.product.parts.get(part)
    if process is None:
        return None
    pids = [process.pid]
    for pid in pids:
        with suppress(OSError):
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    memory = descriptors = threads = 0
    lasting = []
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
            threads += len(list(Path(f"/proc/{pid}/task").iterdir()))
        except OSError:
            if pid == process.pid:
                return None
            continue
        memory += next(int(line.split()[1]) for line in status if line.startswith("Pss:"))
        lasting.append(pid)
    # A pool process is part of the identity, a decoder that lives for one image is not.
    return Look(at, frozenset(lasting[:2]), memory / 1024, descriptors, threads)


def write(course: Course, out: Path | None) -> Path:
    """``soak-<date>.md``."""
    v = course.verdict
    lines = tables.heading("Soak", course.seed)
    lines += [
        f"`make soak MIN={course.minutes:g}`: {RATE} instances a second (one radiograph, {RATE - 1} CT slices),",
        "results to two PACS, a random fault every minute; afterwards invariant set V. Memory is the proportional set",
        "size of a part with all its processes.",
        "",
        f"**{course.instances} instances acknowledged in {course.sent} studies, {len(v.lost)} lost, "
        f"{len(v.duplicated)} duplicated, {len(v.broken)} other invariants broken; "
        f"{'flat' if course.flat else 'NOT flat'}.**",
        f"C-STORE answered in {course.p50 * 1000:.0f} ms (median), {course.p99 * 1000:.0f} ms (p99). "
        f"Settled {v.settled_after:.0f} s after the last study.",
        "",
        "Growth of the longest-lived process of each part once warm: mean of the last quarter less mean of the first.",
        "",
        "| Part | Observed | MiB | Descriptors | Threads |",
        "|---|--:|--:|--:|--:|",
    ]
    for part in PARTS:
        g = course.growth(part)
        lines.append(
            f"| {part} | {g['minutes']:.0f} min | {g['MiB']:+.1f} | {g['descriptors']:+.1f} | {g['threads']:+.1f} |"
        )
    lines += ["", "| Minute | " + " | ".join(f"{p}: MiB, fds, threads" for p in PARTS) + " | Fault |"]
    lines.append("|--:|" + "--:|" * len(PARTS) + "---|")
    for minute in range(int(course.minutes)):
        cells = []
        for part in PARTS:
            seen = [look for look in course.looks[part] if minute <= look.at / 60 < minute + 1]
            last = seen[-1] if seen else None
            cells.append(f"{last.mebibytes:.0f}, {last.descriptors}, {last.threads}" if last else "–")
        fault = "; ".join(name for at, name in course.faults if minute < at <= minute + 1)
        lines.append(f"| {minute + 1} | {' | '.join(cells)} | {fault} |")
    lines.append("")
    return tables.written(out, "soak", lines)


def main() -> int:
    """Exit status 0 when everything stayed flat and nothing was lost."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--out", type=Path, help="folder for the table, docs/measurements by default")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    given = parser.parse_args()

    def say(what: object) -> None:
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()

    say(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="firstread-soak-") as scratch, ForkServer() as fork_server:
        course = run(given.keep or Path(scratch), fork_server, given.minutes, given.seed, say)
    say(course.verdict)
    for part in PARTS:
        say(f"{part}: {course.growth(part)}")
    say(write(course, given.out))
    return int(not (course.verdict.holds and course.flat))


if __name__ == "__main__":
    sys.exit(main())
