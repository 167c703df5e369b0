"""The supervisor on real processes: ready, a part dies and comes back, everything ends in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from triage.database import Database
from triage.repositories import heartbeats
from workers.clock import utc_now

DEADLINE = 180.0  # seconds, for the slowest machine


def eventually(condition: Callable[[], object], what: str) -> None:
    """Poll an observable state until it holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.05)


class Up:
    """A running ``firstread up`` and what its database says of its parts."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process = start(data)
        self.database = Database(f"sqlite:///{data / 'firstread.sqlite'}")

    def parts(self) -> dict[str, int]:
        """Part to process id, of the living."""
        with self.database.read() as session:
            rows = heartbeats.alive(session, utc_now())
            return {row.part: int(row.name.rpartition(":")[2]) for row in rows}


def start(data: Path) -> subprocess.Popen[str]:
    """In a folder with a file that bears the name of a module: a part that ran it would end at once."""
    (data.parent / "click.py").write_text("raise SystemExit('a file of the working folder was executed')\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "firstread", "up", "--data", str(data), "--dicom-port", "0", "--http-port", "0"],
        env=environment,
        cwd=data.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path / "data")
    eventually((running.data / "firstread.sqlite").is_file, "a database")
    assert running.process.stdout is not None
    for line in running.process.stdout:
        if "firstread is up" in line:
            break
    yield running
    running.process.terminate()
    running.process.communicate(timeout=DEADLINE)
    running.database.dispose()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_start_that_is_broken_off_leaves_no_part_behind(tmp_path: Path) -> None:
    process = start(tmp_path / "data")
    eventually(lambda: len(children(process.pid)) == 4, "four parts")
    parts = children(process.pid)
    process.terminate()
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + signal.SIGTERM
    assert all(gone(part) for part in parts)


def test_a_supervisor_that_is_killed_takes_its_parts_along(up: Up) -> None:
    parts = up.parts()
    assert set(parts) == {"listen", "work", "deliver", "serve"}
    workers = children(parts["work"])
    up.process.kill()
    for pid in (*parts.values(), *workers):
        eventually(lambda pid=pid: gone(pid), f"process {pid} is gone")


def test_parts_come_back_when_they_die_and_end_with_their_supervisor(up: Up) -> None:
    before = up.parts()
    assert set(before) == {"listen", "work", "deliver", "serve"}
    os.kill(before["listen"], signal.SIGKILL)
    eventually(lambda: up.parts().get("listen") != before["listen"] and gone(before["listen"]), "a new listener")

    second = start(up.data)
    output, _ = second.communicate(timeout=DEADLINE)
    assert second.returncode == 78
    assert "Another `firstread up` runs" in output

    living = up.parts()
    up.process.send_signal(signal.SIGTERM)
    up.process.communicate(timeout=DEADLINE)
    assert up.process.returncode == 0
    assert all(gone(pid) for pid in living.values())
