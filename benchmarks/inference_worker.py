"""How soon a process that analyses is ready, and what it holds: ours beside one that runs its networks with torch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from alternating import Timing

from models.registry import SHIPPED
from triage.database import Database
from triage.settings import Settings

ROOT = Path(__file__).parents[1]
NETWORK, WORKER, REPORTING, TORCH = (
    "ours: one network",
    "ours: a whole worker (database, archive, every shipped network, gate), ready to read",
    "ours: the same, ready to report",
    "torch: one network",
)
_SAY: Final = "print('ready', flush=True); input()"
_IDLE_SECONDS: Final = 1.0


def measure(folder: Path, *, repeats: int, tiny: bool) -> str:
    """A Markdown table: start to ready, memory and idle processor time, one process at a time."""
    settings = Settings(data=folder / "data")
    settings.data.mkdir()
    database = Database(settings.database)
    database.migrate()
    database.dispose()
    programs = _programs(settings.data)
    milliseconds: dict[str, list[float]] = {name: [] for name in programs}
    memory: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    idle: dict[str, list[float]] = {name: [] for name in programs}
    order = list(programs)
    for turn in range(1 if tiny else repeats + 1):
        np.random.default_rng(turn).shuffle(order)
        for name in order:
            with _started(programs[name], folder) as (process, taken):
                if turn or tiny:  # the first turn compiles, and warms the page cache
                    milliseconds[name].append(taken)
                    memory[name].append(_memory_mib(process.pid))
                    idle[name].append(_idle_ms(process.pid))
    return _table(milliseconds, memory, idle)


def _programs(data: Path) -> Mapping[str, str]:
    bundle = SHIPPED / "phantom-cxr"
    blank = "np.zeros((1, m.channels, m.input.height, m.input.width), np.float32)"
    worker = (
        "import gc; gc.disable()  # as `firstread work` does\n"
        "from pathlib import Path; from triage.settings import Settings\n"
        "from workers.service import collect_garbage, learn_to_report, warm_up\n"
        "from workers.workbench import Workbench\n"
        f"bench = Workbench.open(Settings(data=Path({str(data)!r})))\n"
        "bench.decoder.start(); warm_up(bench); "
    )
    return {
        NETWORK: (
            "from pathlib import Path; import numpy as np; from models.bundle import Bundle\n"
            "from models.inference import Predictor\n"
            f"b = Bundle.load(Path({str(bundle)!r})); m = b.metadata\n"
            f"Predictor.load(b, 'cpu').predict({blank}); {_SAY}"
        ),
        WORKER: f"{worker}collect_garbage(); {_SAY}; bench.decoder.close()",
        REPORTING: f"{worker}learn_to_report(bench); {_SAY}; bench.decoder.close()",
        TORCH: (
            "from pathlib import Path; import numpy as np; import torch; from models.bundle import Bundle\n"
            "from models import networks\n"
            f"b = Bundle.load(Path({str(bundle)!r})); m = b.metadata\n"
            "network = networks.restore(m.architecture, len(m.findings), b.weights)\n"
            f"with torch.inference_mode(): network(torch.from_numpy({blank}))\n{_SAY}"
        ),
    }


@contextmanager
def _started(program: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """The process once it is ready, and the milliseconds from its start until then."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(folder / "compiled")}  # as an installation is
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**kept, **compiled}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        if not any(line.startswith("ready") for line in process.stdout):
            raise RuntimeError("a process ended before it was ready")
        yield process, (time.perf_counter() - start) * 1000
    finally:
        process.communicate("\n")


def _memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory, and the part of it that no file holds: libraries are shared between processes, that is not."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines())
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


def _idle_ms(pid: int) -> float:
    """Processor time per second that a process uses while it waits."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(_IDLE_SECONDS)
    return (used() - before) / _IDLE_SECONDS


def _table(
    milliseconds: Mapping[str, list[float]],
    memory: Mapping[str, list[tuple[float, float]]],
    idle: Mapping[str, list[float]],
) -> str:
    ready = {name: Timing(tuple(values)) for name, values in milliseconds.items()}
    held = {name: tuple(np.median(values, axis=0)) for name, values in memory.items()}
    lines = [
        "## A worker's start",
        "",
        "| process | ready after, ms | memory (RSS), MiB | its own, MiB | idle, ms of processor per s |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {ready[name].text()} | {held[name][0]:.0f} | {held[name][1]:.0f} | {np.median(waits):.0f} |"
            for name, waits in idle.items()
        ),
        "",
        f"One network: ready in {ready[NETWORK].median / ready[TORCH].median:.2f} × torch's time, the whole worker in "
        f"{ready[WORKER].median / ready[TORCH].median:.2f} × that of torch with its one network alone (goal ≤ 0.25), "
        f"in {held[NETWORK][0]:.0f} and {held[WORKER][0]:.0f} MiB (goal ≤ 200); the code tables for reports, loaded "
        f"while it may read already, make that {held[REPORTING][0]:.0f} MiB. From the start of the "
        "interpreter, everything compiled, to the first forward pass; the network is phantom-cxr's.",
    ]
    return "\n".join(lines)
