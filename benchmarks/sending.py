"""Send files to a receiver and print what came of it as JSON; a process of its own, which costs the receiver nothing.

Usage: ``python sending.py store PORT ASSOCIATIONS FILES...`` or ``associations PORT COUNT`` or ``hold PORT COUNT``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from peers.replay_sender import Association, Instance, replay

VERIFICATION = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")


def store(port: int, count: int, files: list[str]) -> dict[str, object]:
    """Replay files over so many associations."""
    instances = [Instance.read(Path(file)) for file in files]
    run = replay(port, [instances[share::count] for share in range(count)])
    return {
        "seconds": run.seconds,
        "stored": len(run.receipts),
        "answers": Counter("none" if answer.status is None else f"{answer.status:#06x}" for answer in run.answers),
        "bytes": sum(len(instance.data_set) for instance in instances),
        "p50": run.latency(0.5),
        "p99": run.latency(0.99),
    }


def associations(port: int, count: int) -> dict[str, object]:
    """Open, C-ECHO and release, one after the other."""
    seconds = []
    for _ in range(count + 5):
        begin = time.perf_counter()
        with Association(port, [VERIFICATION]) as association:
            association.echo()
        seconds.append(time.perf_counter() - begin)
    ordered = sorted(seconds[5:])
    return {"p50": statistics.median(ordered), "p95": ordered[int(0.95 * len(ordered))]}


def hold(port: int, count: int) -> dict[str, object]:
    """Open so many associations, say so, hold them until a line comes, then ask each for a C-ECHO."""
    held = [Association(port, [VERIFICATION]) for _ in range(count)]
    sys.stdout.write("held\n")
    sys.stdout.flush()
    sys.stdin.readline()
    seconds = []
    for association in held:
        begin = time.perf_counter()
        association.echo()
        seconds.append(time.perf_counter() - begin)
    for association in held:
        association.release()
    return {"echo_p50": statistics.median(seconds)}


if __name__ == "__main__":
    what, port, count, *files = sys.argv[1:]
    done = store(int(port), int(count), files) if what == "store" else globals()[what](int(port), int(count))
    sys.stdout.write(json.dumps(done) + "\n")
