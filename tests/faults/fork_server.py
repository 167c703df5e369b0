"""Starts parts of the product in a tenth of a second: it has imported everything and only forks.

A part costs seconds of imports, and a run of a thousand kills would spend them a thousand times. What runs after the
fork is the product's own command line in a process group of its own.

Requests come as JSON lines on standard input, answers go to standard output, one for one.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

IMPORTED: Final = (
    "alembic.runtime.migration", "celery.app.amqp", "celery.apps.worker", "celery.bin.worker",
    "celery.concurrency.prefork", "celery.concurrency.thread", "celery.worker.consumer", "cv2",
    "dicom_node.results", "firstread.cli",
    "firstread.listening", "firstread.parts", "kombu.transport.redis", "models.inference", "onnxruntime", "psycopg",
    "pynetdicom", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite", "uvicorn.lifespan.on",
    "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto", "workers.in_process",
    "workers.service", "worklist.app",
)  # fmt: skip
DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG


@dataclass
class Process:
    """A started process, the leader of its own group. Looks like a :class:`subprocess.Popen` where that matters."""

    server: ForkServer
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.server.ask({"poll": self.pid})
        return self.returncode


@dataclass
class ForkServer:
    """The other side: asks a fork server of its own. A context manager; its processes die with it."""

    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        tests = Path(__file__).parents[1]
        path = os.pathsep.join(filter(None, (str(tests), os.environ.get("PYTHONPATH", ""))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.ask({"poll": 0})
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def start(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> Process:
        """``firstread COMMAND`` with this environment."""
        return Process(self, self.ask({"start": list(command), "env": dict(env), "log": str(log)}))

    def ask(self, request: dict[str, Any]) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the fork server ended")
        return json.loads(line)


def serve() -> None:
    """Answer requests until standard input ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    requests, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    ended: dict[int, int] = {}
    pending = b""
    while True:
        readable, _, _ = select.select([requests], [], [], 0.02)
        _reap(ended)
        if not readable:
            continue
        data = os.read(requests.fileno(), 65536)
        if not data:
            return
        pending += data
        while b"\n" in pending:
            line, pending = pending.split(b"\n", 1)
            request = json.loads(line)
            answer = ended.get(request["poll"]) if "poll" in request else _start(request, requests, answers)
            answers.write(json.dumps(answer).encode() + b"\n")


def _reap(ended: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ended[pid] = os.waitstatus_to_exitcode(status)


def _start(request: dict[str, Any], *ours: IO[bytes]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # it may have done so itself, or be dead
            os.setpgid(pid, pid)  # before anybody wants to kill the group
        return pid
    status = 70
    try:
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(status)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        for stream in ours:
            stream.close()
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["firstread", *request["start"]]
        cli = importlib.import_module("firstread.cli")
        cli.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the process ends here whatever it was, and says so in its log
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
