"""N: what anybody can do to the DICOM port without being a DICOM peer, or as a bad one."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from peers.certificates import Authority, Identity
from peers.processes import eventually
from peers.raw_peer import CR, EXPLICIT, IMPLICIT, encoded, pdata

from bad_inputs.attacked import ELSEWHERE, FAST, KNOWN, PLACES, Attacked, Peer, picture
from bad_inputs.cases import case, one
from dicom_node import dimse, negotiation
from dicom_node.contexts import VERIFICATION
from dicom_node.negotiation import ProposedContext, encode_request
from triage.tables import Event

ACCEPT, REJECT, ABORT = 2, 3, 7
RELEASE_RQ = struct.pack(">BxLxxxx", 5, 4)
BUSY = 6.0
"""Seconds by which a machine that runs all these cases at once may be late; every limit is longer than that."""
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


def request(*contexts: ProposedContext, calling: str = KNOWN, called: str = "FIRSTREAD") -> bytearray:
    """An A-ASSOCIATE-RQ with these titles, odd ones too."""
    encoded_request = encode_request("A", "B", contexts or [ProposedContext(1, CR, (EXPLICIT,))], 16384)
    titles = called.ljust(16).encode("latin-1") + calling.ljust(16).encode("latin-1")
    return bytearray(encoded_request[:10] + titles + encoded_request[42:])


@dataclass
class Slow:
    """A connection that does next to nothing until it is closed; how long that took."""

    port: int
    begin: Callable[[Peer], object]
    drip: bytes = b""
    every: float = 5.0
    seconds: float = 0.0
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with Peer(self.port) as peer:
            self.begin(peer)
            start = last = time.monotonic()
            peer.sock.settimeout(0.1)
            while time.monotonic() - start < 60:
                try:
                    if not peer.sock.recv(100):
                        break
                except TimeoutError:
                    if self.drip and time.monotonic() - last > self.every:
                        last = time.monotonic()
                        peer.sock.sendall(self.drip)
                except ConnectionError:
                    break
            self.seconds = time.monotonic() - start

    def closed_after(self) -> float:
        self.thread.join(60)
        assert self.seconds, "it stayed open"
        return self.seconds


@pytest.fixture(scope="module", autouse=True)
def slow(attacked_node: Attacked) -> Iterator[dict[str, Slow]]:
    """The slow ones run beside all other cases; their tests stand at the end."""
    port, files = attacked_node.port, len(attacked_node.parts_of_files())

    def open_data_set(peer: Peer) -> None:
        peer.admitted()
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))

    def half_a_value(peer: Peer) -> None:
        open_data_set(peer)
        peer.send(struct.pack(">BxLLBB", 4, 506, 502, 1, 0))

    connections = {
        "value": Slow(port, half_a_value, drip=b"\x00"),
        "fragments": Slow(port, open_data_set, drip=pdata(1, 0, b"\x00")),
        "empty fragments": Slow(port, open_data_set, drip=pdata(1, 0, b"")),
        "empty command": Slow(port, lambda peer: peer.admitted().command(b"", last=False), drip=pdata(1, 1, b"")),
    }
    opened = files + 3  # those of the data sets that have begun
    eventually(lambda: len(attacked_node.parts_of_files()) == opened, within=5, what="slow data sets begin")
    yield connections
    for connection in connections.values():
        connection.thread.join(120)


@pytest.fixture(scope="module")
def silent(attacked_node: Attacked) -> dict[str, Slow]:
    """Connections without a request, begun when first asked for: the crowds of other cases would push them out."""
    plain, tls = attacked_node.port, attacked_node.tls_port
    return {
        "silence": Slow(plain, lambda _: None),
        "request": Slow(plain, lambda peer: peer.send(bytes(request()[:40])), drip=b" "),
        "TLS silence": Slow(tls, lambda _: None),
        "half a TLS hello": Slow(tls, lambda peer: peer.send(client_hello()[:20]), drip=b"\0"),
        "TLS hello": Slow(tls, lambda peer: peer.send(client_hello())),
    }


@case("N2")
def test_idle_sockets_lock_nobody_out(attacked: Attacked) -> None:
    idle = [socket.create_connection(("127.0.0.1", attacked.port)) for _ in range(200)]
    try:
        with attacked.unharmed():
            pass
    finally:
        for sock in idle:
            sock.close()


@pytest.mark.parametrize(
    ("sent", "admitted", "reason"),
    [
        one("N4", struct.pack(">BxL", 1, 0xFFFFFFFF) + bytes(4096), False, 6, name="request"),
        one("N4", struct.pack(">BxL", 4, 0xFFFFFFFF) + bytes(4096), True, 6, name="data"),
        one("N5", struct.pack(">BxL", 0x00, 4) + bytes(4), False, 1, name="0x00"),
        one("N5", struct.pack(">BxL", 0x99, 4) + bytes(4), False, 1, name="0x99"),
        one("N5", struct.pack(">BxL", 0x99, 4) + bytes(4), True, 1, name="0x99 later"),
        one("N6", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False, 1, name="HTTP"),
        one("N6", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), False, 1, name="TLS"),
        one("N7", pdata(1, 3, dimse.echo_request(1)), False, 2),
        one("N8", bytes(request()), True, 2),
        one("N14", struct.pack(">BxL", 4, 2 * 1024 * 1024) + bytes(4096), True, 6),
    ],
)
def test_what_breaks_the_protocol_is_aborted(attacked: Attacked, sent: bytes, admitted: bool, reason: int) -> None:
    memory, log = attacked.memory(), attacked.log_size
    with attacked.peer() as peer:
        if admitted:
            peer.admitted()
        peer.send(sent)
        kind, body = peer.receive()
        assert (kind, body[2], body[3]) == (ABORT, 2, reason)
        assert peer.is_closed()
    assert attacked.memory() - memory < 10_000_000

    def lines() -> list[str]:
        return [line for line in attacked.log_after(log).splitlines() if "warning" in line]

    assert len(eventually(lines, within=5, what="a line in the log")) == 1


@pytest.mark.parametrize(
    ("offset", "value", "codes"),
    [one("N9", 7, 0, (1, 2, 2), name="protocol version"), one("N9", 78, ord("9"), (1, 1, 2), name="application")],
)
def test_other_protocols_are_rejected(attacked: Attacked, offset: int, value: int, codes: tuple[int, int, int]) -> None:
    asked = request()
    asked[offset] = value
    with attacked.peer() as peer:
        peer.send(asked)
        kind, body = peer.receive()
        assert (kind, tuple(body[1:4])) == (REJECT, codes)
        assert peer.is_closed()


@pytest.mark.parametrize(
    ("calling", "called", "codes"),
    [
        one("N10", KNOWN, "NOBODY", (1, 1, 7)),
        one("N12", "../../etc", "FIRSTREAD", (1, 1, 3), name="path"),
        one("N12", "<b>", "FIRSTREAD", (1, 1, 3), name="markup"),
        one("N12", " " * 16, "FIRSTREAD", (1, 1, 3), name="spaces"),
        one("N12", "A\x00B\n\x1b[31m", "FIRSTREAD", (1, 1, 3), name="control characters"),
        one("N12", KNOWN, "=1+1\x00\r\n\xff", (1, 1, 7), name="called"),
    ],
)
def test_titles_that_are_not_ours_are_rejected(
    attacked: Attacked, calling: str, called: str, codes: tuple[int, int, int]
) -> None:
    log = attacked.log_size
    with attacked.peer() as peer:
        kind, body = peer.associate(calling=calling, called=called)
        assert (kind, tuple(body[1:4])) == (REJECT, codes)
        assert peer.is_closed()
    (line,) = (line for line in attacked.log_after(log).splitlines() if "association_rejected" in line)
    assert line.isprintable()
    for text in (calling, called):
        assert text.strip().encode("unicode_escape").decode() in line.replace("\\\\", "\\")


@pytest.mark.parametrize("calling", [one("N11", "STRANGER", name="title"), one("N11", ELSEWHERE, name="address")])
def test_an_unknown_peer_is_rejected_and_an_alert_is_raised(attacked: Attacked, calling: str) -> None:
    def alerts() -> list[Event]:
        return [event for event in attacked.events("security_alert") if event.who == calling]

    for _ in range(50):
        with attacked.peer() as peer:
            kind, body = peer.associate(calling=calling)
            assert (kind, tuple(body[1:4])) == (REJECT, (1, 1, 3))
    (event,) = eventually(alerts, within=5, what="a security alert")
    assert event.detail["reason"] == (
        "FROM_ANOTHER_ADDRESS" if calling == ELSEWHERE else "CALLING_AE_TITLE_NOT_RECOGNISED"
    )
    assert event.detail["peer_address"] == "127.0.0.1"
    assert 1 <= event.detail["count"] <= 50


@case("N13")
def test_more_associations_than_allowed_are_rejected_as_transient(attacked_node: Attacked) -> None:
    held: list[Peer] = []
    try:
        while len(held) <= PLACES:
            peer = attacked_node.peer()
            kind, body = peer.associate()
            if kind == REJECT:
                assert tuple(body[1:4]) == (2, 3, 2)
                assert peer.is_closed()
                break
            held.append(peer)
        assert kind == REJECT
        assert held[0].send_object(picture()).status == 0
    finally:
        for peer in held:
            peer.sock.close()

    def let_in() -> bool:
        with attacked_node.peer() as peer:
            return peer.associate()[0] == ACCEPT

    eventually(let_in, within=5, what="a place is free again")


@pytest.mark.parametrize(
    "contexts",
    [
        one("N15", (), name="none"),
        one("N15", (ProposedContext(1, STUDY_ROOT_MOVE, (IMPLICIT,)),), name="unsupported"),
        one("D10", tuple(ProposedContext(8 * n + 2 * k + 1, f"1.2.840.10008.5.1.4.1.2.{n}.{k}", (IMPLICIT,))
            for n in (1, 2) for k in (2, 3)), name="C-MOVE and C-GET"),
    ],
)  # fmt: skip
def test_contexts_without_a_match_are_refused_one_by_one(
    attacked: Attacked, contexts: tuple[ProposedContext, ...]
) -> None:
    asked = request(*contexts) if contexts else without_contexts(request())
    with attacked.peer() as peer:
        peer.send(asked)
        kind, body = peer.receive()
        assert kind == ACCEPT
        answers = negotiation.read_acceptance(body).answers
        assert set(answers) == {context.context_id for context in contexts}
        assert {answer.result for answer in answers.values()} <= {3}
        assert peer.release() == 6


def without_contexts(asked: bytearray) -> bytearray:
    """The request without its presentation context items."""
    items, position = b"", 74
    while position < len(asked):
        length = 4 + int.from_bytes(asked[position + 2 : position + 4], "big")
        if asked[position] != 0x20:
            items += asked[position : position + length]
        position += length
    return asked[:2] + struct.pack(">L", 68 + len(items)) + asked[6:74] + items


@case("N16")
@pytest.mark.parametrize("count", [128, 100])
def test_the_largest_requests_are_answered_at_once(attacked: Attacked, count: int) -> None:
    syntaxes = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(50, 110))
    contexts = [ProposedContext(2 * n + 1, f"1.2.840.10008.5.1.4.1.1.{n + 500}", syntaxes) for n in range(count)]
    asked = request(*contexts)
    if count < 128:
        asked += b"\x50\x00\xff\xff" + b"\x99\x00" + struct.pack(">H", 65531) + bytes(65531)
    asked[2:6] = struct.pack(">L", len(asked) - 6)
    start = time.monotonic()
    with attacked.peer() as peer:
        peer.send(asked)
        kind, answer = peer.receive()
        assert kind == ACCEPT
        assert len(negotiation.read_acceptance(answer).answers) == count
    assert time.monotonic() - start < FAST


@case("N16")
def test_a_request_longer_than_any_that_makes_sense_is_aborted(attacked: Attacked) -> None:
    with attacked.peer() as peer:
        peer.send(struct.pack(">BxL", 1, 300_000) + bytes(1000))
        assert peer.receive()[0] == ABORT


@pytest.mark.parametrize(
    "ending",
    [one("N17", "close", name="close"), one("N17", "reset", name="reset"), one("N18", "abort")],
)
def test_cut_in_the_middle_of_a_data_set_leaves_nothing(attacked: Attacked, ending: str) -> None:
    dataset = picture(PixelData=bytes(512))
    body = encoded(dataset)
    with attacked.peer() as peer:
        peer.admitted()
        peer.command(dimse.store_request(1, CR, str(dataset.SOPInstanceUID)))
        peer.data_set(body[:200], last=False)
        if ending == "abort":
            peer.send(struct.pack(">BxLxxxx", 7, 4))
            assert peer.is_closed()
        else:
            peer.send(struct.pack(">BxLLBB", 4, len(body) + 6, len(body) + 2, 1, 0) + body[200:250])
        if ending == "reset":
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with attacked.unharmed():
        assert attacked.instances(str(dataset.SOPInstanceUID)) == []


@pytest.mark.parametrize("whole", [one("N19", True, name="after"), one("N19", False, name="during")])
def test_release_while_a_store_runs_is_never_half(attacked: Attacked, whole: bool) -> None:
    dataset = picture()
    body = encoded(dataset)
    with attacked.peer() as peer:
        peer.admitted()
        peer.command(dimse.store_request(1, CR, str(dataset.SOPInstanceUID)))
        peer.send(pdata(1, 2 if whole else 0, body) + RELEASE_RQ)  # without waiting for the answer
        if whole:
            assert peer.response().status == 0
        assert peer.receive()[0] == 6
        assert peer.is_closed()
    assert len(attacked.instances(str(dataset.SOPInstanceUID))) == whole


def tls_client(identity: Identity | None, trusted: Authority) -> ssl.SSLContext:
    """A client that checks the node's certificate and shows one of its own, or none."""
    context = ssl.create_default_context(cafile=str(trusted.file))
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


def client_hello() -> bytes:
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="node").do_handshake()
    return outgoing.read()


def secured(peer: Peer, context: ssl.SSLContext) -> Peer:
    """The same peer behind TLS."""
    peer.sock = context.wrap_socket(peer.sock, server_hostname="127.0.0.1")
    return peer


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    """TLS 1.0 at the most."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        one("N20", "nobody", "did not return a certificate", name="no certificate"),
        one("N20", "expired", "certificate has expired", name="expired"),
        one("N20", "stranger", "unable to get local issuer certificate", name="foreign authority"),
        one("N20", "old", "unsupported protocol", name="TLS 1.0"),
    ],
)
def test_who_is_not_trusted_gets_no_tls(attacked: Attacked, tmp_path: Path, who: str, reason: str) -> None:
    authority, day = attacked.authority, timedelta(days=1)
    identity = {
        "nobody": lambda: None,
        "expired": lambda: authority.issue("expired", begins=-3 * day, ends=-day),
        "stranger": lambda: Authority(tmp_path, "other").issue("stranger"),
        "old": lambda: authority.issue("old"),
    }[who]()
    context = tls_client(identity, authority)
    if who == "old":
        context = old(context)
    with pytest.raises(ssl.SSLError), Peer(attacked.tls_port) as peer:
        secured(peer, context).associate()

    def alerts() -> list[Event]:
        return [event for event in attacked.events("security_alert") if reason in event.detail["reason"]]

    (event,) = eventually(alerts, within=5, what="a security alert")
    assert event.detail["reason"].startswith("TLS: ")
    assert (event.who, event.detail["peer_address"]) == ("", "127.0.0.1")


@case("N20")
def test_who_is_trusted_is_served_while_others_keep_silent_before_their_hello(attacked: Attacked) -> None:
    silent = [socket.create_connection(("127.0.0.1", attacked.tls_port)) for _ in range(100)]
    try:
        context = tls_client(attacked.authority.issue("modality"), attacked.authority)
        start = time.monotonic()
        with Peer(attacked.tls_port) as peer:
            secured(peer, context).admitted()
            assert peer.send_object(picture()).status == 0
            assert peer.release() == 6
        assert time.monotonic() - start < FAST
    finally:
        for sock in silent:
            sock.close()


@pytest.mark.parametrize(
    "how",
    [
        one("N1", "silence"),
        one("N3", "request", name="request"),
        *(one("N20", how, name=how) for how in ("TLS silence", "half a TLS hello", "TLS hello")),
    ],
)
def test_who_does_not_ask_is_closed_when_the_time_to_ask_is_over(
    attacked: Attacked, silent: dict[str, Slow], how: str
) -> None:
    assert 9 < silent[how].closed_after() < 10 + BUSY


@pytest.mark.parametrize(
    "how", [one("N3", how, name=how) for how in ("value", "fragments", "empty fragments", "empty command")]
)
def test_a_drip_feed_is_closed(attacked: Attacked, slow: dict[str, Slow], how: str) -> None:
    assert 14 < slow[how].closed_after() < 15 + BUSY


def test_a_thousand_associations_leave_no_thread_descriptor_or_memory(attacked: Attacked) -> None:
    def cycle(times: int) -> None:
        for _ in range(times):
            with attacked.peer() as peer:
                peer.admitted((VERIFICATION, IMPLICIT))
                assert peer.echo() == 0
                assert peer.release() == 6

    cycle(200)
    open_before = attacked.threads_and_descriptors()
    memory = attacked.memory()
    cycle(1000)
    eventually(
        lambda: all(a <= b for a, b in zip(attacked.threads_and_descriptors(), open_before, strict=True)),
        within=10,
        what="threads and descriptors are back to base",
    )
    assert attacked.memory() - memory < 4_000_000
