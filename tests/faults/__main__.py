"""`make faults`: run the catalogue, random kills or the soak, and write the table of it to docs/measurements/."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from pathlib import Path

from _pytest.outcomes import Skipped

from faults import kills, tables
from faults.catalogue import CATALOGUE, NOT_INJECTED
from faults.fork_server import ForkServer
from faults.lab import Fault, Lab


def main() -> int:
    """Exit status 0 when nothing was lost and every invariant held."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("faults", nargs="*", help="F1 F2 ...; all by default")
    parser.add_argument("--kills", type=int, default=0, help="random kills instead of the catalogue")
    parser.add_argument("--scaled", type=int, default=25, help="per cent of the kills on PostgreSQL and Redis")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=1, help="so many faults at the same time")
    parser.add_argument("--quick", action="store_true", help="shorter and fewer than the catalogue says")
    parser.add_argument("--out", type=Path, help="folder for the table, docs/measurements by default")
    parser.add_argument("--book", type=Path, help="JSON file of earlier runs, whose rows stay in the table")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    given = parser.parse_args()
    say(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="firstread-faults-") as scratch:
        return (_kill if given.kills else _inject)(given, given.keep or Path(scratch))


def say(what: object) -> None:
    """To whoever watches, at once."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def _inject(given: argparse.Namespace, scratch: Path) -> int:
    wanted = [fault for fault in CATALOGUE if not given.faults or fault.id in given.faults]
    waiting = deque(wanted)
    done: dict[str, tables.Row] = {}

    def work() -> None:
        with ForkServer() as fork_server:
            while True:
                try:
                    fault = waiting.popleft()
                except IndexError:
                    return
                lab = Lab(scratch / fault.id, fork_server, full=not given.quick, seed=given.seed)
                done[fault.id] = row = _one(fault, lab)
                say(row)

    workers = [threading.Thread(target=work) for _ in range(given.jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rows = [done[fault.id] for fault in wanted]
    if not given.faults or given.out:
        known = tables.remembered(rows, given.book, given.seed, full=not given.quick)
        say(tables.write_faults(known, given.seed, not_injected=NOT_INJECTED, out=given.out))
    return int(any(row.broken for row in rows))


def _one(fault: Fault, lab: Lab) -> tables.Row:
    begin = time.monotonic()
    row = tables.Row(fault)
    try:
        row.verdict = fault.run(lab)
    except Skipped as reason:
        row.skipped = str(reason)
    except Exception as error:  # noqa: BLE001 - a fault that breaks the rig is a line of the table too
        row.error = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    row.seconds, row.notes = time.monotonic() - begin, lab.notes
    return row


def _kill(given: argparse.Namespace, scratch: Path) -> int:
    scaled = given.kills * given.scaled // 100
    tallies = []
    for name, number, on_servers in (("embedded", given.kills - scaled, False), ("scaled", scaled, True)):
        if number:
            say(f"{name}: {number} kills")
            with ForkServer() as fork_server:
                tally = kills.run(scratch / name, fork_server, number, say, seed=given.seed, scaled=on_servers)
            say(f"{tally.kills} kills, seed {tally.seed}: {tally.verdict}")
            tallies.append(tally)
    say(tables.write_kills(tallies, out=given.out))
    return int(any(not tally.verdict.holds for tally in tallies))


if __name__ == "__main__":
    ended = main()
    sys.stdout.flush()
    os._exit(ended)  # a thread that a broken fault has left behind holds nobody up
