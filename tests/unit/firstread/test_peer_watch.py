"""A peer added while the listener runs is admitted, one removed is not: real associations, no restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from peers.processes import eventually
from peers.raw_peer import CR, RawPeer, encoded, radiograph

from dicom_node import dimse
from dicom_node.acceptor import WITHDRAWN
from dicom_node.admission import AllowedPeer
from dicom_node.archive import Archive
from dicom_node.contexts import ContextResult
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from dicom_node.negotiation import read_acceptance
from dicom_node.scu import EchoOutcome, echo
from dicom_node.store_scp import NOT_AUTHORIZED
from dicom_node.upper_layer import PduType
from firstread.peer_watch import PeerWatch
from triage.database import Database
from triage.identifiers import PeerAddress
from triage.instances import InstanceHeader, IntakeOutcome
from triage.peers import CallingPeer
from triage.repositories import peers
from triage.services import PeerService
from triage.tables import Peer

pytestmark = pytest.mark.timeout(60)
NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    database.migrate()
    yield database
    database.dispose()


def add(database: Database, title: str, network: str | None = None) -> Peer:
    with database.write() as session:
        wanted = CallingPeer(ae_title=title, network=network)
        return peers.add(session, wanted, "", at=NOW, who="anna")


def call(listener: Listener, title: str) -> EchoOutcome:
    return echo(PeerAddress("NODE", "127.0.0.1", listener.port), calling_ae_title=title)


def send(raw: RawPeer, uid: str) -> int | None:
    """The status of a radiograph."""
    return raw.store(encoded(radiograph(uid)), sop_instance=uid).status


def test_peers_come_and_go_while_the_listener_runs(database: Database, tmp_path: Path) -> None:
    add(database, "BEFORE")
    config = ListenerConfig(ae_title="NODE", port=0, peers=(AllowedPeer("CT1"),))
    intake = Intake(Archive(tmp_path / "archive"), lambda *_: IntakeOutcome.STORED)
    with PeerWatch(database, every=0.02) as watch, Listener(config, intake, more_peers=watch.now) as listener:
        assert call(listener, "BEFORE").ok  # known from the first association on
        assert call(listener, "CT1").ok
        assert call(listener, "CT2").rejected
        added = add(database, "CT2", "127.0.0.0/8")
        add(database, "CT3", "10.0.0.0/8")  # another network than the one it calls from
        eventually(lambda: call(listener, "CT2").ok, within=10, what="the new peer is admitted")
        assert call(listener, "CT3").rejected
        with database.write() as session:
            peers.remove(session, peers.by_id(session, added.id), at=NOW, who="anna")
        eventually(lambda: call(listener, "CT2").rejected, within=10, what="the removed peer is turned away")
        assert call(listener, "CT1").ok  # of the settings: nobody removes it here


@dataclass
class House:
    """A listener that admits only peers that were added, and what it has stored."""

    database: Database
    watch: PeerWatch
    listener: Listener
    stored: list[str]
    alerts: list[tuple[str, str, str]]
    gate: threading.Event
    recording: threading.Event

    def change(self, peer: Peer, *services: PeerService) -> None:
        """Let it ask for these, and wait until the listener knows; for none of them it is removed."""
        before = self.watch.now()
        with self.database.write() as session:
            row = peers.by_id(session, peer.id)
            if services:
                wanted = CallingPeer(ae_title=row.ae_title, services=services)
                peers.change(session, row, wanted, "", at=NOW, who="anna")
            else:
                peers.remove(session, row, at=NOW, who="anna")
        eventually(lambda: self.watch.now() is not before, within=10, what="the listener knows")


@pytest.fixture
def house(database: Database, tmp_path: Path) -> Iterator[House]:
    stored: list[str] = []
    alerts: list[tuple[str, str, str]] = []
    gate, recording = threading.Event(), threading.Event()
    gate.set()

    def record(header: InstanceHeader, *_: object) -> IntakeOutcome:
        recording.set()
        assert gate.wait(20)
        stored.append(header.sop_instance_uid)
        return IntakeOutcome.STORED

    config = ListenerConfig(ae_title="NODE", port=0, peers=(AllowedPeer("CT1"),))
    intake = Intake(Archive(tmp_path / "archive"), record)
    with PeerWatch(database, every=0.02) as watch:
        listener = Listener(config, intake, more_peers=watch.now, on_refused=lambda *refused: alerts.append(refused))
        with listener:
            yield House(database, watch, listener, stored, alerts, gate, recording)


def test_a_peer_that_is_removed_finishes_its_image_and_sends_no_other(house: House) -> None:
    peer = add(house.database, "RAW")
    eventually(house.watch.now, within=10, what="the peer is known")
    house.gate.clear()
    with RawPeer(house.listener.port) as raw:
        raw.associate()
        raw.command(dimse.store_request(1, CR, "1.2.3.1"))
        raw.data_set(encoded(radiograph("1.2.3.1")))
        assert house.recording.wait(10)
        house.change(peer)  # while the image is being kept
        house.gate.set()
        assert raw.response().status == 0x0000
        assert raw.receive()[0] == PduType.RELEASE_RQ
    assert house.stored == ["1.2.3.1"]


def test_an_open_association_of_a_removed_peer_is_refused_at_its_next_image(house: House) -> None:
    peer = add(house.database, "RAW")
    eventually(house.watch.now, within=10, what="the peer is known")
    with RawPeer(house.listener.port) as raw:
        raw.associate()
        assert send(raw, "1.2.3.1") == 0x0000
        house.change(peer, PeerService.STORE, PeerService.FIND)
        assert send(raw, "1.2.3.2") == 0x0000  # it may still
        house.change(peer, PeerService.FIND)
        assert send(raw, "1.2.3.3") == NOT_AUTHORIZED
        house.change(peer, PeerService.STORE)
        assert send(raw, "1.2.3.4") == 0x0000  # the association goes on, and so does the peer
        house.change(peer)
        assert send(raw, "1.2.3.5") == NOT_AUTHORIZED
        assert raw.receive()[0] == PduType.RELEASE_RQ
    assert house.stored == ["1.2.3.1", "1.2.3.2", "1.2.3.4"]
    assert house.alerts == [(WITHDRAWN, "RAW", "127.0.0.1")] * 2


def test_what_a_peer_may_not_ask_for_is_not_negotiated(house: House) -> None:
    peer = add(house.database, "RAW")
    eventually(house.watch.now, within=10, what="the peer is known")
    house.change(peer, PeerService.WORKLIST)
    with RawPeer(house.listener.port) as raw:
        kind, body = raw.associate()
        assert (kind, read_acceptance(body).answers[1].result) == (PduType.ASSOCIATE_AC, ContextResult.USER_REJECTION)
    assert call(house.listener, "RAW").ok


def test_where_everybody_is_admitted_a_peer_shuts_nobody_out(database: Database, tmp_path: Path) -> None:
    add(database, "CT2")
    intake = Intake(Archive(tmp_path / "archive"), lambda *_: IntakeOutcome.STORED)
    with PeerWatch(database) as watch:
        assert [peer.ae_title for peer in watch.now()] == ["CT2"]
        with Listener(ListenerConfig(ae_title="NODE", port=0), intake, more_peers=watch.now) as listener:
            assert call(listener, "ANYBODY").ok


def test_a_row_that_is_no_peer_harms_no_other(database: Database) -> None:
    add(database, "CT2")
    with database.write() as session:
        session.add(Peer(ae_title="BAD", network="not an address", changed_at=NOW, changed_by="somebody"))
    with PeerWatch(database) as watch:
        assert [peer.ae_title for peer in watch.now()] == ["CT2"]


def test_a_defect_does_not_end_the_watch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or who was removed meanwhile would be admitted until the next start."""
    real, failed = peers.all_of, threading.Event()

    def once(session: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("seeded")
        return real(session)

    with PeerWatch(database, every=0.02) as watch:
        monkeypatch.setattr(peers, "all_of", once)
        add(database, "CT1")
        eventually(watch.now, within=10, what="the peer is known")
    assert failed.is_set()
