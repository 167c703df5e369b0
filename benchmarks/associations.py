"""Associations: what one costs (open, C-ECHO, release) beside DCMTK's storescp, and what it takes to keep many.

``python benchmarks/associations.py [--cycles 500] [--held 300]``; the peer is a bare socket, the same for everybody.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicom_node import dimse
from dicom_node.contexts import IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dicom_node.negotiation import RELEASE_RQ, ProposedContext, encode_request

FIRSTREAD = Path(sys.executable).with_name("firstread")
REQUEST = encode_request("BENCH", "FIRSTREAD", [ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,))], 16384)
ECHO = dimse.echo_request(1)
ECHO_PDU = struct.pack(">BxLLBB", 4, len(ECHO) + 6, len(ECHO) + 2, 1, 3) + ECHO


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += sock.recv(count - len(data)) or sys.exit("the peer closed")
    return data


def answer(sock: socket.socket, kind: int) -> None:
    head = exactly(sock, 6)
    exactly(sock, int.from_bytes(head[2:], "big"))
    assert head[0] == kind, head


def opened(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(REQUEST)
    answer(sock, 2)
    return sock


def echo(sock: socket.socket) -> None:
    sock.sendall(ECHO_PDU)
    answer(sock, 4)


def cycle(port: int) -> float:
    """Milliseconds of open, echo and release."""
    start = time.perf_counter()
    with opened(port) as sock:
        echo(sock)
        sock.sendall(RELEASE_RQ)
        answer(sock, 6)
    return (time.perf_counter() - start) * 1000


@contextmanager
def listening(command: Sequence[str | Path], port: int, env: dict[str, str], log: Path) -> Iterator[int]:
    """The process of a receiver that takes associations."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit(log.read_text())
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def receivers(folder: Path, held: int) -> Iterator[tuple[str, list[str | Path], int, dict[str, str]]]:
    """Name, command, port and environment of everybody measured."""
    port = free_port()
    env = {
        **os.environ, "FIRSTREAD_DATA": str(folder / "data"), "FIRSTREAD_DICOM_PORT": str(port),
        "FIRSTREAD_MAX_ASSOCIATIONS": str(held + 10),
    }  # fmt: skip
    subprocess.run([FIRSTREAD, "db", "upgrade"], env=env, check=True, capture_output=True)
    yield "firstread", [FIRSTREAD, "listen"], port, env
    storescp = shutil.which("storescp")
    if storescp is None:
        print("storescp is not installed: nothing to compare with", file=sys.stderr)
        return
    for name, option in (("storescp", ()), ("storescp --fork", ("--fork",))):
        port = free_port()
        command = [storescp, *option, "-od", str(folder), str(port)]
        yield name, command, port, {**os.environ, "TCP_NODELAY": "1"}


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def used(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hold(port: int, pid: int, count: int) -> str:
    """What it takes to keep so many idle associations."""
    before = resident(pid)
    held = [opened(port) for _ in range(count)]
    memory = (resident(pid) - before) / count
    start = used(pid)
    time.sleep(5)
    idle = (used(pid) - start) / 5 * 100
    times = []
    for sock in held:
        begin = time.perf_counter()
        echo(sock)
        times.append((time.perf_counter() - begin) * 1000)
    for sock in held:
        sock.close()
    return (
        f"{count} held: {memory:.2f} MB each, {idle:.1f} % of a core, C-ECHO median {statistics.median(times):.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--held", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for receiver, command, port, env in receivers(folder, arguments.held):
            with listening(command, port, env, folder / "log") as pid:
                for _ in range(30):
                    cycle(port)
                memory = resident(pid)
                times = sorted(cycle(port) for _ in range(arguments.cycles))
                grown = resident(pid) - memory
                print(
                    f"{receiver:16} open+echo+release: median {statistics.median(times):.2f} ms, "
                    f"p95 {times[int(0.95 * len(times))]:.2f} ms, memory {grown:+.1f} MB after {len(times)}",
                    flush=True,
                )
                if receiver == "firstread" and arguments.held:
                    print(f"{'':16} {hold(port, pid, arguments.held)}", flush=True)


if __name__ == "__main__":
    main()
