"""Real associations on loopback: DCMTK and pynetdicom as senders, and a raw peer for everything they would not do."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from network_samples import (
    CR,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    RawPeer,
    RecordingNode,
    element,
    encoded,
    files_below,
    part10_file,
    pdata,
    radiograph,
)
from peers.digests import data_set_digest
from peers.processes import eventually
from pynetdicom import AE, build_context

from dicom_node import dimse, upper_layer
from dicom_node import listener as listener_module
from dicom_node.admission import AllowedPeer
from dicom_node.archive import Archive
from dicom_node.association import AssociationEnd
from dicom_node.contexts import VERIFICATION
from dicom_node.digests import of_pixels
from dicom_node.listener import Listener, ListenerConfig
from dicom_node.negotiation import ProposedContext, encode_request
from dicom_node.space import Space
from triage.errors import DatabaseUnavailableError, DicomError, SettingsError, StorageFullError
from triage.instances import IntakeOutcome
from triage.room import RoomPolicy

pytestmark = pytest.mark.timeout(60)

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
ABORT, ACCEPT, REJECT = 7, 2, 3


# --- ordinary senders ---------------------------------------------------------------------------------------------


@pytest.mark.peer
def test_echoscu_is_answered(node, program):
    command = [program("echoscu"), "-aec", "NODE", "127.0.0.1", str(node.port)]
    assert subprocess.run(command, check=False, timeout=30).returncode == 0
    (summary,) = node.wait_closed()
    assert (summary.calling_ae_title, summary.end, summary.stored) == ("ECHOSCU", AssociationEnd.RELEASED, 0)
    assert node.opened[0].association_uid == summary.association_uid
    assert node.opened[0].closed_at is None


@pytest.mark.peer
def test_dcmsend_delivers_every_syntax_byte_for_byte(node, program, test_data):
    files = [
        path
        for path in sorted((test_data / "syntaxes").glob("*.dcm"))
        if not path.name.startswith(("HTJ2K", "JPEGLSNearLossless_16"))  # unknown to DCMTK 3.6; without study UID
    ]
    # -dn: never decompress, so that every file travels as it is
    command = [program("dcmsend"), "-nh", "-dn", "-aec", "NODE", "127.0.0.1", str(node.port), *map(str, files)]
    subprocess.run(command, check=False, capture_output=True, timeout=60)
    node.wait_closed()
    kept = {
        (header.sop_instance_uid, stored.transfer_syntax_uid, node.archive.pixel_digest(stored.relative_path))
        for header, stored, _ in node.recorded
    }
    delivered = 0
    for path in files:
        dataset = pydicom.dcmread(path)
        if len(dataset.get("PixelData", b"")) % 2:
            continue  # DCMTK pads what the file forgot to
        sent = str(dataset.SOPInstanceUID), str(dataset.file_meta.TransferSyntaxUID), of_pixels(path)
        delivered += sent in kept
    assert delivered >= 20
    assert len({syntax for _, syntax, _ in kept}) >= 12


@pytest.mark.peer
@pytest.mark.parametrize(("option", "name"), [("-xe", "CT_small.dcm"), ("-xw", "JPEG2000.dcm"), ("-xi", "rtplan.dcm")])
def test_storescu_delivers(node, program, option, name):
    path = Path(pydicom.data.get_testdata_file(name, download=False))
    command = [program("storescu"), option, "-aec", "NODE", "127.0.0.1", str(node.port), str(path)]
    assert subprocess.run(command, check=False, timeout=30).returncode == 0
    ((_, stored, arrival),) = node.recorded
    sent, kept = pydicom.dcmread(path), pydicom.dcmread(node.archive.path(stored.relative_path))
    for keyword in ("SOPInstanceUID", "PatientName", "PixelData", "Manufacturer"):
        assert kept.get(keyword) == sent.get(keyword)
    assert arrival.calling_ae_title == "STORESCU"
    assert kept.file_meta.SourceApplicationEntityTitle == "STORESCU"


def test_a_pynetdicom_sender_is_answered(node, radiograph_file):
    ae = AE(ae_title="PYNET")
    ae.requested_contexts = [build_context(CR, EXPLICIT), build_context(VERIFICATION), build_context(STUDY_ROOT_FIND)]
    association = ae.associate("127.0.0.1", node.port, ae_title="NODE")
    assert association.is_established
    assert [str(c.abstract_syntax) for c in association.rejected_contexts] == [STUDY_ROOT_FIND]
    assert association.send_c_echo().Status == 0
    assert association.send_c_store(radiograph_file).Status == 0
    association.release()
    (summary,) = node.wait_closed()
    assert (summary.stored, summary.failed, summary.end) == (1, 0, AssociationEnd.RELEASED)
    assert node.recorded[0][2].association_uid == summary.association_uid


def test_large_instances_arrive_whole(node):
    pixels = bytes(range(256)) * 4096 * 12  # 12 MiB
    body = encoded(radiograph(Rows=2048, Columns=3072, PixelData=pixels))
    with RawPeer(node.port) as peer:
        peer.associate()
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        for start in range(0, len(body), 1_000_000):
            peer.data_set(body[start : start + 1_000_000], last=start + 1_000_000 >= len(body))
        assert peer.response().status == 0
    ((_, stored, _),) = node.recorded
    assert stored.digest == data_set_digest(body)
    assert node.archive.data_set_digest(stored.relative_path) == stored.digest


def test_a_deflated_instance_is_kept_as_received(node):
    body = encoded(radiograph(), DEFLATED)
    with RawPeer(node.port) as peer:
        peer.associate((CR, DEFLATED))
        assert peer.store(body).status == 0
    assert node.recorded[0][1].digest == data_set_digest(body)


def test_several_messages_in_one_segment_and_split_anywhere(node):
    body = encoded(radiograph())
    stream = b"".join(
        (
            pdata(1, 3, dimse.echo_request(1)),
            pdata(1, 1, dimse.store_request(2, CR, "1.2.3.4")[:30]),
            pdata(1, 3, dimse.store_request(2, CR, "1.2.3.4")[30:]),
            pdata(1, 0, body[:100]),
            pdata(1, 0, b""),
            pdata(1, 2, body[100:]),
        )
    )
    with RawPeer(node.port) as peer:
        peer.associate()
        for start in range(0, len(stream), 7):
            peer.send(stream[start : start + 7])
        assert peer.response().command_field == dimse.CommandField.C_ECHO_RSP
        assert peer.response().status == 0
    assert node.recorded[0][1].digest == data_set_digest(body)


def test_two_values_in_one_pdu(node):
    command, body = dimse.store_request(1, CR, "1.2.3.4"), encoded(radiograph())
    values = b"".join(struct.pack(">LBB", len(v) + 2, 1, c) + v for c, v in ((3, command), (2, body)))
    with RawPeer(node.port) as peer:
        peer.associate()
        peer.send(struct.pack(">BxL", 4, len(values)) + values)
        assert peer.response().status == 0


def test_many_associations_at_once_store_the_same_instance(node):
    body = encoded(radiograph())
    statuses: list[int | None] = []

    def send() -> None:
        with RawPeer(node.port) as peer:
            peer.associate()
            statuses.append(peer.store(body).status)
            peer.release()

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 20
    assert len({stored.relative_path for _, stored, _ in node.recorded}) == 1
    assert len(files_below(node.archive.store)) == 1
    assert files_below(node.archive.incoming) == []


# --- statuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (IntakeOutcome.STORED, 0x0000),
        (IntakeOutcome.DUPLICATE, 0x0000),
        (IntakeOutcome.VERSIONED, 0x0000),
        (IntakeOutcome.CONFLICT, 0xA900),
        (DatabaseUnavailableError("down"), 0xA700),
        (StorageFullError("full"), 0xA700),
        (MemoryError(), 0xA700),
        (RuntimeError("ZZCANARY"), 0x0110),
    ],
    ids=str,
)
def test_the_outcome_decides_the_status(node, outcome, status):
    node.outcome = outcome
    with RawPeer(node.port) as peer:
        peer.associate()
        response = peer.store(encoded(radiograph()))
        assert response.status == status
        comment = response.text(dimse.Tag.ERROR_COMMENT)
        assert len(comment) <= 64
        assert "ZZCANARY" not in comment
        node.outcome = IntakeOutcome.STORED
        assert peer.store(encoded(radiograph())).status == 0  # the association goes on
        peer.release()
    (summary,) = node.wait_closed()
    assert summary.stored + summary.failed == 2
    assert summary.failed == (status != 0)


@pytest.mark.parametrize(
    ("body", "uid", "status", "word"),
    [
        (b"", "1.2.3.4", 0xC000, "empty"),
        (b"abc", "1.2.3.4", 0xC000, "ends inside"),
        (encoded(radiograph(StudyInstanceUID="")), "1.2.3.4", 0xC000, "(0020,000D)"),
        (encoded(radiograph(), IMPLICIT), "1.2.3.4", 0xC000, "transfer syntax"),
        (element(0x00020010, b"UI", b"1.2") + encoded(radiograph()), "1.2.3.4", 0xC000, "(0002,0010)"),
        (encoded(radiograph())[:-10], "1.2.3.4", 0xC000, "(7fe0,0010)"),
        (encoded(radiograph()), "1.2.3.5", 0xA900, "SOPInstanceUID"),
        (encoded(radiograph(SOPClassUID=CT)), "1.2.3.4", 0xA900, "SOPClassUID"),
    ],
)
def test_bytes_that_are_not_the_instance_are_kept_aside(node, body, uid, status, word):
    with RawPeer(node.port) as peer:
        peer.associate()
        response = peer.store(body, sop_instance=uid)
    assert response.status == status
    assert word in response.text(dimse.Tag.ERROR_COMMENT)
    assert node.recorded == []
    assert files_below(node.archive.store) == files_below(node.archive.incoming) == []
    (note,) = node.archive.quarantined.glob("*.json")
    assert json.loads(note.read_text())["reason"]
    assert note.with_suffix(".dcm").read_bytes().endswith(body)


def test_requests_that_cannot_be_served_get_their_status(node):
    body = encoded(radiograph())
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(body, sop_class=CT).status == 0x0122
        for uid in ("", "1..2", "../../etc/passwd"):
            response = peer.store(body, sop_instance=uid)
            assert response.status == 0x0117
            assert response.elements[dimse.Tag.OFFENDING_ELEMENT] == struct.pack("<HH", 0, 0x1000)
        without_data_set = {
            dimse.Tag.AFFECTED_SOP_CLASS_UID: CR,
            dimse.Tag.COMMAND_FIELD: 1,
            dimse.Tag.MESSAGE_ID: 9,
            dimse.Tag.COMMAND_DATA_SET_TYPE: dimse.NO_DATA_SET,
            dimse.Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4",
        }
        peer.command(dimse.encode(without_data_set))
        assert peer.response().status == 0xC000
        peer.command(dimse.encode({**without_data_set, dimse.Tag.COMMAND_FIELD: 0x0020}))  # C-FIND
        response = peer.response()
        assert (response.status, response.command_field) == (0x0211, 0x8020)
        peer.command(dimse.encode({**without_data_set, dimse.Tag.COMMAND_FIELD: 0x0FFF}))  # C-CANCEL: no response
        assert peer.store(body).status == 0
    assert len(files_below(node.archive.root)) == 1


def test_larger_than_allowed_is_refused_and_the_association_goes_on(archive):
    config = ListenerConfig(ae_title="NODE", port=0, maximum_data_set=2000)
    with RecordingNode(archive, config) as node, RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(encoded(radiograph(PixelData=bytes(2000)))).status == 0xA700
        assert peer.store(encoded(radiograph())).status == 0
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        with pytest.raises(AssertionError, match="PDU type 7"):  # twice the limit and no end: aborted
            peer.data_set(bytes(5000), last=False)
            peer.response()
        assert node.wait_closed()[0].end is AssociationEnd.PROTOCOL_ERROR
    assert files_below(archive.incoming) == []


def test_a_full_disk_is_told_and_recovers(archive):
    full = Archive(archive.root, Space(archive.root, RoomPolicy(min_free_bytes=2**60)))
    with RecordingNode(full) as node, RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(encoded(radiograph())).status == 0xA700
    assert files_below(archive.root) == []


# --- admission ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [("RAW", "OTHER", (1, 1, 7)), (" ", "NODE", (1, 1, 3)), ("A\x00B", "NODE", (1, 1, 3))],
)
def test_rejections_carry_the_codes_of_the_standard(node, calling, called, reason):
    with RawPeer(node.port) as peer:
        kind, body = peer.associate(calling=calling, called=called)
        assert (kind, tuple(body[1:4])) == (REJECT, reason)
        assert peer.is_closed()
    assert node.opened == node.closed == []


def test_listed_peers_only(archive):
    peers = (AllowedPeer("CR1", "127.0.0.1"), AllowedPeer("CT1", "10.0.0.0/8"))
    with RecordingNode(archive, ListenerConfig(ae_title="NODE", port=0, peers=peers)) as node:
        for calling, kind in (("CR1", ACCEPT), ("CT1", REJECT), ("../../etc", REJECT)):
            with RawPeer(node.port) as peer:
                assert peer.associate(calling=calling)[0] == kind


def test_another_protocol_version_or_application_context_is_rejected(node):
    request = bytearray(encode_request("RAW", "NODE", [ProposedContext(1, CR, (EXPLICIT,))], 0))
    for offset, value, reason in ((7, 0, (1, 2, 2)), (78, ord("9"), (1, 1, 2))):
        changed = bytearray(request)
        changed[offset] = value
        with RawPeer(node.port) as peer:
            peer.send(changed)
            kind, body = peer.receive()
            assert (kind, tuple(body[1:4])) == (REJECT, reason)


def test_contexts_without_a_match_are_refused_one_by_one(node):
    with RawPeer(node.port) as peer:
        kind, body = peer.associate((STUDY_ROOT_FIND, IMPLICIT), (CR, "1.2.840.10008.1.2.4.94"), (CR, EXPLICIT))
        assert kind == ACCEPT
        assert b"\x21\x00\x00\x19\x01\x00\x03\x00" in body
        assert b"\x03\x00\x04\x00" in body
        assert peer.store(encoded(radiograph()), context_id=5).status == 0
    with RawPeer(node.port) as peer:
        assert peer.associate((STUDY_ROOT_FIND, IMPLICIT))[0] == ACCEPT
        assert peer.release() == 6


def test_128_contexts_and_a_long_user_item_are_handled(node):
    contexts = [
        ProposedContext(2 * n + 1, f"1.2.840.10008.5.1.4.1.1.{n + 500}", (EXPLICIT, IMPLICIT)) for n in range(128)
    ]
    request = encode_request("RAW", "NODE", contexts, 0)
    user_item = b"\x50\x00" + struct.pack(">H", 60004) + b"\x99\x00" + struct.pack(">H", 60000) + bytes(60000)
    with RawPeer(node.port) as peer:
        peer.send(request[:2] + struct.pack(">L", len(request) - 6 + len(user_item)) + request[6:] + user_item)
        assert peer.receive()[0] == ACCEPT


def test_too_many_associations_are_rejected_as_transient(archive):
    config = ListenerConfig(ae_title="NODE", port=0, maximum_associations=3, maximum_associations_per_address=2)
    with RecordingNode(archive, config) as node:
        held = [RawPeer(node.port) for _ in range(2)]
        assert [peer.associate()[0] for peer in held] == [ACCEPT, ACCEPT]
        assert node.listener.open_associations == 2
        with RawPeer(node.port) as peer:
            kind, body = peer.associate()
            assert (kind, tuple(body[1:4])) == (REJECT, (2, 3, 2))
        with RawPeer(node.port, source="127.0.0.2") as elsewhere:
            assert elsewhere.associate()[0] == ACCEPT
            with RawPeer(node.port, source="127.0.0.3") as peer:
                assert peer.associate()[0] == REJECT
        assert held[0].release() == 6
        node.wait_closed(2)
        with RawPeer(node.port) as peer:
            assert peer.associate()[0] == ACCEPT
        held[1].sock.close()


# --- hostile peers ------------------------------------------------------------------------------------------------


def test_two_hundred_silent_sockets_lock_nobody_out(node, nothing_left_open):
    held = RawPeer(node.port)
    assert held.associate()[0] == ACCEPT
    silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(200)]
    try:
        assert held.store(encoded(radiograph())).status == 0  # who has spoken is not in the waiting room any more
        held.sock.close()
        with RawPeer(node.port) as peer:
            assert peer.associate()[0] == ACCEPT
            assert peer.store(encoded(radiograph())).status == 0
            assert peer.release() == 6
        node.wait_closed(2)
        assert node.listener.open_associations == 0
        assert threading.active_count() < 60
    finally:
        for sock in silent:
            sock.close()
    node.listener.stop(timeout=10)


def test_a_connection_that_cannot_be_served_leaves_nobody_deaf(archive, monkeypatch):
    real, failures = listener_module.Connection, [MemoryError(), ValueError("?")]

    def connection(*args, **kwargs):
        if failures:
            raise failures.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(listener_module, "Connection", connection)
    with RecordingNode(archive, ListenerConfig(ae_title="NODE", port=0)) as node:
        for _ in range(2):
            with RawPeer(node.port) as peer:
                assert peer.is_closed()
        with RawPeer(node.port) as peer:
            assert peer.associate()[0] == 2


def test_a_silent_connection_is_closed_after_artim(archive):
    with RecordingNode(archive, ListenerConfig(ae_title="NODE", port=0, artim_seconds=0.3)) as node:
        with RawPeer(node.port) as peer:
            assert peer.is_closed()
        with RawPeer(node.port) as peer:  # half a request is no request
            peer.send(encode_request("RAW", "NODE", [ProposedContext(1, CR, (EXPLICIT,))], 0)[:40])
            assert peer.is_closed()


def test_a_drip_feed_is_closed(archive):
    config = ListenerConfig(ae_title="NODE", port=0, artim_seconds=0.5, stall_seconds=0.5)
    with RecordingNode(archive, config) as node, RawPeer(node.port) as peer:
        peer.associate()
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        peer.send(struct.pack(">BxLLBB", 4, 506, 502, 1, 0))
        with pytest.raises(ConnectionError):
            for _ in range(500):
                peer.send(b"\x00")
                time.sleep(0.02)
        (summary,) = node.wait_closed()
        assert summary.end is AssociationEnd.TIMED_OUT
    assert files_below(archive.root) == []


def test_an_idle_association_is_aborted(archive):
    with RecordingNode(archive, ListenerConfig(ae_title="NODE", port=0, idle_seconds=0.2)) as node:
        with RawPeer(node.port) as peer:
            peer.associate()
            assert peer.receive()[0] == ABORT
        assert node.wait_closed()[0].end is AssociationEnd.TIMED_OUT


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (struct.pack(">BxL", 1, 0xFFFFFFFF), 6),
        (struct.pack(">BxL", 4, 0xFFFFFFFF), 6),
        (struct.pack(">BxL", 0x00, 4) + bytes(4), 1),
        (struct.pack(">BxL", 0x99, 4) + bytes(4), 1),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 1),
        (pdata(1, 3, dimse.echo_request(1)), 2),
        (struct.pack(">BxLxxxx", 5, 4), 2),
        (struct.pack(">BxL", 1, 10) + bytes(10), 6),
    ],
    ids=["huge request", "huge data", "type 0", "type 0x99", "HTTP", "TLS", "data first", "release first", "short"],
)
def test_what_is_no_association_request_is_aborted(node, sent, reason):
    with RawPeer(node.port) as peer:
        peer.send(sent)
        kind, body = peer.receive()
        assert (kind, body[2], body[3]) == (ABORT, 2, reason)
        assert peer.is_closed()
    assert node.opened == []


def oversized_command() -> bytes:
    return b"".join(pdata(1, 1, bytes(8000)) for _ in range(10))


@pytest.mark.parametrize(
    "sent",
    [
        encode_request("RAW", "NODE", [ProposedContext(1, CR, (EXPLICIT,))], 0),
        struct.pack(">BxL", 4, 2 * 1024 * 1024),
        pdata(1, 2, b"data set without a command"),
        pdata(9, 3, dimse.echo_request(1)),
        pdata(1, 3, b"no command set"),
        pdata(1, 3, dimse.response(dimse.decode(dimse.echo_request(1)), 0)),
        pdata(1, 3, dimse.store_request(1, CR, "1.2")) + pdata(1, 3, dimse.echo_request(2)),
        pdata(1, 3, dimse.store_request(1, CR, "1.2")) + pdata(3, 2, b"other context"),
        struct.pack(">BxLLBB", 4, 6, 1, 1, 3),
        struct.pack(">BxLLBB", 4, 6, 4000, 1, 3),
        struct.pack(">BxL", 4, 3) + b"abc",
        oversized_command(),
    ],
    ids=[
        "second request",
        "longer than negotiated",
        "data without command",
        "context not accepted",
        "command set that is none",
        "response",
        "command inside a data set",
        "data set in another context",
        "value shorter than its header",
        "value longer than its PDU",
        "PDU shorter than a value header",
        "80 kB command set",
    ],
)
def test_what_breaks_the_protocol_is_aborted_and_hurts_nobody(node, sent):
    with RawPeer(node.port) as other:
        other.associate()
        with RawPeer(node.port) as peer:
            peer.associate((CR, EXPLICIT), (CT, EXPLICIT))
            peer.send(sent)
            assert peer.receive()[0] == ABORT
        assert node.wait_closed()[0].end is AssociationEnd.PROTOCOL_ERROR
        assert other.store(encoded(radiograph())).status == 0
    assert files_below(node.archive.incoming) == []


@pytest.mark.parametrize("ending", ["close", "reset", "abort"])
def test_cut_in_the_middle_of_a_data_set_leaves_nothing(node, ending):
    with RawPeer(node.port) as peer:
        peer.associate()
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        peer.data_set(encoded(radiograph())[:200], last=False)
        if ending == "abort":
            peer.send(struct.pack(">BxLxxxx", 7, 4))
        elif ending == "reset":
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (summary,) = node.wait_closed()
    assert summary.end is (AssociationEnd.ABORTED if ending == "abort" else AssociationEnd.LOST)
    assert files_below(node.archive.root) == []
    assert node.recorded == []


def test_a_peer_that_never_reads_is_given_up(archive, monkeypatch):
    config = ListenerConfig(ae_title="NODE", port=0, stall_seconds=0.5)
    with RecordingNode(archive, config) as node:
        peer = RawPeer(node.port)
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.associate()
        flood = pdata(1, 3, dimse.echo_request(1)) * 1000
        with pytest.raises(OSError):
            peer.sock.settimeout(2.0)
            while True:
                peer.sock.sendall(flood)
        peer.sock.close()
        assert node.wait_closed()[0].end in (AssociationEnd.TIMED_OUT, AssociationEnd.LOST)


# --- life of the listener -----------------------------------------------------------------------------------------


def test_stop_lets_a_running_store_finish_and_releases(archive, nothing_left_open):
    node = RecordingNode(archive, gate=threading.Event())
    node.listener.start()
    with RawPeer(node.port) as busy, RawPeer(node.port) as idle:
        busy.associate()
        idle.associate()
        busy.command(dimse.store_request(1, CR, "1.2.3.4"))
        busy.data_set(encoded(radiograph()))
        assert node.recording.wait(10)
        stopper = threading.Thread(target=node.listener.stop, args=(20.0,))
        stopper.start()
        assert idle.receive()[0] == 5  # asked to release
        idle.send(struct.pack(">BxLxxxx", 6, 4))
        node.gate.set()
        assert busy.response().status == 0
        assert busy.receive()[0] == 5
        busy.send(struct.pack(">BxLxxxx", 6, 4))
        stopper.join(20)
        assert not stopper.is_alive()
    assert {summary.end for summary in node.closed} == {AssociationEnd.STOPPED}
    with pytest.raises(ConnectionRefusedError):
        RawPeer(node.port)


def test_stop_waits_for_a_data_set_that_is_arriving(archive, nothing_left_open):
    node = RecordingNode(archive)
    node.listener.start()
    body = encoded(radiograph())
    with RawPeer(node.port) as busy, RawPeer(node.port) as idle:
        busy.associate()
        idle.associate()
        busy.command(dimse.store_request(1, CR, "1.2.3.4"))
        busy.data_set(body[:100], last=False)
        eventually(lambda: any(archive.incoming.iterdir()), within=10, what="the node takes the data set")
        stopper = threading.Thread(target=node.listener.stop, args=(20.0,))
        stopper.start()
        assert idle.receive()[0] == 5  # the node is stopping now
        busy.data_set(body[100:])
        assert busy.response().status == 0
        assert busy.receive()[0] == 5
        for peer in (busy, idle):
            peer.sock.close()
        stopper.join(20)
        assert not stopper.is_alive()
    assert sorted(summary.stored for summary in node.closed) == [0, 1]


def test_stop_cuts_what_does_not_end(archive, nothing_left_open):
    node = RecordingNode(archive)
    node.listener.start()
    with RawPeer(node.port) as peer:
        peer.associate()
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        peer.data_set(b"abc", last=False)
        node.listener.stop(timeout=0.3)
    assert files_below(archive.root) == []


def test_threads_and_descriptors_return_to_base(archive, nothing_left_open):
    with RecordingNode(archive) as node:
        for _ in range(20):
            with RawPeer(node.port) as peer:
                peer.associate()
                peer.store(encoded(radiograph()))
                peer.release()
        node.wait_closed(20)


def test_a_failing_callback_harms_nobody(archive, radiograph_file):
    def fail(_summary: object) -> None:
        raise RuntimeError("a caller's defect")

    node = RecordingNode(archive)
    node.listener._on_open = node.listener._on_closed = fail
    with node, RawPeer(node.port) as peer:
        assert peer.associate()[0] == ACCEPT
        assert peer.store(encoded(radiograph())).status == 0
        assert peer.release() == 6


def test_a_port_in_use_is_one_line(node, archive):
    other = Listener(ListenerConfig(ae_title="NODE", port=node.port), node.listener._intake)
    with pytest.raises(SettingsError, match=str(node.port)):
        other.start()


def test_open_to_other_machines_needs_a_list_of_peers(archive):
    with pytest.raises(SettingsError, match="peers"):
        RecordingNode(archive, ListenerConfig(ae_title="NODE", bind="0.0.0.0", port=0))
    config = ListenerConfig(ae_title="NODE", bind="0.0.0.0", port=0, peers=(AllowedPeer("RAW"),))
    with RecordingNode(archive, config) as node, RawPeer(node.port) as peer:
        assert peer.associate()[0] == ACCEPT


def test_no_patient_data_in_logs_or_names(node, capfd, caplog):
    with RawPeer(node.port) as peer:
        peer.associate()
        peer.store(encoded(radiograph()))
        peer.store(encoded(radiograph(StudyInstanceUID="")))
        peer.store(encoded(radiograph()), sop_instance="1.2.9")
        node.outcome = DicomError("refused")
        peer.store(encoded(radiograph()))
        peer.release()
    node.wait_closed()
    told = caplog.text + "".join(capfd.readouterr()) + " ".join(map(str, files_below(node.archive.root)))
    notes = "".join(path.read_text() for path in node.archive.quarantined.glob("*.json"))
    for secret in ("ZZCANARY", "ZZ-0815"):
        assert secret not in told + notes


def test_whole_pdus_are_read_in_large_pieces(node, monkeypatch):
    """A 2 MB data set takes some tens of reads, however it trickles in: the kernel gathers what a fragment needs."""
    reads: list[int] = []
    fill: Callable[[upper_layer.Connection, int], None] = upper_layer.Connection._fill

    def counted(self: upper_layer.Connection, wanted: int) -> None:
        reads.append(1)
        fill(self, wanted)

    monkeypatch.setattr(upper_layer.Connection, "_fill", counted)
    body = encoded(radiograph(Rows=1024, Columns=1024, PixelData=bytes(2 * 1024 * 1024)))
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) in (0, 1)
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        for start in range(0, len(body), 500_000):
            peer.data_set(body[start : start + 500_000], last=start + 500_000 >= len(body))
        assert peer.response().status == 0
    assert len(reads) < 60


def test_part10_bytes_of_a_sender_are_not_needed(node, tmp_path):
    """What a sender's own file header says does not matter: ours is written from the association."""
    body = part10_file(radiograph())
    assert body[128:132] == b"DICM"
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(body).status == 0xC000  # a preamble is no data set
