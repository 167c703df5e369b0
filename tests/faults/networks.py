"""F27: networks that cut, lose, delay and swallow, between a real sender and a real listener."""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from peers.processes import eventually, program, run
from peers.replay_sender import Association

from faults.below import need_root
from faults.invariants import Verdict
from faults.lab import Lab
from faults.rig import Rig

TUNSETIFF: Final = 0x400454CA
TUN_WITHOUT_HEADER: Final = 0x0001 | 0x1000
CLONE_NEWNET: Final = 0x40000000
NEAR, FAR = "10.77.0.1", "10.77.0.2"


@dataclass
class Line:
    """A line between this host and another one, whose manners may be changed at any time.

    Attributes
    ----------
    loss : float
        Share of packets that vanish.
    delay : float
        Seconds that each packet takes, each way.
    hole : int
        Packets longer than this vanish without a word, as where an ICMP message is filtered.
    """

    namespace: str
    loss: float = 0.0
    delay: float = 0.0
    hole: int = 65536
    random: random.Random = field(default_factory=lambda: random.Random(1))
    _waiting: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    _more: threading.Condition = field(default_factory=threading.Condition)
    _count: int = 0
    _over: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC))
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self, ends: Sequence[int]) -> None:
        """Carry packets between two ends, both ways."""
        for ways in (ends, ends[::-1]):
            self._threads.append(threading.Thread(target=self._carry, args=ways, daemon=True))
        self._threads.append(threading.Thread(target=self._release, daemon=True))
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Return when nobody reads or writes the ends any more.

        Only then may they be closed: their numbers soon belong to other files and connections of this process, which
        would be sent our packets.
        """
        os.eventfd_write(self._over, 1)
        with self._more:
            self._more.notify()
        for thread in self._threads:
            thread.join()
        os.close(self._over)

    def _is_over(self) -> bool:
        return bool(select.select([self._over], [], [], 0)[0])

    def _carry(self, source: int, target: int) -> None:
        with suppress(OSError):
            while self._over not in select.select([source, self._over], [], [])[0]:
                packet = os.read(source, 65536)
                if len(packet) > self.hole or self.random.random() < self.loss:
                    continue
                with self._more:
                    self._count += 1
                    heapq.heappush(self._waiting, (time.monotonic() + self.delay, self._count, target, packet))
                    self._more.notify()

    def _release(self) -> None:
        """Hand over what has been on its way long enough."""
        with suppress(OSError):
            while not self._is_over():
                with self._more:
                    if not self._waiting:
                        self._more.wait(1)
                        continue
                    due, _, target, packet = self._waiting[0]
                    early = due - time.monotonic()
                    if early > 0:
                        self._more.wait(early)
                        continue
                    heapq.heappop(self._waiting)
                os.write(target, packet)

    def from_afar(self, task: Callable[[], object], *, within: float) -> None:
        """Run a task as if on the other host.

        Raises
        ------
        AssertionError
            It did not end in time.
        """
        failures: list[BaseException] = []

        def attempt() -> None:
            try:
                with Path("/var/run/netns", self.namespace).open() as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                task()
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
                failures.append(error)

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(within)
        assert not thread.is_alive(), f"not done within {within:g} s over this line"
        if failures:
            raise failures[0]


@contextmanager
def line(seed: int) -> Iterator[Line]:
    """A network namespace as another host, reached through two TUN devices that we pass packets between."""
    need_root()
    program("ip", also_in=["/usr/sbin", "/sbin"])
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun")
    name = f"firstread{os.getpid() % 10000}"
    ends = [_tun(f"{name[:9]}{end}{os.getpid() % 1000}") for end in "ab"]
    names = [f"{name[:9]}{end}{os.getpid() % 1000}" for end in "ab"]
    run("ip", "netns", "add", name)
    try:
        run("ip", "addr", "add", f"{NEAR}/30", "dev", names[0])
        run("ip", "link", "set", names[0], "up")
        run("ip", "link", "set", names[1], "netns", name)
        run("ip", "netns", "exec", name, "ip", "addr", "add", f"{FAR}/30", "dev", names[1])
        run("ip", "netns", "exec", name, "ip", "link", "set", names[1], "up")
        here = Line(name, random=random.Random(seed))
        here.begin(ends)
        try:
            yield here
        finally:
            here.end()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
        for end in ends:
            os.close(end)


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), TUN_WITHOUT_HEADER))
    return descriptor


def cut_and_lossy(lab: Lab) -> Verdict:
    """F27: cut in the middle of a PDU, by reset and by silence; 30 % loss, 500 ms, a hole for long packets."""
    token = "rig:" + "r" * 24
    with line(lab.seed) as wire, lab.rig(
        FIRSTREAD_BIND=NEAR, FIRSTREAD_CALLING_AE_TITLES="FAR,REPLAY,MODALITY", FIRSTREAD_HTTP_TOKENS=token,
        FIRSTREAD_DICOM_PLAIN="true", destinations=0,
    ) as here:  # fmt: skip
        port = here.product.settings.dicom_port
        far = here.sender(calling="FAR", timeout=90.0, host=NEAR)
        wire.from_afar(lambda: far.deliver(here.exams.radiograph()), within=30)
        here.check()
        base = _resources(here)
        wire.from_afar(lambda: _cut(here, port, lab.much(50, 10)), within=60)
        for name, manner in (("loss", 0.3 if lab.full else 0.1), ("delay", 0.5 if lab.full else 0.1), ("hole", 600)):
            setattr(wire, name, manner)
            begin = time.monotonic()
            exam = here.exams.ct(1)
            if name == "hole":
                wire.from_afar(lambda exam=exam: far.try_once(exam), within=120)
                wire.hole = 65536
            wire.from_afar(lambda exam=exam: far.deliver(exam), within=300)
            lab.note(f"{name} {manner}: {time.monotonic() - begin:.1f} s for 8 kB")
            wire.loss, wire.delay, wire.hole = 0.0, 0.0, 65536
        wire.from_afar(lambda: far.deliver(here.exams.radiograph()), within=60)
        verdict = here.check()
        eventually(
            lambda: _back_to(here, base), within=lab.much(180, 120), what="threads and descriptors are as before"
        )
        assert not list(here.product.settings.archive.glob("incoming/*.part")), "a partial file is left"
        return verdict


def _cut(here: Rig, port: int, times: int) -> None:
    """Associations that end in the middle of a data set: half by reset, half without a word."""
    silent = []
    for number in range(times):
        instance = here.exams.radiograph().instances[0]
        association = Association(port, [instance.context], host=NEAR, calling="FAR", timeout=30)
        association.socket.sendall(association.encode(instance)[: len(instance.data_set) // 2])
        if number % 2:
            association.reset()
        else:
            silent.append(association)
    time.sleep(1.0)
    for association in silent:
        association.socket.close()


def _resources(here: Rig) -> tuple[int, int]:
    pid = here.product.parts["listen"].pid
    return len(list(Path(f"/proc/{pid}/task").iterdir())), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _back_to(here: Rig, base: tuple[int, int]) -> bool:
    now = _resources(here)
    assert now[0] <= base[0] + 2, f"{now[0]} threads, {base[0]} before"
    assert now[1] <= base[1] + 4, f"{now[1]} descriptors, {base[1]} before"
    return True
