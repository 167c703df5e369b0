"""The product as separate parts that can be killed one by one and come back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
from migrated import migrate
from peers.node import FIRSTREAD, SCALED_PARTS
from peers.processes import eventually, free_port, listens

from faults.fork_server import ForkServer, Process
from triage.database import Database
from triage.repositories import heartbeats
from triage.settings import Settings, load_settings
from workers.clock import utc_now

PARTS = tuple(SCALED_PARTS)
ALIAS = "db.rig.test"
"""A name that only parts with the preloaded library can resolve; the rig itself asks the address."""


class Started(Protocol):
    """A process that was started and may be asked whether it ended."""

    pid: int

    def poll(self) -> int | None: ...


@dataclass
class Product:
    """Parts, the settings they run with, and what a test may do to them.

    Attributes
    ----------
    environment : dict
        Of every part that is started from now on.
    crash_at : dict
        Part to the crash point that its next start is armed with.
    deaths : Counter
        Parts that ended although nobody asked them to, killed ones too.
    extra : dict
        Part to variables of its own.
    """

    data: Path
    environment: dict[str, str]
    fork_server: ForkServer | None
    settings: Settings
    database: Database
    parts: dict[str, Started] = field(default_factory=dict)
    crash_at: dict[str, str] = field(default_factory=dict)
    extra: dict[str, dict[str, str]] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)
    keep: bool = True
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _keeper: threading.Thread | None = None

    @property
    def log(self) -> Path:
        return self.data.parent / "firstread.log"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.settings.http_port}"

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ours with the settings of the parts."""
        return subprocess.run(
            [FIRSTREAD, *words], env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )

    def fsck(self) -> dict[str, Any]:
        """What ``firstread fsck --deep`` says of everything, beside whatever runs."""
        if self.fork_server is None or "LD_PRELOAD" in self.environment:
            return dict(json.loads(self.command("fsck", "--deep", "--json").stdout))
        with tempfile.NamedTemporaryFile(prefix="fsck-") as output:
            environment = {**self.environment, "FIRSTREAD_CRASH_AT": ""}
            checked = self.fork_server.start(("fsck", "--deep", "--json"), environment, Path(output.name))
            eventually(lambda: checked.poll() is not None, within=300, what="fsck ends")
            text = Path(output.name).read_text()
        try:
            return dict(json.loads(text[text.index("{") :]))
        except ValueError:
            raise AssertionError(f"fsck said: {text[-2000:]}") from None

    def start(self, *parts: str) -> None:
        with self._lock:
            for part in parts or PARTS:
                environment = {
                    **self.environment,
                    **self.extra.get(part, {}),
                    "FIRSTREAD_CRASH_AT": self.crash_at.pop(part, ""),
                }
                self.parts[part] = self._start(SCALED_PARTS[part], environment)

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> Started:
        if self.fork_server is not None and "LD_PRELOAD" not in environment:
            return self.fork_server.start(command, environment, self.log)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [FIRSTREAD, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def alive(self, part: str) -> bool:
        with self._lock:
            return part in self.parts and self.parts[part].poll() is None

    def kill(self, *parts: str) -> None:
        """SIGKILL to a part with all its processes; it stays dead until it is started or the keeper sees it."""
        with self._lock:
            for part in parts or PARTS:
                if part in self.parts:
                    signal_group(self.parts[part], signal.SIGKILL)

    def stop(self, *parts: str, within: float = 40.0) -> dict[str, int | None]:
        """Ask parts to end in order; returns their exit statuses."""
        with self._lock:
            asked = {part: self.parts[part] for part in parts or PARTS if part in self.parts}
            for process in asked.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + within
            while any(process.poll() is None for process in asked.values()) and time.monotonic() < deadline:
                time.sleep(0.02)
            for part, process in asked.items():
                if process.poll() is None:
                    signal_group(process, signal.SIGKILL)
                self.parts.pop(part, None)
            return {part: process.poll() for part, process in asked.items()}

    def restart(self, *parts: str) -> None:
        self.stop(*parts)
        self.start(*parts)

    def freeze(self, part: str) -> None:
        signal_group(self.parts[part], signal.SIGSTOP)

    def thaw(self, part: str) -> None:
        signal_group(self.parts[part], signal.SIGCONT)

    def children(self, part: str) -> list[int]:
        """Processes that a part has started."""
        pid = self.parts[part].pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def await_ready(self, *parts: str, within: float = 90.0) -> None:
        """Return when these parts have reported alive since they were started last."""

        def look() -> bool:
            with self.database.read() as session:
                names = {row.name.rpartition(":")[2] for row in heartbeats.alive(session, utc_now())}
            for part in parts or PARTS:
                assert self.alive(part), f"{part} ended:\n{tail(self.log)}"
                family = {str(self.parts[part].pid), *map(str, self.children(part))}
                assert family & names, f"{part} has not reported"
                if part == "serve" and self.settings.on_loopback:
                    assert listens(self.settings.http_port), "the API does not listen"
            return True

        eventually(look, within=within, what=f"{', '.join(parts or PARTS)} ready")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What dies is started again at once, as a supervisor does, but without a pause."""
        self.keep = True
        self._keeper = threading.Thread(target=self._look_after, daemon=True)
        self._keeper.start()
        try:
            yield
        finally:
            self.keep = False
            self._keeper.join()

    def _look_after(self) -> None:
        while self.keep:
            with self._lock:
                for part, process in list(self.parts.items()):
                    if process.poll() is not None:
                        self.deaths[part] += 1
                        self.start(part)
            time.sleep(0.02)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.http + path, timeout=20, trust_env=False)


@contextmanager
def product(
    folder: Path,
    destinations: Sequence[str],
    *,
    fork_server: ForkServer | None = None,
    parts: Sequence[str] = PARTS,
    ready: bool = True,
    **variables: str,
) -> Iterator[Product]:
    """The parts on an empty data directory; SQLite and no broker unless the variables say otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    environment = {
        **kept,
        "FIRSTREAD_DATA": str(folder / "data"),
        "FIRSTREAD_DICOM_PORT": str(free_port()),
        "FIRSTREAD_HTTP_PORT": str(free_port()),
        "FIRSTREAD_DESTINATIONS": ",".join(destinations),
        "FIRSTREAD_QUIET_SECONDS": "1",
        "FIRSTREAD_MIN_FREE_MEGABYTES": "0",
        **variables,
    }
    settings = settings_from(environment)
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database.replace(ALIAS, "127.0.0.1"))
    migrate(database)
    here = Product(settings.data, environment, fork_server, settings, database)
    try:
        if parts:
            here.start(*parts)
        if ready:
            here.await_ready(*parts)
        yield here
    finally:
        here.keep = False
        for part in here.parts.values():
            signal_group(part, signal.SIGKILL)
        eventually(lambda: all(p.poll() is not None for p in here.parts.values()), within=20, what="all parts are gone")
        database.dispose()


def settings_from(environment: Mapping[str, str]) -> Settings:
    """The settings that a process with this environment reads."""
    fields = {name.removeprefix("FIRSTREAD_").lower(): v for name, v in environment.items() if "FIRSTREAD_" in name}
    return load_settings(fields)


def signal_group(process: Started | Process, number: signal.Signals) -> None:
    """To a part and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def tail(log: Path, characters: int = 3000) -> str:
    return log.read_text(errors="replace")[-characters:] if log.exists() else ""
