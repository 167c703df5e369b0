"""What a listener does about peers that want its places or its attention, not its service."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from network_samples import CR, EXPLICIT, RawPeer, RecordingNode, encoded, files_below, pdata, radiograph
from peers.processes import eventually

from dicom_node import dimse
from dicom_node.admission import AllowedPeer
from dicom_node.archive import Archive
from dicom_node.association import AssociationEnd
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from dicom_node.negotiation import ProposedContext, encode_request
from dicom_node.pace import AssociationLimits

pytestmark = pytest.mark.timeout(60)

ACCEPT, REJECT, RELEASE_RQ, ABORT = 2, 3, 5, 7
RELEASE_RP = struct.pack(">BxLxxxx", 6, 4)


@contextmanager
def node_with(archive: Archive, limits: AssociationLimits, **config: float) -> Iterator[RecordingNode]:
    with RecordingNode(archive, ListenerConfig(ae_title="NODE", port=0, association_limits=limits, **config)) as node:
        yield node


@pytest.mark.parametrize("polite", [True, False])
def test_greetings_alone_do_not_keep_a_place(archive, polite):
    with node_with(archive, AssociationLimits(seconds_without_store=0.3)) as node, RawPeer(node.port) as peer:
        peer.associate()
        kind, start = 4, time.monotonic()
        while kind == 4 and time.monotonic() - start < 10:
            peer.command(dimse.echo_request(1))
            kind, _ = peer.receive()
            time.sleep(0.02)
        assert kind == RELEASE_RQ  # in order, not by force
        if polite:
            peer.send(RELEASE_RP)
            assert peer.is_closed()
        else:
            peer.command(dimse.echo_request(2))
            assert peer.receive()[0] == ABORT
        assert node.wait_closed()[0].end is AssociationEnd.LIMIT_REACHED
        assert node.listener.open_associations == 0


def test_who_stores_keeps_the_place(archive):
    with node_with(archive, AssociationLimits(seconds_without_store=1.5)) as node, RawPeer(node.port) as peer:
        peer.associate()
        start = time.monotonic()
        while time.monotonic() - start < 2.5:
            assert peer.store(encoded(radiograph())).status == 0
            time.sleep(0.05)
        assert peer.release() == 6
        assert node.wait_closed()[0].end is AssociationEnd.RELEASED


@pytest.mark.parametrize("limits", [AssociationLimits(seconds=0.2), AssociationLimits(received_bytes=500)])
def test_an_association_ends_between_messages_never_inside_one(archive, limits):
    body = encoded(radiograph())
    with node_with(archive, limits) as node, RawPeer(node.port) as peer:
        peer.associate()
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        for start in range(0, len(body), 300):
            peer.data_set(body[start : start + 300], last=start + 300 >= len(body))
            time.sleep(0.1)
        assert peer.response().status == 0
        peer.command(dimse.echo_request(1))
        kinds = [peer.receive()[0]]
        if kinds == [4]:  # the limit was not passed yet when the instance was stored
            kinds.append(peer.receive()[0])
        assert kinds[-1] == RELEASE_RQ
    assert len(node.recorded) == 1


@pytest.mark.parametrize("crumb", [pdata(1, 0, b""), pdata(1, 0, b"\x00")], ids=["nothing", "one byte"])
def test_a_flood_of_crumbs_is_aborted(archive, crumb):
    with RecordingNode(archive) as node, RawPeer(node.port) as peer:
        peer.associate()
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        peer.send(crumb * 1200)
        assert peer.receive()[0] == ABORT
        assert node.wait_closed()[0].end is AssociationEnd.PROTOCOL_ERROR
    assert files_below(archive.incoming) == []


@pytest.mark.parametrize("part", ["command", "data set"])
def test_a_message_that_makes_no_progress_ends(archive, part):
    """Each fragment comes well before the stall time is over; the message as a whole is too slow."""
    config = ListenerConfig(ae_title="NODE", port=0, stall_seconds=0.6)
    with RecordingNode(archive, config) as node, RawPeer(node.port) as peer:
        peer.associate()
        if part == "data set":
            peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        crumb = pdata(1, 1 if part == "command" else 0, b"\x00")
        with pytest.raises(ConnectionError):
            for _ in range(100):
                peer.send(crumb)
                time.sleep(0.1)
        assert node.wait_closed()[0].end is AssociationEnd.TIMED_OUT


def test_slow_storage_is_not_the_fault_of_the_sender(archive, monkeypatch):
    config = ListenerConfig(ae_title="NODE", port=0, stall_seconds=0.5)
    with RecordingNode(archive, config) as node, RawPeer(node.port) as peer:
        write = type(node.listener._intake.archive.receive(
            sop_class_uid=CR, sop_instance_uid="1.2", transfer_syntax_uid=EXPLICIT
        )).write  # fmt: skip

        def slow(self: object, data: memoryview) -> None:
            time.sleep(0.3)
            write(self, data)

        monkeypatch.setattr("dicom_node.incoming.IncomingFile.write", slow)
        body = encoded(radiograph())
        peer.associate()
        peer.command(dimse.store_request(1, CR, "1.2.3.4"))
        for start in range(0, len(body), 150):
            peer.data_set(body[start : start + 150], last=start + 150 >= len(body))
        assert peer.response().status == 0


def test_refusals_are_told_and_lack_of_room_is_not(archive):
    told: list[tuple[str, str, str]] = []
    peers = (AllowedPeer("CR1"), AllowedPeer("CT1", "", "DNS:ct1"), AllowedPeer("MR1", "10.0.0.0/8"))
    config = ListenerConfig(
        ae_title="NODE", port=0, peers=peers, maximum_associations=1, maximum_associations_per_address=1
    )
    listener = Listener(
        config, Intake(archive, lambda *_: pytest.fail("nothing was sent")),
        on_refused=lambda *refusal: told.append(refusal),
    )  # fmt: skip
    with listener:
        for calling, called in (
            ("CR2", "NODE"), ("CT1", "NODE"), ("MR1", "NODE"), ("CR1", "NOBODY"), ("CR1", "NODE"), ("CR1", "NODE"),
            ("NODE", "NODE"),
        ):  # fmt: skip
            peer = RawPeer(listener.port)
            peer.associate(calling=calling, called=called)
    assert [(reason, calling.strip(), address) for reason, calling, address in told] == [
        ("CALLING_AE_TITLE_NOT_RECOGNISED", "CR2", "127.0.0.1"),
        ("WITHOUT_ITS_CERTIFICATE", "CT1", "127.0.0.1"),
        ("FROM_ANOTHER_ADDRESS", "MR1", "127.0.0.1"),
        ("CALLED_AE_TITLE_NOT_RECOGNISED", "CR1", "127.0.0.1"),
    ], "neither is our own title from our own host, by which the doctor asks"


def test_an_admitted_peer_is_refused_before_its_contexts_are_read(archive, monkeypatch):
    """The place is asked for first; what makes no sense is never looked into when there is none."""
    config = ListenerConfig(ae_title="NODE", port=0, maximum_associations=1)
    request = encode_request("RAW", "NODE", [ProposedContext(2, CR, (EXPLICIT,))], 0)  # an even id
    with RecordingNode(archive, config) as node, RawPeer(node.port) as held:
        assert held.associate()[0] == ACCEPT
        with RawPeer(node.port) as peer:
            peer.send(request)
            assert peer.receive()[0] == REJECT
        held.release()
        node.wait_closed(1)
        with RawPeer(node.port) as peer:
            peer.send(request)
            assert peer.receive()[0] == ABORT
        eventually(lambda: not node.listener.open_associations, within=10, what="its place is free again")
        with RawPeer(node.port) as peer:
            assert peer.associate()[0] == ACCEPT


def test_who_does_not_read_our_last_word_holds_no_thread(archive):
    """Released or rejected, never closed: such connections wait in the small room of the silent ones."""
    config = ListenerConfig(
        ae_title="NODE", port=0, maximum_associations=2, maximum_silent=8, maximum_silent_per_address=8
    )
    with RecordingNode(archive, config) as node:
        peers = []
        before = threading.active_count()
        for number in range(40):
            peers.append(RawPeer(node.port))
            if peers[-1].associate()[0] == ACCEPT and number % 3:
                peers[-1].release()
            assert threading.active_count() - before < 20
        for peer in peers:
            peer.sock.close()
