"""Several processes on one DICOM port: all receive, one may die, limits hold over all of them, they end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from peers.node import FIRSTREAD
from peers.processes import eventually, listens, run, running
from peers.raw_peer import CR, RawPeer, encoded, part10_file, radiograph

from dicom_node import dimse
from dicom_node.scu import send
from triage.database import Database
from triage.identifiers import PeerAddress
from triage.repositories import heartbeats
from triage.tables import Association, Heartbeat, Instance
from workers.clock import utc_now

ACCEPT, REJECT = 2, 3
PROCESSES = 3
PLACES = 6


@dataclass
class Listeners:
    """A running ``firstread listen`` of several processes."""

    parent: subprocess.Popen[bytes]
    database: Database
    port: int = 0

    def alive(self) -> list[int]:
        """Processes that live and have said so."""
        with self.database.read() as session:
            rows = heartbeats.alive(session, utc_now())
            beating = {int(row.name.rpartition(":")[2]): row.detail["port"] for row in rows}
        self.port = next(iter(beating.values()), 0)
        return sorted(beating.keys() & children(self.parent.pid))

    @contextmanager
    def only(self, process: int) -> Iterator[None]:
        """The others accept nothing meanwhile."""
        others = children(self.parent.pid) - {process}
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            eventually(lambda: all(stands(other) for other in others), within=10, what="the others stand still")
            yield
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)

    def associate(self, stack: ExitStack) -> tuple[RawPeer, tuple[int, bytes]]:
        peer = stack.enter_context(RawPeer(self.port))
        return peer, peer.associate(called="FIRSTREAD")


def children(process: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
    except FileNotFoundError:
        return set()


def stands(process: int) -> bool:
    """Every thread is stopped; one that still ran could accept."""
    states = [file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{process}/task").glob("*/stat")]
    return set(states) == {"T"}


def gone(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[Listeners]:
    log = tmp_path / "log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    environment = {
        **kept,
        "FIRSTREAD_DATA": str(tmp_path / "data"),
        "FIRSTREAD_DICOM_PORT": "0",
        "FIRSTREAD_LISTENER_PROCESSES": str(PROCESSES),
        "FIRSTREAD_MAX_ASSOCIATIONS": str(PLACES),
    }
    run(FIRSTREAD, "db", "upgrade", env=environment)
    database = Database(f"sqlite:///{tmp_path / 'data' / 'firstread.sqlite'}")
    with running(FIRSTREAD, "listen", log=log, env=environment) as parent:
        found = Listeners(parent, database)

        def all_live() -> bool:
            if parent.poll() is not None:
                raise RuntimeError(f"ended with {parent.returncode}:\n{log.read_text()[-4000:]}")
            return len(found.alive()) == PROCESSES == log.read_text().count("listener_started")

        eventually(all_live, within=60, what="all processes live and accept")
        yield found
    database.dispose()
    assert "Traceback" not in log.read_text()


def test_limits_hold_over_all_processes_and_a_dead_one_leaves_its_places(listeners: Listeners) -> None:
    with ExitStack() as stack:
        held: dict[int, list[RawPeer]] = {}
        for process in listeners.alive():
            with listeners.only(process):
                answers = [listeners.associate(stack) for _ in range(PLACES // PROCESSES)]
            assert [kind for _, (kind, _) in answers] == [ACCEPT] * len(answers)
            held[process] = [peer for peer, _ in answers]
        for process in held:
            with listeners.only(process):
                _, (kind, body) = listeners.associate(stack)
            assert (kind, body[1:]) == (REJECT, b"\x02\x03\x02")  # transient: local limit exceeded

        victim, *others = held
        os.kill(victim, signal.SIGKILL)
        assert all(peer.is_closed() for peer in held[victim])
        with ExitStack() as later:

            def admitted() -> bool:
                return listeners.associate(later)[1][0] == ACCEPT

            for _ in held[victim]:
                eventually(admitted, within=30, what="a place of the dead process")
            assert not admitted()
            for other in others:
                for number, peer in enumerate(held[other]):
                    uid = f"1.2.{other}.{number}"
                    assert peer.store(encoded(radiograph(uid)), sop_instance=uid).status == 0
                    assert peer.release() == 6
        eventually(lambda: len(listeners.alive()) == PROCESSES, within=60, what="a successor")
        assert victim not in listeners.alive()


def test_one_is_killed_while_the_others_receive(listeners: Listeners, tmp_path: Path) -> None:
    images = []
    for number in range(48):
        image = tmp_path / f"{number}.dcm"
        image.write_bytes(part10_file(radiograph(f"1.2.3.{number}.4", SeriesInstanceUID=f"1.2.3.{number}.2")))
        images.append(image)
    peer = PeerAddress("FIRSTREAD", "127.0.0.1", listeners.port)

    def deliver(mine: Sequence[Path]) -> None:
        for image in mine:
            eventually(
                lambda image=image: send(peer, [image], calling_ae_title="SENDER")[0].stored,
                within=30,
                what="a receipt",
            )

    with ThreadPoolExecutor(4) as senders:
        at_work = [senders.submit(deliver, images[n::4]) for n in range(4)]
        for killed in (1, 2):
            victim = listeners.alive()[0]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda v=victim: v not in listeners.alive(), within=10, what=f"death {killed}")
            eventually(lambda: len(listeners.alive()) == PROCESSES, within=60, what="a successor")
        for sender in at_work:
            sender.result()

    def closed() -> bool:
        with listeners.database.read() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(Instance)) == len(images)
            still = sa.select(sa.func.count()).select_from(Association).where(Association.closed_at.is_(None))
            return session.scalar(still) == 0

    eventually(closed, within=30, what="every association has an end")


def test_all_end_in_order(listeners: Listeners) -> None:
    processes = children(listeners.parent.pid)
    with RawPeer(listeners.port) as peer:
        assert peer.associate(called="FIRSTREAD")[0] == ACCEPT
        data = encoded(radiograph())
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        peer.data_set(data[:100], last=False)
        listeners.parent.terminate()
        eventually(lambda: not listens(listeners.port), within=20, what="nobody is let in any more")
        peer.data_set(data[100:])
        assert peer.response().status == 0  # who is sending may finish
        assert peer.receive()[0] == 5  # and is asked to release
    assert listeners.parent.wait(timeout=180) == 0
    assert all(gone(process) for process in processes)
    with listeners.database.read() as session:
        assert session.scalars(sa.select(Heartbeat)).all() == []
        assert session.scalar(sa.select(sa.func.count()).select_from(Instance)) == 1


def test_none_outlives_the_one_that_started_them(listeners: Listeners) -> None:
    processes = children(listeners.parent.pid)
    listeners.parent.kill()
    eventually(lambda: all(gone(process) for process in processes), within=20, what="all are gone")
    assert not listens(listeners.port)


SCRIPT = """
import sys, threading, signal, os
from firstread import siblings
from triage.errors import SettingsError
siblings.STOP_WITHIN = 0.5
{work}
deaths = []
try:
    siblings.Siblings(2, work, on_death=deaths.append, on_end=lambda: print("end", flush=True)).run()
except SettingsError as error:
    print("refused", len(deaths), error)
"""


def script(work: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(work=work)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def test_settings_that_are_wrong_for_one_end_all() -> None:
    process = script("def work(ending, again): raise SettingsError('The port is wrong.')")
    said, _ = process.communicate(timeout=180)
    assert "The port is wrong. Correct the setting" in said
    assert "refused 1 A process cannot run with these settings" in said


def test_one_that_does_not_end_is_killed() -> None:
    process = script(
        "def work(ending, again):\n    os.write(1, b'up %d\\n' % os.getpid())\n    threading.Event().wait()"
    )
    assert process.stdout is not None
    up = [int(process.stdout.readline().removeprefix("up ")) for _ in range(2)]
    process.terminate()
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0
    assert said.count("process_killed") == 2
    assert all(gone(pid) for pid in up)


def test_one_that_keeps_dying_is_replaced_more_and_more_slowly() -> None:
    process = script("def work(ending, again):\n    os._exit(3)\nsiblings.LOOK_EVERY = 0.01\n")
    assert process.stdout is not None
    pauses = []
    while len(pauses) < 6:
        line = process.stdout.readline()
        if "process_died" in line:
            pauses.append(float(line.partition("restart_in_s=")[2].split()[0]))
    process.terminate()
    process.communicate(timeout=180)
    assert sorted(pauses) == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
