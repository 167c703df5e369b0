"""Receivers to measure beside each other, each with its own empty folder and a free port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TITLE: Final = "FIRSTREAD"
_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A program that receives.

    Attributes
    ----------
    settings : str
        What differs from the packaged defaults, for the table.
    prepare : callable
        Writes what it needs into its folder and returns its command.
    """

    name: str
    settings: str
    prepare: Callable[[Path, int], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)


def _firstread(processes: int) -> Receiver:
    environment = {
        "FIRSTREAD_AE_TITLE": TITLE,
        "FIRSTREAD_LISTENER_PROCESSES": str(processes),
        "FIRSTREAD_MAX_ASSOCIATIONS": "400",
    }

    def prepare(folder: Path, port: int) -> list[str]:
        (folder / "firstread.toml").write_text(f'data = "{folder}/data"\ndicom_port = {port}\n')
        here = {**os.environ, **environment, "FIRSTREAD_CONFIG": f"{folder}/firstread.toml"}
        program = Path(sys.executable).with_name("firstread")
        subprocess.run([program, "db", "upgrade"], env=here, check=True, capture_output=True)
        return [str(program), "listen"]

    several = f"{processes} processes, " if processes > 1 else ""
    return Receiver(
        f"firstread{'' if processes == 1 else f' ×{processes}'}",
        f"{several}fsync of file and name, row committed, SQLite synchronous=FULL",
        prepare,
        environment,
    )


def _storescp(*options: str) -> Callable[[Path, int], list[str]]:
    return lambda folder, port: ["storescp", "--fork", *options, "-od", str(folder), str(port)]


def _orthanc(**more: object) -> Callable[[Path, int], list[str]]:
    def prepare(folder: Path, port: int) -> list[str]:
        configuration = {
            "Name": "bench",
            "StorageDirectory": f"{folder}/db",
            "IndexDirectory": f"{folder}/db",
            "HttpServerEnabled": False,
            "DicomPort": port,
            "DicomAet": TITLE,
            "DicomAlwaysAllowStore": True,
            "RemoteAccessAllowed": False,
            "Plugins": [],
            **more,
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        return ["Orthanc", f"{folder}/orthanc.json"]

    return prepare


def _pynetdicom(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(folder), "-q"]


_NODELAY: Final = {"TCP_NODELAY": "1"}
RECEIVERS: Final = (
    Receiver("dcmtk", "`storescp --fork` as packaged", _storescp()),
    Receiver(
        "dcmtk best", "`TCP_NODELAY=1 storescp --fork +B -pdu 131072`", _storescp("+B", "-pdu", "131072"), _NODELAY
    ),
    Receiver("orthanc", "as packaged (SQLite, SyncStorageArea)", _orthanc()),
    Receiver("orthanc best", "`TCP_NODELAY=1`, otherwise as packaged", _orthanc(), _NODELAY),
    Receiver("orthanc no sync", "`TCP_NODELAY=1`, SyncStorageArea=false", _orthanc(SyncStorageArea=False), _NODELAY),
    Receiver("pynetdicom", "its storescp application", _pynetdicom),
    _firstread(1),
    _firstread(2),
)


class Running:
    """A receiver that runs, with all its processes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port = process, port
        self._log = log

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-40:])

    def cpu_seconds(self) -> float:
        """Of all its processes, children that ended included."""
        ticks = 0
        for pid in self._tree():
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks / _TICK

    def memory(self) -> int:
        """Bytes resident, pages shared between its processes counted once (PSS)."""
        total = 0
        for pid in self._tree():
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def _tree(self) -> list[int]:
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    todo += map(int, task.read_text().split())
        return found


@contextmanager
def running(receiver: Receiver, parent: Path, port: int, listens: Callable[[int], bool]) -> Iterator[Running]:
    """Start a receiver on a folder of its own, wait until it listens, end it and empty what it stored.

    Emptied, not removed: for minutes after, ext4 steps over each inode that was removed whenever it makes a file. One
    receiver would pay for the files of the one before, up to as much as for its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="receiver-", dir=parent))
    command = receiver.prepare(folder, port)
    os.sync()  # nobody pays for what another one wrote
    environment = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"} | dict(receiver.environment)
    if receiver.name.startswith("firstread"):
        environment["FIRSTREAD_CONFIG"] = f"{folder}/firstread.toml"
    path = folder.parent / "receiver.log"
    with path.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    here = Running(process, port, path)
    try:
        end = time.monotonic() + 60
        while not listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{receiver.name} does not listen\n{here.last_words()}")
            time.sleep(0.05)
        time.sleep(0.3)
        if process.poll() is not None:  # somebody else listens on the port
            raise RuntimeError(f"{receiver.name} ended with {process.returncode}\n{here.last_words()}")
        yield here
    finally:
        for pid in here._tree()[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _empty(folder)


def _empty(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
