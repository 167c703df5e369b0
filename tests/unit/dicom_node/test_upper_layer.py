"""A peer is judged by the time that this side has waited for it, not by the time that has passed."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from peers.certificates import Authority
from peers.processes import eventually

from dicom_node import upper_layer
from dicom_node.secured import TlsConnection
from dicom_node.upper_layer import Connection, PduType, PeerStalled

pytestmark = pytest.mark.timeout(60)

STALL = 1.0
BODY = bytes(range(200))
HEAD = struct.pack(">BxL", PduType.ASSOCIATE_RQ, len(BODY))


class Stop:
    """The clock of a process that is stopped now and then: it jumps by what was missed."""

    def __init__(self) -> None:
        self._missed = 0.0

    def for_an_hour(self) -> None:
        self._missed += 3600.0

    def monotonic(self) -> float:
        return time.monotonic() + self._missed


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    stop = Stop()
    monkeypatch.setattr(upper_layer, "time", SimpleNamespace(monotonic=stop.monotonic))
    return stop


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        return server.accept()[0], peer


def secured(folder: Path) -> tuple[TlsConnection, socket.socket]:
    authority = Authority(folder, "hospital")
    identity = authority.issue("node")
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(identity.certificate, identity.key)
    ours, peer = connected()
    connection = TlsConnection(ours, offered, stall_seconds=STALL)
    handshake = threading.Thread(target=connection.handshake, args=(10.0,))
    handshake.start()
    trusting = ssl.create_default_context(cafile=str(authority.file))
    peer = trusting.wrap_socket(peer, server_hostname="127.0.0.1")
    handshake.join()
    return connection, peer


@pytest.fixture(params=["plain", "TLS"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Connection, socket.socket]]:
    if request.param == "TLS":
        connection, peer = secured(tmp_path)
    else:
        ours, peer = connected()
        connection = Connection(ours, stall_seconds=STALL)
    with peer:
        yield connection, peer
        connection.close()


def test_what_came_while_this_process_was_stopped_is_read(pair: tuple[Connection, socket.socket], stop: Stop) -> None:
    connection, peer = pair
    peer.sendall(HEAD + BODY[:50])
    pdu = connection.next_pdu(10.0)
    peer.sendall(BODY[50:])
    stop.for_an_hour()
    assert connection.body(pdu) == BODY
    peer.sendall(HEAD + BODY)
    stop.for_an_hour()
    assert connection.body(connection.next_pdu(10.0, interruptible=False, until=connection.waited + STALL)) == BODY


def test_a_peer_has_its_time_after_a_stop_too(pair: tuple[Connection, socket.socket], stop: Stop) -> None:
    """Its next bytes are still on their way when this process goes on."""
    connection, peer = pair
    peer.sendall(HEAD + BODY[:50])
    pdu = connection.next_pdu(10.0)
    stop.for_an_hour()
    late = threading.Timer(STALL / 2, peer.sendall, (BODY[50:],))
    late.start()
    assert connection.body(pdu) == BODY
    late.join()


def test_what_is_there_when_the_time_is_over_is_read(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    peer.sendall(HEAD)
    pdu = connection.next_pdu(10.0)
    connection.limit_time(0.0)
    peer.sendall(BODY)
    eventually(connection.has_input, within=5, what="the body has come")
    assert connection.body(pdu) == BODY


def test_a_peer_that_sends_too_little_is_still_left(pair: tuple[Connection, socket.socket]) -> None:
    """A byte now and then, and no time of this side's to hide behind."""
    connection, peer = pair
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.05):
            peer.sendall(b"\x00")

    peer.sendall(HEAD)
    pdu = connection.next_pdu(10.0)
    dripping = threading.Thread(target=drip)
    dripping.start()
    began = time.monotonic()
    with pytest.raises(PeerStalled):
        connection.body(pdu)
    assert time.monotonic() - began < 20 * STALL
    over.set()
    dripping.join()
