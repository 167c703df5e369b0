"""Sending to real providers: DCMTK's storescp, pynetdicom's, the stand-in PACS, and peers that misbehave."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_samples import CR, CT, EXPLICIT, IMPLICIT, encoded, part10_file, pdata, radiograph
from peers.pynetdicom_server import serving
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicom_node import dimse, negotiation, outgoing, scu
from dicom_node.admission import Rejection
from dicom_node.contexts import ContextAnswer, ContextResult
from dicom_node.proposal import encode_acceptance, read_proposal
from dicom_node.requestor import Timeouts
from dicom_node.scu import SendOutcome, StatusClass, StoreSession, classify, echo, send
from dicom_node.stand_in_pacs import StandInPacs
from triage.errors import DicomError, StorageFullError
from triage.identifiers import PeerAddress

pytestmark = pytest.mark.timeout(60)

QUICK = Timeouts(connect=2.0, association=0.5, send=2.0, response=0.5)


def send_as_us(peer: PeerAddress, *sources: scu.Source, timeouts: Timeouts | None = None) -> list[SendOutcome]:
    return send(peer, sources, calling_ae_title="US", timeouts=timeouts)


@contextmanager
def pynetdicom_scp(
    handler: Callable[[evt.Event], int], syntaxes: list[str] | None = None, classes: list[str] | None = None
) -> Iterator[PeerAddress]:
    """pynetdicom's Storage provider on a free port."""
    ae = AE(ae_title="PYNET")
    for uid in classes or [str(c.abstract_syntax) for c in AllStoragePresentationContexts]:
        ae.add_supported_context(uid, syntaxes or [EXPLICIT, IMPLICIT])
    with serving(ae, [(evt.EVT_C_STORE, handler)]) as port:
        yield PeerAddress("PYNET", "127.0.0.1", port)


@contextmanager
def scripted_peer(*scripts: Callable[[socket.socket], None]) -> Iterator[PeerAddress]:
    """A peer that runs one script per connection, the last one for all further ones."""
    server = socket.create_server(("127.0.0.1", 0))
    stopping = threading.Event()

    def serve() -> None:
        number = 0
        while not stopping.is_set():
            try:
                sock, _ = server.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(10)
                scripts[min(number, len(scripts) - 1)](sock)
            number += 1

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield PeerAddress("SCRIPT", "127.0.0.1", server.getsockname()[1])
    finally:
        stopping.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(15)


def read_pdu(sock: socket.socket) -> tuple[int, bytes]:
    head = sock.recv(6, socket.MSG_WAITALL)
    if len(head) < 6:
        return 0, b""
    return head[0], sock.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)


def accept(sock: socket.socket) -> None:
    """Read a request and accept all its contexts as proposed."""
    _, body = read_pdu(sock)
    answers = {
        context.context_id: ContextAnswer(ContextResult.ACCEPTANCE, context.transfer_syntaxes[0])
        for context in read_proposal(body).contexts()
    }
    sock.sendall(encode_acceptance(body, answers, 16384, window=False))


def read_store(sock: socket.socket) -> dimse.CommandSet:
    """Read one C-STORE; returns its command set."""
    command = None
    while True:
        kind, body = read_pdu(sock)
        assert kind == 4
        while body:
            length, _, control = struct.unpack_from(">LBB", body)
            if control & 1:
                command = dimse.decode(body[6 : 4 + length])
            elif control & 2:
                assert command is not None
                return command
            body = body[4 + length :]


# --- providers that work ------------------------------------------------------------------------------------------


@pytest.mark.peer
def test_storescp_keeps_what_we_send(program, tmp_path, test_data):
    """DCMTK takes each syntax it knows, and its file holds our bytes."""
    port = free_port()
    store = subprocess.Popen(
        [program("storescp"), "+B", "+xa", "-od", str(tmp_path), str(port)],
        env=os.environ | {"TCP_NODELAY": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        peer = PeerAddress("STORESCP", "127.0.0.1", port)
        wait_for_echo(peer)
        names = ("693_J2KI.dcm", "CT1_JPLL.dcm", "RG3_JLSN.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm", "rtplan.dcm")
        files = [path for name in names for path in test_data.rglob(name)] + [
            Path(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
        ]
        outcomes = send_as_us(peer, *files)
        assert [outcome.error for outcome in outcomes] == [""] * len(files)
    finally:
        store.terminate()
        store.wait(10)
    kept = {data_set(path) for path in tmp_path.iterdir()}
    assert {data_set(path) for path in files} <= kept


def data_set(path: Path) -> str:
    item = outgoing.of_file(path)
    with item.data_set() as view:
        return hashlib.sha256(view).hexdigest()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_echo(peer: PeerAddress) -> None:
    deadline = threading.Event()
    for _ in range(100):
        if echo(peer, calling_ae_title="US").ok:
            return
        deadline.wait(0.05)
    pytest.fail(f"{peer} does not answer")


def test_the_stand_in_pacs_gets_every_byte(tmp_path, radiograph_file):
    big = tmp_path / "big.dcm"
    big.write_bytes(part10_file(radiograph("1.2.9", Rows=1024, Columns=2048, PixelData=bytes(range(256)) * 16384)))
    implicit = tmp_path / "implicit.dcm"
    implicit.write_bytes(part10_file(radiograph("1.2.10"), IMPLICIT))
    told = []
    with StandInPacs(tmp_path / "pacs", on_received=told.append) as pacs:
        outcomes = send_as_us(pacs.address, radiograph_file, big, implicit)
        assert all(outcome.stored for outcome in outcomes)
        received = pacs.wait_for(3, timeout=5)
    assert [item.header.sop_instance_uid for item in received] == ["1.2.3.4", "1.2.9", "1.2.10"]
    assert received == told
    assert [data_set(item.path) for item in received] == [data_set(p) for p in (radiograph_file, big, implicit)]
    assert received[0].calling_ae_title == "US"


def test_a_dataset_is_sent_like_a_file(tmp_path):
    with StandInPacs(tmp_path) as pacs:
        (outcome,) = send_as_us(pacs.address, radiograph())
        assert outcome == SendOutcome(sop_instance_uid="1.2.3.4", status=0)
        (received,) = pacs.received
    assert pydicom.dcmread(received.path).PatientName == "ZZCANARY^PATIENT"
    assert data_set(received.path) == hashlib.sha256(encoded(radiograph())).hexdigest()


def test_files_without_preamble_or_meta_information_are_sent(tmp_path):
    whole = part10_file(radiograph())
    bare, no_preamble = tmp_path / "bare", tmp_path / "no_preamble"
    bare.write_bytes(encoded(radiograph("1.2.5"), IMPLICIT))
    no_preamble.write_bytes(whole[132:])
    with StandInPacs(tmp_path / "pacs") as pacs:
        assert [o.error for o in send_as_us(pacs.address, bare, no_preamble)] == ["", ""]
        assert [item.header.sop_instance_uid for item in pacs.received] == ["1.2.5", "1.2.3.4"]


def test_outcomes_come_in_order_and_as_they_are_known(tmp_path, radiograph_file):
    no_dicom = tmp_path / "notes.txt"
    no_dicom.write_text("hello")
    progress: list[SendOutcome] = []
    with StandInPacs(tmp_path / "pacs") as pacs:
        sources = [radiograph_file, no_dicom, tmp_path / "missing", radiograph("1.2.8")]
        outcomes = send(pacs.address, sources, calling_ae_title="US", progress=progress.append)
    assert [outcome.stored for outcome in outcomes] == [True, False, False, True]
    assert sorted(progress, key=str) == sorted(outcomes, key=str)
    assert not any(outcome.retryable for outcome in outcomes)


def test_more_than_128_contexts_take_more_associations(tmp_path):
    objects = [radiograph(f"1.2.3.{n}", SOPClassUID=f"1.2.840.10008.5.1.4.1.1.9{n}") for n in range(1, 101)]
    seen: set[str] = set()
    with StandInPacs(tmp_path, on_received=lambda item: seen.add(item.header.sop_class_uid)) as pacs:
        outcomes = send_as_us(pacs.address, *objects)
    assert all(outcome.stored for outcome in outcomes)
    assert len(seen) == 100


# --- what peers do not take ---------------------------------------------------------------------------------------


def test_a_peer_that_takes_implicit_only_gets_implicit(tmp_path):
    received = []

    def keep(event: evt.Event) -> int:
        received.append((event.context.transfer_syntax, event.dataset))
        return 0

    with pynetdicom_scp(keep, [IMPLICIT]) as peer:
        (outcome,) = send_as_us(peer, radiograph())
    assert outcome.stored
    ((syntax, dataset),) = received
    assert syntax == IMPLICIT
    assert dataset.PixelData == radiograph().PixelData
    assert dataset.PatientName == "ZZCANARY^PATIENT"


def test_a_compressed_object_is_decompressed_for_a_peer_that_wants_it_so():
    source = Path(pydicom.data.get_testdata_file("MR_small_RLE.dcm", download=False))
    received = []

    def keep(event: evt.Event) -> int:
        received.append(event.dataset)
        return 0

    with pynetdicom_scp(keep) as peer:
        (outcome,) = send_as_us(peer, source)
    assert outcome.error == ""
    expected = pydicom.dcmread(source)
    assert received[0].SOPInstanceUID == expected.SOPInstanceUID
    assert len(received[0].PixelData) == expected.Rows * expected.Columns * 2


def test_what_cannot_be_converted_says_what_to_do(tmp_path):
    odd = radiograph(PixelData=pydicom.encaps.encapsulate([b"no jpeg at all"]))
    odd["PixelData"].VR = "OB"
    path = tmp_path / "odd.dcm"
    path.write_bytes(part10_file(odd, "1.2.840.10008.1.2.4.50"))
    with pynetdicom_scp(lambda _: 0) as peer:
        (outcome,) = send_as_us(peer, path)
    assert not outcome.stored
    assert "JPEG Baseline" in outcome.error
    assert (outcome.retryable, outcome.needs_attention) == (False, True)


def test_big_endian_is_not_converted_wrongly(tmp_path):
    path = tmp_path / "big_endian.dcm"
    path.write_bytes(part10_file(radiograph(), "1.2.840.10008.1.2.2"))
    with pynetdicom_scp(lambda _: 0) as peer:
        (outcome,) = send_as_us(peer, path)
    assert "big endian" in outcome.error
    with StandInPacs(tmp_path / "pacs") as pacs:
        assert send_as_us(pacs.address, path)[0].stored


def test_a_class_that_the_peer_does_not_take_stops_only_itself():
    with pynetdicom_scp(lambda _: 0, classes=[CT]) as peer:
        refused, sent = send_as_us(peer, radiograph(), radiograph("1.2.6", SOPClassUID=CT))
        (alone,) = send_as_us(peer, radiograph())
    assert sent.stored
    for outcome in (refused, alone):
        assert not outcome.stored
        assert (outcome.retryable, outcome.needs_attention) == (False, True)


@pytest.mark.parametrize(
    ("status", "stored", "retryable"),
    [
        (0x0000, True, False),
        (0xB000, True, False),
        (0xB007, True, False),
        (0xA700, False, True),
        (0x0110, False, True),
        (0xA900, False, False),
        (0xC123, False, False),
        (0x0124, False, False),
    ],
)
def test_the_peers_status_is_reported(status, stored, retryable):
    with pynetdicom_scp(lambda _: status) as peer:
        (outcome,) = send_as_us(peer, radiograph())
    assert (outcome.status, outcome.stored, outcome.retryable) == (status, stored, retryable)


def test_the_stand_in_refuses_as_it_is_told(tmp_path):
    failures: list[Exception] = [StorageFullError("full"), DicomError("odd")]

    def refuse(_item: object) -> None:
        if failures:
            raise failures.pop(0)

    with StandInPacs(tmp_path, on_received=refuse) as pacs:
        statuses = [send_as_us(pacs.address, radiograph())[0].status for _ in range(3)]
    assert statuses == [0xA700, 0xC000, 0x0000]


@given(st.integers(0, 0xFFFF))
def test_every_status_has_one_class_and_the_standards_are_kept(status):
    kind = classify(status)
    meaning = STORAGE_SERVICE_CLASS_STATUS.get(status)
    if meaning is None:
        return
    category = meaning[0]
    if category == "Success":
        assert kind is StatusClass.SUCCESS
    elif category == "Warning":
        assert kind is StatusClass.WARNING
    elif status != 0x0111:
        assert kind in (StatusClass.RETRY, StatusClass.PERMANENT)


# --- peers that misbehave -----------------------------------------------------------------------------------------


def test_nobody_listens(radiograph_file):
    peer = PeerAddress("X", "127.0.0.1", free_port())
    (outcome,) = send_as_us(peer, radiograph_file)
    assert "refused" in outcome.error
    assert outcome.retryable
    (unknown,) = send_as_us(PeerAddress("X", "no-such-host.invalid", 104), radiograph_file)
    assert "host name" in unknown.error
    assert unknown.retryable


@pytest.mark.parametrize(
    ("rejection", "needs_attention"),
    [(Rejection.CALLED_AE_TITLE_NOT_RECOGNISED, True), (Rejection.LOCAL_LIMIT_EXCEEDED, False)],
)
def test_rejections_are_retried_and_permanent_ones_flagged(rejection, needs_attention):
    def reject(sock: socket.socket) -> None:
        read_pdu(sock)
        sock.sendall(negotiation.encode_rejection(rejection))

    with scripted_peer(reject) as peer:
        outcomes = send_as_us(peer, radiograph(), radiograph("1.2.5"))
    assert len(outcomes) == 2
    for outcome in outcomes:
        assert outcome.retryable
        assert outcome.needs_attention is needs_attention
    words = "called AE title" if needs_attention else "local limit"
    assert words in outcomes[0].error


def test_an_abort_costs_one_object_only():
    def abort(sock: socket.socket) -> None:
        accept(sock)
        read_store(sock)
        sock.sendall(struct.pack(">BxLxxxx", 7, 4))

    def work(sock: socket.socket) -> None:
        accept(sock)
        while True:
            request = read_store(sock)
            sock.sendall(pdata(1, 3, dimse.response(request, 0)))
            if request.affected_sop_instance_uid == "1.2.6":
                return

    with scripted_peer(abort, work) as peer:
        outcomes = send_as_us(peer, *(radiograph(uid) for uid in ("1.2.4", "1.2.5", "1.2.6")))
    assert [outcome.stored for outcome in outcomes] == [False, True, True]
    assert "aborted" in outcomes[0].error
    assert outcomes[0].retryable


def test_a_peer_that_goes_while_it_is_sent_a_large_object_is_a_failure_like_any(tmp_path):
    """The file is mapped: nothing may still hold a piece of it when the association breaks."""

    def leave(sock: socket.socket) -> None:
        accept(sock)
        sock.recv(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    large = tmp_path / "large.dcm"
    large.write_bytes(part10_file(radiograph("1.2.4", PixelData=bytes(20_000_000))))
    with scripted_peer(leave) as peer:
        (outcome,) = send_as_us(peer, large, timeouts=QUICK)
    assert not outcome.stored
    assert outcome.retryable
    assert "closed the connection" in outcome.error


def silent(sock: socket.socket) -> None:
    """Take everything, say nothing."""
    while sock.recv(65536):
        pass


def accept_and_be_silent(sock: socket.socket) -> None:
    accept(sock)
    silent(sock)


def close_after_request(sock: socket.socket) -> None:
    read_pdu(sock)


def answer_nonsense(sock: socket.socket) -> None:
    read_pdu(sock)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def answer_another_message(sock: socket.socket) -> None:
    accept(sock)
    read_store(sock)
    other = dimse.decode(dimse.store_request(999, CR, "1.2"))
    sock.sendall(pdata(1, 3, dimse.response(other, 0)))
    silent(sock)


def answer_without_status(sock: socket.socket) -> None:
    accept(sock)
    request = read_store(sock)
    sock.sendall(
        pdata(
            1,
            3,
            dimse.encode(
                {dimse.Tag.COMMAND_FIELD: 0x8001, dimse.Tag.MESSAGE_ID_BEING_RESPONDED_TO: request.message_id}
            ),
        )
    )
    silent(sock)


@pytest.mark.parametrize(
    "script",
    [silent, accept_and_be_silent, close_after_request, answer_nonsense, answer_another_message, answer_without_status],
)
def test_no_proper_answer_is_a_failure_that_can_be_retried(script):
    with scripted_peer(script) as peer:
        outcomes = send_as_us(peer, radiograph(), radiograph("1.2.5"), timeouts=QUICK)
    for outcome in outcomes:
        assert not outcome.stored
        assert outcome.status is None
        assert outcome.retryable
        assert "ZZCANARY" not in outcome.error


def test_a_silent_peer_costs_one_timeout_not_one_per_object():
    connections = []

    def count(sock: socket.socket) -> None:
        connections.append(1)
        accept_and_be_silent(sock)

    with scripted_peer(count) as peer:
        outcomes = send_as_us(peer, *(radiograph(f"1.2.{n}") for n in range(1, 20)), timeouts=QUICK)
    assert len(outcomes) == 19
    assert len(connections) == 1


# --- sessions and echo --------------------------------------------------------------------------------------------


def test_a_session_keeps_its_association(tmp_path):
    connections = []

    def work(sock: socket.socket) -> None:
        connections.append(1)
        accept(sock)
        for _ in range(3):
            sock.sendall(pdata(1, 3, dimse.response(read_store(sock), 0)))
        read_pdu(sock)
        sock.sendall(struct.pack(">BxLxxxx", 6, 4))

    with scripted_peer(work) as peer, StoreSession(peer, calling_ae_title="US") as session:
        for number in range(3):
            assert session.send([radiograph(f"1.2.{number + 1}")])[0].stored
    assert connections == [1]


def test_a_session_whose_peer_went_away_opens_a_new_association():
    def once(sock: socket.socket) -> None:
        accept(sock)
        sock.sendall(pdata(1, 3, dimse.response(read_store(sock), 0)))

    with scripted_peer(once) as peer, StoreSession(peer, calling_ae_title="US") as session:
        assert [session.send([radiograph(f"1.2.{n + 1}")])[0].error for n in range(3)] == ["", "", ""]


def test_a_session_proposes_more_when_a_new_class_comes(tmp_path):
    with StandInPacs(tmp_path) as pacs, StoreSession(pacs.address, calling_ae_title="US") as session:
        assert session.send([radiograph()])[0].stored
        assert session.send([radiograph("1.2.7", SOPClassUID=CT)])[0].stored


def test_echo(tmp_path):
    with StandInPacs(tmp_path) as pacs:
        outcome = echo(pacs.address, calling_ae_title="US")
        assert outcome.ok
        assert 0 < outcome.milliseconds < 10_000
    gone = echo(pacs.address, calling_ae_title="US", timeout=1.0)
    assert not gone.ok
    assert "refused" in gone.message
    with scripted_peer(silent) as peer:
        assert "in time" in echo(peer, calling_ae_title="US", timeout=0.3).message


def test_nothing_stays_open(tmp_path, nothing_left_open):
    with StandInPacs(tmp_path) as pacs:
        for number in range(5):
            assert send_as_us(pacs.address, radiograph(f"1.2.{number + 1}"))[0].stored
