"""Random kills under load: whatever dies whenever, nothing acknowledged is lost and no result is there twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from peers.pacs import Pacs

from faults.fork_server import ForkServer
from faults.invariants import Verdict
from faults.product import PARTS, Product
from faults.rig import Rig, rig
from faults.senders import Stream
from triage.crash_points import CrashPoint

POINTS: Final = {
    "listen": (
        CrashPoint.WRITTEN, CrashPoint.FILE_SYNCED, CrashPoint.RENAMED, CrashPoint.FOLDER_SYNCED, CrashPoint.RECORDED,
        CrashPoint.COMMITTED, CrashPoint.ANSWERED,
    ),
    "work": (
        CrashPoint.CLAIMED, CrashPoint.DECODED, CrashPoint.INFERRED, CrashPoint.SCORED, CrashPoint.BUILT,
        CrashPoint.CONCLUDED, CrashPoint.RUNG,
    ),
    "deliver": (CrashPoint.DELIVERY_CLAIMED, CrashPoint.SENT, CrashPoint.COMPLETED, CrashPoint.RUNG),
    "serve": (CrashPoint.PRIORITY_SET,),
}  # fmt: skip
"""Which crash points a part passes."""
WEIGHTS: Final = {"listen": 38, "work": 14, "deliver": 28, "serve": 4, "pool": 10, "everything": 6}
"""How often what is killed. "pool" is a process that analyses, without its parent."""
ARMED: Final = 0.5
"""Share of restarts that end at a crash point; the rest die at a random moment."""
PATIENCE: Final = {"listen": 2.0, "work": 8.0, "deliver": 4.0, "serve": 2.0}
"""Seconds from the start within which a part should come to its crash point; until then nobody else kills it."""
DRAINED: Final = 1800.0
"""Seconds for the backlog behind the last kill: work that is left over is no liveness lost, on a busy machine."""
ATTEMPTS: Final = "20"
"""Of an analysis: among a thousand kills one study may meet three, which is no fault of the file."""


@dataclass
class Tally:
    """What was killed, and how it ended.

    Attributes
    ----------
    killed : Counter
        By part, or by crash point where a process killed itself there.
    """

    seed: int
    scaled: bool
    wanted: int
    killed: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)
    answers: Counter[int | None] = field(default_factory=Counter)
    seconds: float = 0.0
    sent: int = 0

    @property
    def kills(self) -> int:
        return self.killed.total()


@dataclass
class Killer:
    """Kills, restarts and counts. A restart may arm a part to kill itself at a crash point, soon."""

    product: Product
    tally: Tally
    random: random.Random
    _armed: dict[str, tuple[str, float]] = field(default_factory=dict)
    _pool: set[int] = field(default_factory=set)

    def look_after(self) -> None:
        """Note who met a crash point, and start again what is dead."""
        point, _ = self._armed.get("work", ("", 0.0))
        if self.product.alive("work"):
            pool = set(self.product.children("work"))
            if point and self._pool - pool:
                self.tally.killed[point] += 1
                del self._armed["work"]
            self._pool = pool
        for part in PARTS:
            if not self.product.alive(part):
                point, _ = self._armed.pop(part, ("ended by itself", 0.0))
                self.tally.killed[point] += 1
                self._start(part)

    def strike(self) -> None:
        """Kill something that is not on its way to a crash point."""
        target = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        now = time.monotonic()
        if target == "everything":
            self._end(*PARTS)
            self.tally.killed["all parts at once"] += len(PARTS)
        elif self._armed.get("work" if target == "pool" else target, ("", 0.0))[1] > now:
            return
        elif target == "pool":
            self._pool = set(self.product.children("work"))
            for pid in self._pool:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.tally.killed["pool process"] += 1
            self._armed.pop("work", None)
        else:
            self._end(target)
            self.tally.killed[target] += 1

    def disarm(self) -> None:
        """Everything once more from the start, with nothing that kills itself."""
        self.product.kill()
        while any(map(self.product.alive, PARTS)):
            time.sleep(0.01)
        self.product.crash_at.clear()
        self.product.start()

    def _end(self, *parts: str) -> None:
        self.product.kill(*parts)
        while any(map(self.product.alive, parts)):
            time.sleep(0.005)
        for part in parts:
            self._start(part)

    def _start(self, part: str) -> None:
        self._armed.pop(part, None)
        if part == "work":
            self._pool = set()
        if self.random.random() < ARMED:
            point = self.random.choice(POINTS[part])
            self._armed[part] = (point, time.monotonic() + PATIENCE[part])
            self.product.crash_at[part] = f"{point}:{self.random.randint(1, 3)}"
        self.product.start(part)


def run(
    folder: Path,
    fork_server: ForkServer,
    kills: int,
    report: Callable[[str], None],
    *,
    seed: int,
    scaled: bool = False,
    streams: int = 3,
) -> Tally:
    """At least that many kills under load; V at the end.

    Parameters
    ----------
    streams : int
        Modalities that send at the same time, about one study a second together.
    """
    tally = Tally(seed=seed, scaled=scaled, wanted=kills)
    begin = time.monotonic()
    with rig(
        folder, scaled=scaled, seed=seed, destinations=2, fork_server=fork_server, FIRSTREAD_ANALYSIS_ATTEMPTS=ATTEMPTS
    ) as here:
        lock = threading.Lock()
        sources = [Stream(here.sender(calling=f"MOD{n}"), here.exams.any, streams / 1.2, lock) for n in range(streams)]
        people = _People(here)
        for thread in (*sources, people):
            thread.start()
        killer = Killer(here.product, tally, random.Random(seed))
        hooligan = _flaky(here.pacs, random.Random(seed + 1))
        said, next_strike = 0, 0.0
        while tally.kills < kills:
            time.sleep(0.01)
            killer.look_after()
            if time.monotonic() < next_strike:
                continue
            killer.strike()
            hooligan()
            next_strike = time.monotonic() + killer.random.uniform(0.1, 0.9)
            if tally.kills // 100 > said:
                said = tally.kills // 100
                report(f"{tally.kills} kills in {time.monotonic() - begin:.0f} s, {_sent(sources)} studies sent")
        here.pacs.behave()
        people.stop()
        killer.disarm()
        for source in sources:
            source.finish()
        tally.sent = _sent(sources)
        tally.answers = here.receipts.answers
        tally.verdict = here.verify(within=DRAINED)
        tally.verdict.broken += people.complaints
    tally.seconds = time.monotonic() - begin
    return tally


def _sent(sources: list[Stream]) -> int:
    return sum(source.sent for source in sources)


def _flaky(pacs: Pacs, chance: random.Random) -> Callable[[], None]:
    """Now and then the first PACS has no room for a while: the same object is sent to it again later."""

    def change() -> None:
        pacs.behave(0xA700 if chance.random() < 0.1 else None)

    return change


class _People(threading.Thread):
    """Somebody re-prioritises cases all the time. What was answered 200 stands in the audit trail (F6)."""

    def __init__(self, here: Rig) -> None:
        super().__init__(daemon=True)
        self._rig, self._stopped = here, threading.Event()
        self.complaints: list[str] = []

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        import httpx  # noqa: PLC0415

        while not self._stopped.wait(0.3):
            studies = sorted(self._rig.receipts.studies.copy())
            if not studies:
                continue
            uid = studies[-1]
            try:
                answer = httpx.patch(
                    f"{self._rig.product.http}/api/v1/studies/{uid}/priority",
                    json={"urgency": "URGENT", "reason": "rig"},
                    timeout=5,
                    trust_env=False,
                )
            except httpx.HTTPError:
                continue
            if answer.status_code not in (200, 503):
                self.complaints.append(f"PATCH priority answered {answer.status_code}: {answer.text[:200]}")
