"""firstread as its users start it: real processes, awaited by what they answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from peers.http_client import http_client
from peers.processes import eventually, free_port, run, running

FIRSTREAD = Path(sys.executable).with_name("firstread")
SCALED_PARTS: Mapping[str, Sequence[str]] = {
    "listen": ("listen",),
    "work": ("work", "--queue", "analysis"),
    "deliver": ("work", "--queue", "delivery", "--queue", "housekeeping"),
    "serve": ("serve",),
}
"""The commands of docker-compose.yml; a test holds them against it."""


@dataclass
class Node:
    """A running firstread.

    Attributes
    ----------
    supervisor : Popen or None
        The process of ``firstread up``; None where the parts were started one by one.
    environment : dict
        What its processes were started with; another part started with it joins them.
    """

    dicom_port: int
    data: Path
    log: Path
    http: httpx.Client
    supervisor: subprocess.Popen[bytes] | None = None
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        answer.raise_for_status()
        return answer.json()

    def worklist(self) -> list[dict[str, Any]]:
        """All cases in reading order."""
        items: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self.get("/api/v1/worklist", limit=200, **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next_cursor"]
        return items

    def study(self, uid: str) -> dict[str, Any]:
        """A case in full; the look fails, for :func:`eventually`, while it is unknown."""
        answer = self.http.get(f"/api/v1/studies/{uid}")
        assert answer.status_code != httpx.codes.NOT_FOUND, f"{uid} is not listed"
        answer.raise_for_status()
        case: dict[str, Any] = answer.json()
        return case

    def settled(self, uid: str, *, within: float = 30) -> dict[str, Any]:
        """The case once its study is complete, its analyses have ended and nothing is owed to a destination."""

        def look() -> dict[str, Any]:
            case = self.study(uid)
            where = (case["study_status"], case["analysis_status"], case["deliveries"])
            assert case["study_status"] == "COMPLETE", where
            assert case["analysis_status"] in ("SUCCEEDED", "NOT_ANALYSED", "FAILED"), where
            assert set(case["deliveries"]) <= {"SENT", "COMMITTED", "DEAD"}, where
            return case

        return eventually(look, within=within, what=f"study {uid} is settled")

    def parts(self) -> dict[str, int]:
        """Process of each part."""
        if self.supervisor is None:
            return {name: process.pid for name, process in self.started.items()}
        children = Path(f"/proc/{self.supervisor.pid}/task/{self.supervisor.pid}/children").read_text().split()
        found = {}
        for pid in map(int, children):
            words = tuple(Path(f"/proc/{pid}/cmdline").read_text().strip("\0").split("\0"))
            for name, command in SCALED_PARTS.items():
                if words[-len(command) :] == tuple(command):
                    found[name] = pid
        return found

    def kill(self, part: str) -> None:
        """Kill a part with everything it started, as a machine that runs out of memory does."""
        os.killpg(self.parts()[part], signal.SIGKILL)

    def errors(self) -> list[str]:
        """Lines of the log that speak of a defect."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if "Traceback" in line]


@contextmanager
def embedded(
    folder: Path, destinations: Sequence[str], *, dicom_port: int | None = None, **settings: str
) -> Iterator[Node]:
    """``firstread up`` in an empty folder."""
    with ExitStack() as stack:
        node = _node(stack, folder, dicom_port)
        command = [
            "up", "--data", str(node.data), "--dicom-port", str(node.dicom_port), "--http-port",
            str(node.http.base_url.port), *(word for to in destinations for word in ("--destination", to)),
        ]  # fmt: skip
        node.environment = _environment(settings)
        node.supervisor = stack.enter_context(
            running(FIRSTREAD, *command, log=node.log, env=node.environment, stop_within=60)
        )
        _await_ready(node, [node.supervisor])
        yield node
        node.supervisor.terminate()
        status = node.supervisor.wait(timeout=180)
    assert status == 0, f"firstread up ended with {status}:\n{node.log.read_text()[-4000:]}"


@contextmanager
def scaled(
    folder: Path, destinations: Sequence[str], *, database_url: str, broker_url: str, **settings: str
) -> Iterator[Node]:
    """Every part a process of its own, as the compose file starts them."""
    with ExitStack() as stack:
        node = _node(stack, folder)
        node.environment = env = _environment(
            {
                "FIRSTREAD_DATA": str(node.data),
                "FIRSTREAD_DICOM_PORT": str(node.dicom_port),
                "FIRSTREAD_HTTP_PORT": str(node.http.base_url.port),
                "FIRSTREAD_DATABASE_URL": database_url,
                "FIRSTREAD_BROKER_URL": broker_url,
                "FIRSTREAD_DESTINATIONS": ",".join(destinations),
                **settings,
            }
        )
        run(FIRSTREAD, "db", "upgrade", env=env)
        for part, command in SCALED_PARTS.items():
            node.started[part] = stack.enter_context(running(FIRSTREAD, *command, log=node.log, env=env))
        _await_ready(node, list(node.started.values()))
        yield node
        for process in node.started.values():
            process.terminate()
        ended = {part: process.wait(timeout=180) for part, process in node.started.items()}
    assert set(ended.values()) == {0}, f"parts ended with {ended}:\n{node.log.read_text()[-4000:]}"


def _node(stack: ExitStack, folder: Path, dicom_port: int | None = None) -> Node:
    folder.mkdir(parents=True, exist_ok=True)
    http = stack.enter_context(http_client(free_port()))
    return Node(dicom_port or free_port(), folder / "data", folder / "firstread.log", http)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, without settings of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    return {**kept, **settings}


def _await_ready(node: Node, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    def look() -> bool:
        if any(process.poll() is not None for process in processes):
            raise RuntimeError(f"ended before it was ready:\n{node.log.read_text()[-4000:]}")
        try:
            answer = node.http.get("/readyz")
        except httpx.TransportError:
            return False
        assert answer.status_code == httpx.codes.OK, answer.text
        # /readyz asks for what analyses need; results also need the part that delivers.
        return answer.json()["parts"].get("deliver") is not None

    eventually(look, within=90, what="firstread is ready")
