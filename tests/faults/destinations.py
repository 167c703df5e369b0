"""F22-F25: destinations that refuse, are silent, slow, rude, full, or promise what they do not keep."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import sqlalchemy as sa
from peers import pynetdicom_server
from peers.difficult_pacs import Word, difficult_pacs
from peers.pacs import Pacs, pacs
from peers.processes import eventually, free_port
from pynetdicom import AE

from faults.invariants import Verdict, await_settled
from faults.lab import Lab
from faults.rig import Rig
from triage.identifiers import PeerAddress
from triage.states import DeliveryStatus
from triage.tables import Delivery

GOOD_WITHIN = 45.0  # seconds in which the good destination has everything, whatever the others do


@contextmanager
def serving(handle: Callable[[socket.socket], None], port: int) -> Iterator[None]:
    """A TCP server on loopback, a thread for each connection."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", port), backlog=50) as server:
        server.settimeout(0.2)

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    continue
                connection.settimeout(120)
                threading.Thread(target=attempt, args=(connection,), daemon=True).start()

        def attempt(connection: socket.socket) -> None:
            with closing(connection):
                try:
                    handle(connection)
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join()


@contextmanager
def black_hole(port: int) -> Iterator[None]:
    """Nobody accepts and the queue is full: the kernel drops every further SYN."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield


def silent(connection: socket.socket) -> None:
    """Take whatever comes and say nothing."""
    while connection.recv(65536):
        pass


def slowly_to(port: int, bytes_a_second: int) -> Callable[[socket.socket], None]:
    """Pass everything on to a real PACS at a trickle."""

    def handle(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as onward:
            back = threading.Thread(target=_pump, args=(onward, connection), daemon=True)
            back.start()
            while data := connection.recv(max(1, bytes_a_second // 10)):
                onward.sendall(data)
                time.sleep(0.1)

    return handle


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        return


def rejecting(result: int, source: int, reason: int) -> Callable[[socket.socket], None]:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    def handle(connection: socket.socket) -> None:
        _read_pdu(connection)
        connection.sendall(struct.pack(">BBLBBBB", 3, 0, 4, 0, result, source, reason))
        connection.recv(1)

    return handle


def _read_pdu(connection: socket.socket) -> None:
    _, _, length = struct.unpack(">BBL", connection.recv(6, socket.MSG_WAITALL))
    connection.recv(length, socket.MSG_WAITALL)


def _owed_to(here: Rig, address: str) -> dict[DeliveryStatus, int]:
    with here.product.database.read() as session:
        rows = session.execute(
            sa.select(Delivery.status, sa.func.count()).where(Delivery.destination == address).group_by(Delivery.status)
        ).all()
    return dict(tuple(row) for row in rows)


def _await_arrived(here: Rig, address: str, *, within: float) -> float:
    begin = time.monotonic()

    def look() -> bool:
        owed = _owed_to(here, address)
        assert owed, "nothing is owed yet"
        assert set(owed) <= {DeliveryStatus.SENT, DeliveryStatus.COMMITTED}, owed
        return True

    eventually(look, within=within, what=f"everything is at {address}")
    return time.monotonic() - begin


def unreachable(lab: Lab) -> Verdict:
    """F22: one destination is closed, one drops each SYN, one is silent, one takes 1 kB/s; the fifth goes on."""
    names = ("CLOSED", "DROPS", "SILENT", "SLOW")
    ports = {name: free_port() for name in names}
    with ExitStack() as stack:
        good = stack.enter_context(pacs("GOOD"))
        behind = stack.enter_context(pacs("SLOW"))
        addresses = [good.address, *(f"{name}@127.0.0.1:{port}" for name, port in ports.items())]
        bad = stack.enter_context(ExitStack())
        bad.enter_context(black_hole(ports["DROPS"]))
        bad.enter_context(serving(silent, ports["SILENT"]))
        bad.enter_context(serving(slowly_to(behind.port, 1000), ports["SLOW"]))
        here = stack.enter_context(lab.rig(FIRSTREAD_DESTINATIONS=",".join(addresses)))
        here.archives = {good.address: good, f"SLOW@127.0.0.1:{ports['SLOW']}": behind}
        here.sender().deliver(*(here.exams.radiograph() for _ in range(lab.much(10, 4))))
        eventually(lambda: _owed_to(here, good.address), within=30, what="results are owed")
        took = _await_arrived(here, good.address, within=GOOD_WITHIN)
        lab.note(f"the good destination had everything after {took:.1f} s")
        time.sleep(lab.much(120, 10))
        here.sender().deliver(here.exams.radiograph())
        time.sleep(2)
        took = _await_arrived(here, good.address, within=GOOD_WITHIN)
        bad.close()  # repaired: real ones answer at the same places
        for name in ("CLOSED", "DROPS", "SILENT"):
            repaired = stack.enter_context(pacs(name, port=ports[name]))
            here.archives[repaired.address] = repaired
        stack.enter_context(serving(slowly_to(behind.port, 10**8), ports["SLOW"]))
        verdict = here.check()
        lab.note(f"all destinations had everything {verdict.settled_after:.0f} s after the repair")
        return verdict


def rude(lab: Lab) -> Verdict:
    """F23: rejected as transient, rejected for good, no common syntax, aborted in the middle."""
    ports = {name: free_port() for name in ("TRANSIENT", "PERMANENT", "NOSYNTAX", "ABORTS")}
    with ExitStack() as stack:
        bad = stack.enter_context(ExitStack())
        bad.enter_context(serving(rejecting(2, 3, 2), ports["TRANSIENT"]))
        bad.enter_context(serving(rejecting(1, 1, 3), ports["PERMANENT"]))
        bad.enter_context(_verification_only(ports["NOSYNTAX"]))
        aborting = bad.enter_context(pacs("ABORTS", port=ports["ABORTS"]))
        aborting.behave(_abort)
        addresses = {name: f"{name}@127.0.0.1:{port}" for name, port in ports.items()}
        here = stack.enter_context(lab.rig(FIRSTREAD_DESTINATIONS=",".join(addresses.values())))
        here.archives = {}
        here.sender().deliver(here.exams.radiograph())
        eventually(
            lambda: all(_tried(here, address) >= 1 for address in addresses.values()), within=60, what="all were tried"
        )
        time.sleep(lab.much(60, 8))
        seen = {name: "/".join(_owed_to(here, address)) for name, address in addresses.items()}
        lab.note(", ".join(f"{name} {status}" for name, status in seen.items()))
        assert "DEAD" not in seen["TRANSIENT"] + seen["ABORTS"], f"given up although it may pass: {seen}"
        bad.close()
        for name, port in ports.items():
            repaired = stack.enter_context(pacs(name, port=port))
            here.archives[repaired.address] = repaired
        await_settled(here.product)
        while _send_the_dead_again(here):
            await_settled(here.product)
        return here.check()


@contextmanager
def _verification_only(port: int) -> Iterator[None]:
    ae = AE("NOSYNTAX")
    ae.add_supported_context("1.2.840.10008.1.1")
    with pynetdicom_server.serving(ae, port=port):
        yield


def _abort(event: object) -> int:
    event.assoc.abort()  # type: ignore[attr-defined]
    return 0x0110


def _tried(here: Rig, address: str) -> int:
    with here.product.database.read() as session:
        return int(
            session.scalar(
                sa.select(sa.func.coalesce(sa.func.max(Delivery.attempt_count), 0)).where(
                    Delivery.destination == address
                )
            )
            or 0
        )


def _send_the_dead_again(here: Rig) -> int:
    """What a person does on the admin page."""
    from triage.repositories import deliveries  # noqa: PLC0415
    from workers.clock import utc_now  # noqa: PLC0415

    with here.product.database.write() as session:
        dead = session.scalars(sa.select(Delivery).where(Delivery.status == DeliveryStatus.DEAD)).all()
        for delivery in dead:
            deliveries.resend(session, delivery, at=utc_now(), who="rig")
        return len(dead)


def refusing(lab: Lab) -> Verdict:
    """F24: 0xA700, 0xA900, 0xC000, 0x0124, 0xB000 and no answer at all, each by a destination of its own."""
    manners: dict[str, int | Callable[[object], int]] = {
        "FULL": 0xA700, "MISMATCH": 0xA900, "CANNOT": 0xC000, "FORBIDDEN": 0x0124, "COERCED": 0xB000, "MUTE": _mute,
    }  # fmt: skip
    with ExitStack() as stack:
        archives: dict[str, Pacs] = {}
        for name, manner in manners.items():
            archives[name] = stack.enter_context(pacs(name))
            archives[name].behave(manner)
        here = stack.enter_context(
            lab.rig(FIRSTREAD_DESTINATIONS=",".join(archive.address for archive in archives.values()))
        )
        here.archives = {archive.address: archive for archive in archives.values()}
        here.sender().deliver(here.exams.radiograph())
        _await_arrived(here, archives["COERCED"].address, within=90)
        for name in ("MISMATCH", "CANNOT"):
            eventually(
                lambda name=name: DeliveryStatus.DEAD in _owed_to(here, archives[name].address), within=120,
                what=f"{name} is given up",
            )  # fmt: skip
        seen = {name: "/".join(_owed_to(here, archive.address)) for name, archive in archives.items()}
        lab.note(", ".join(f"{name} {status}" for name, status in seen.items()))
        assert "DEAD" not in seen["FULL"] + seen["MUTE"], f"given up although it may pass: {seen}"
        for archive in archives.values():
            archive.behave()
        await_settled(here.product)
        again = 0
        while sent := _send_the_dead_again(here):
            again += sent
            await_settled(here.product)
        lab.note(f"{again} dead ones sent again by a person")
        return here.check()


def _mute(event: object) -> int:
    """Keep the association open and say nothing until the other side loses patience."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and event.assoc.is_established:  # type: ignore[attr-defined]
        time.sleep(0.2)
    return 0x0110


def faithless(lab: Lab) -> Verdict:
    """F25: storage commitment that fails, never comes, names another transaction, comes over another association."""
    words = {
        "OTHER": Word.OTHER_ASSOCIATION, "SAME": Word.SAME_ASSOCIATION, "DENIES": Word.DENIES, "NEVER": Word.NEVER,
        "WRONG": Word.OTHER_TRANSACTION,
    }  # fmt: skip
    port = free_port()
    with ExitStack() as stack:
        archives = {
            name: stack.enter_context(
                difficult_pacs(
                    ae_title=name, word=word, lists=False, reports_to=PeerAddress("FIRSTREAD", "127.0.0.1", port)
                )
            )
            for name, word in words.items()
        }
        here = stack.enter_context(
            lab.rig(
                FIRSTREAD_DESTINATIONS=",".join(archive.address for archive in archives.values()),
                FIRSTREAD_DICOM_PORT=str(port),
                FIRSTREAD_COMMITMENT_HOURS=str(20 / 3600),
            )
        )
        here.archives = {}
        here.sender().deliver(here.exams.radiograph())
        for name in ("OTHER", "SAME"):
            eventually(
                lambda name=name: set(_owed_to(here, archives[name].address)) == {DeliveryStatus.COMMITTED},
                within=60, what=f"{name} commits",
            )  # fmt: skip
        for name in ("DENIES", "NEVER", "WRONG"):
            eventually(
                lambda name=name: any(len(d) > 1 for d in archives[name].contents.values()), within=150,
                what=f"the object is sent to {name} again",
            )  # fmt: skip
            assert DeliveryStatus.COMMITTED not in _owed_to(here, archives[name].address), f"{name} did not commit"
            assert all(len(set(digests)) == 1 for digests in archives[name].contents.values()), "other bytes"
        seen = {name: "/".join(_owed_to(here, archive.address)) for name, archive in archives.items()}
        lab.note(", ".join(f"{name} {status}" for name, status in seen.items()))
        for archive in archives.values():
            archive.word = Word.OTHER_ASSOCIATION
        _send_the_dead_again(here)
        eventually(
            lambda: all(set(_owed_to(here, a.address)) == {DeliveryStatus.COMMITTED} for a in archives.values()),
            within=250, what="all have committed",
        )  # fmt: skip
        return here.check()
