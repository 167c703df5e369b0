"""C-STORE ingest beside DCMTK, Orthanc and pynetdicom: same senders, same files, one run, receivers alternating.

Read the ratios of one table, never its rates: they move with the machine and with who else uses it. firstread does
what its receipt promises (file and name fsynced, row committed); storescp does neither and keeps no index.

Usage: ``make ingest`` or ``python benchmarks/ingest.py --repeats 5 --write``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ingest_data
from receivers import RECEIVERS, Receiver, Running, running

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from peers.processes import free_port, listens  # noqa: E402

KINDS = {"ct": "CT 0.5 MB × 400", "cr": "CR 10 MB × 40"}
REFERENCES = ("dcmtk best", "orthanc best")
SLOW = frozenset({"dcmtk", "orthanc"})
"""As packaged they wait 40 ms for each answer (Nagle's algorithm): a quarter of the files says as much."""
HELD = 300


@dataclass(frozen=True, slots=True)
class Run:
    """One receiver, one kind, one number of associations, once."""

    receiver: str
    kind: str
    associations: int
    rate: float
    cpu_ms: float
    memory_mb: float
    p50: float
    p99: float


def main() -> None:
    arguments = _arguments()
    chosen = [receiver for receiver in RECEIVERS if receiver.name in arguments.receivers.split(",")]
    with tempfile.TemporaryDirectory(prefix="ingest-", dir=arguments.folder) as name:
        folder = Path(name)
        files = {
            kind: ingest_data.write(folder / kind, kind, ingest_data.COUNTS[kind], arguments.seed)
            for kind in arguments.kinds.split(",")
        }
        runs = list(_measure(chosen, files, folder, arguments))
        asked = chosen if "ct" in files and not arguments.no_held else []
        held = [_associations(receiver, files["ct"][:100], folder) for receiver in asked]
    text = _report(runs, held, chosen, arguments)
    sys.stdout.write(text)
    if arguments.write:
        target = ROOT / "docs" / "measurements" / f"ingest-{datetime.now(UTC):%Y-%m-%d}.md"
        target.write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--receivers", default=",".join(receiver.name for receiver in RECEIVERS))
    parser.add_argument("--kinds", default="ct,cr")
    parser.add_argument("--associations", default="1,4,8")
    parser.add_argument("--no-held", action="store_true", help="leave out the associations that are held")
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--folder", default=None, help="a folder on the disk to measure; default: the temporary one")
    parser.add_argument("--write", action="store_true", help="write docs/measurements/ingest-DATE.md")
    return parser.parse_args()


def _measure(
    chosen: Sequence[Receiver], files: dict[str, list[Path]], folder: Path, arguments: argparse.Namespace
) -> Iterator[Run]:
    for _ in range(arguments.repeats):
        for kind, paths in files.items():
            for count in map(int, arguments.associations.split(",")):
                for receiver in chosen:
                    share = paths[: max(count, len(paths) // 4)] if receiver.name in SLOW else paths
                    yield _once(receiver, kind, share, count, folder)


def _once(receiver: Receiver, kind: str, paths: Sequence[Path], count: int, folder: Path) -> Run:
    with running(receiver, folder, free_port(), listens) as here:
        before = here.cpu_seconds()
        done = _send("store", here.port, count, *map(str, paths))
        cpu, memory = here.cpu_seconds() - before, here.memory()
        if done["stored"] != len(paths):
            problem = f"{receiver.name} stored {done['stored']} of {len(paths)}; answers: {done['answers']}"
            raise RuntimeError(f"{problem}\n{here.last_words()}")
    run = Run(
        receiver.name, kind, count, len(paths) / done["seconds"], 1000 * cpu / len(paths), memory / 1e6,
        1000 * done["p50"], 1000 * done["p99"],
    )  # fmt: skip
    sys.stderr.write(f"{run}\n")
    return run


def _associations(receiver: Receiver, paths: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Open + C-ECHO + release; then many held open, what they cost, and what another sender notices of them."""
    found: dict[str, Any] = {"receiver": receiver.name}
    with running(receiver, folder, free_port(), listens) as here:
        found |= _send("associations", here.port, 20 if receiver.name in SLOW | {"pynetdicom"} else 200)
        try:
            found |= _hold(here, paths)
        except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
            found["failed"] = str(error).splitlines()[-1][:80] if str(error) else type(error).__name__
    sys.stderr.write(f"{found}\n")
    return found


def _hold(here: Running, paths: Sequence[Path]) -> dict[str, Any]:
    alone = _send("store", here.port, 1, *map(str, paths[:50]))
    memory = here.memory()
    holder = subprocess.Popen(
        _command("hold", here.port, HELD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "held\n":
            raise RuntimeError(f"does not hold {HELD}")
        cpu = here.cpu_seconds()
        _idle(2.0)
        idle = (here.cpu_seconds() - cpu) / 2.0
        each = (here.memory() - memory) / HELD
        meanwhile = _send("store", here.port, 1, *map(str, paths[50:]))
        output, _ = holder.communicate("\n", timeout=120)
        return {
            "idle": idle,
            "each_mb": each / 1e6,
            "slowed": (meanwhile["seconds"] / len(paths[50:])) / (alone["seconds"] / 50),
            **json.loads(output.splitlines()[-1]),
        }
    finally:
        holder.kill()
        holder.wait()


def _idle(seconds: float) -> None:
    subprocess.run(["sleep", str(seconds)], check=True)


def _command(*words: object) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("sending.py")), *map(str, words)]


def _send(*words: object) -> dict[str, Any]:
    done = subprocess.run(_command(*words), capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"sender ended with {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _report(
    runs: Sequence[Run], held: Sequence[dict[str, Any]], chosen: Sequence[Receiver], arguments: argparse.Namespace
) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    lines = [
        f"# Ingest, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"Commit {commit.stdout.strip()}, seed {arguments.seed}, median of {arguments.repeats}, receivers alternating; "
        f"{platform.machine()}, {_cores()} cores, Python {platform.python_version()}. `python benchmarks/ingest.py`.",
        "",
        "Replaying senders: PDUs encoded beforehand, TCP_NODELAY, every answer checked. CPU is the receiver's alone; "
        "memory is PSS after the run. Receivers as packaged get a quarter of the files (Nagle: 40 ms an answer).",
        "",
        *(f"- **{receiver.name}**: {receiver.settings}" for receiver in chosen),
        "",
    ]
    for kind, title in KINDS.items():
        for count in map(int, arguments.associations.split(",")):
            rows = [run for run in runs if (run.kind, run.associations) == (kind, count)]
            if rows:
                lines += _table(f"{title}, {count} association{'s' if count > 1 else ''}", rows, chosen)
    if held:
        lines += _held_table(held)
    return "\n".join(lines) + "\n"


def _table(title: str, rows: Sequence[Run], chosen: Sequence[Receiver]) -> list[str]:
    def median(receiver: str, name: str) -> float:
        values = [getattr(run, name) for run in rows if run.receiver == receiver]
        return statistics.median(values) if values else float("nan")

    def ratio(receiver: str, reference: str) -> str:
        """Median of the ratios inside each repeat: what slowed one slowed the other."""
        ours = [run.rate for run in rows if run.receiver == receiver]
        theirs = [run.rate for run in rows if run.receiver == reference]
        pairs = [a / b for a, b in zip(ours, theirs, strict=False)]
        return f"{statistics.median(pairs):.2f}" if pairs else "–"

    lines = [
        f"## {title}",
        "",
        "| receiver | images/s | × dcmtk best | × orthanc best | CPU ms per image | p50 ms | p99 ms | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {median(name, 'rate'):.0f} | {ratio(name, REFERENCES[0])} | {ratio(name, REFERENCES[1])} | "
        f"{median(name, 'cpu_ms'):.2f} | {median(name, 'p50'):.1f} | {median(name, 'p99'):.1f} | "
        f"{median(name, 'memory_mb'):.0f} |"
        for name in (receiver.name for receiver in chosen)
    ]
    return [*lines, ""]


def _held_table(held: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "## Associations",
        "",
        f"Open + C-ECHO + release, one after the other; then {HELD} held at once while another sends CT.",
        "",
        f"| receiver | p50 ms | p95 ms | CPU of {HELD} idle | MB each | C-ECHO of a held one, ms | the sender takes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in held:
        rest = (
            f"{row['failed']} | | | " if "failed" in row
            else f"{100 * row['idle']:.1f} % | {row['each_mb']:.2f} | {1000 * row['echo_p50']:.2f} | "
            f"×{row['slowed']:.2f}"
        )  # fmt: skip
        lines.append(f"| {row['receiver']} | {1000 * row['p50']:.2f} | {1000 * row['p95']:.2f} | {rest} |")
    return [*lines, ""]


def _cores() -> int:
    return len(Path("/proc/cpuinfo").read_text().split("processor\t:")) - 1


if __name__ == "__main__":
    main()
