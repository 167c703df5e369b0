"""A peer added while the listener runs is admitted, one removed is not: real associations, no restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from peers.processes import eventually

from dicom_node.admission import AllowedPeer
from dicom_node.archive import Archive
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from dicom_node.scu import EchoOutcome, echo
from firstread.peer_watch import PeerWatch
from triage.database import Database
from triage.identifiers import PeerAddress
from triage.instances import IntakeOutcome
from triage.peers import CallingPeer
from triage.repositories import peers
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
