"""Starting, awaiting and ending programs."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import pytest

_T = TypeVar("_T")
LOOK_EVERY = 0.05  # seconds
SLOWEST = 3.0  # times slower than ours is a machine that the tests still bear
PORTS: Final = range(15_000, 32_000)
"""Below those that the system gives to clients: nobody gets one by chance between our look and its use."""
SIDE_BY_SIDE = "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"


def eventually(look: Callable[[], _T], *, within: float, what: str) -> _T:
    """The first truthy answer of ``look``; the test fails when there is none within that many seconds.

    Seconds of an idle machine: a :data:`SLOWEST` one gets as many times more. An AssertionError of ``look`` means "not
    yet" and is shown when time is up.
    """
    deadline = time.monotonic() + within * SLOWEST
    while True:
        because: object
        try:
            if seen := look():
                return seen
            because = seen
        except AssertionError as error:
            because = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within * SLOWEST:g} s; last seen: {because}")
        time.sleep(LOOK_EVERY)


def _own_ports() -> Iterator[int]:
    """Ports in random order, for ever; of processes that test side by side each has its own."""
    name, count = map(os.environ.get, SIDE_BY_SIDE)
    number = int(name.removeprefix("gw")) if name else 0
    own = list(PORTS[number :: int(count or 1)])
    secrets.SystemRandom().shuffle(own)
    return itertools.cycle(own)


_own = _own_ports()


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at this moment, and that no test beside this one is given.

    A program may listen seconds later: two that were given the same would take each other's senders.
    """
    while True:
        port = next(_own)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def listens(port: int) -> bool:
    """True when somebody takes connections on this port of loopback."""
    with socket.socket() as client:
        client.settimeout(0.5)
        return client.connect_ex(("127.0.0.1", port)) == 0


def program(name: str, *, also_in: Sequence[str] = ()) -> str:
    """Path of an installed program; the test is skipped where it is missing."""
    found = shutil.which(name) or next((p for place in also_in if (p := shutil.which(name, path=place))), None)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, env: Mapping[str, str] | None = None, within: float = 60) -> str:
    """Run a program to its end and return what it printed; the test fails when it fails."""
    done = subprocess.run(
        command, env=env, timeout=within, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{Path(command[0]).name} ended with {done.returncode}:\n{output[-4000:]}"
    return output


@contextmanager
def running(
    *command: str | Path, log: Path, env: Mapping[str, str] | None = None, stop_within: float = 30
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the background, asked to end (SIGTERM) when the block ends, killed when it does not."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(stop_within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_port(process: subprocess.Popen[bytes], port: int, log: Path, *, within: float = 30) -> None:
    """Return when the process listens; the test fails with its log when it ends before."""

    def look() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode} before it listened:\n{log.read_text()[-4000:]}")
        return listens(port)

    eventually(look, within=within, what=f"port {port} opens")
