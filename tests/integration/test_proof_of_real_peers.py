"""What real archives give as proof: Orthanc commits, dcmqrscp lists, storescp only answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from node_under_test import Node, opened
from owing import Debtor, hearing, to
from peers.dcmtk import storescp
from peers.orthanc_server import orthanc
from peers.processes import await_port, eventually, free_port, program, running

from triage.identifiers import PeerAddress
from triage.states import DeliveryStatus, Proof

pytestmark = pytest.mark.peer


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with opened(tmp_path / "data") as fresh:
        yield fresh


def states(owing: Debtor) -> set[tuple[DeliveryStatus, Proof | None]]:
    return {(d.status, d.proof) for d in owing.deliveries()}


def known_as(us: PeerAddress) -> dict[str, object]:
    """Orthanc's entry that lets it report to us."""
    return {"DicomModalities": {"firstread": [us.ae_title, us.host, us.port]}}


def test_orthanc_commits_on_an_association_of_its_own(node: Node, tmp_path: Path) -> None:
    with hearing(node) as us, orthanc(tmp_path / "orthanc", configuration=known_as(us)) as server:
        owing = Debtor(node, destinations=to(server.address))
        owing.owe(server.address)
        assert owing.deliver(server.address) == 2
        owing.prove(server.address)
        eventually(
            lambda: states(owing) == {(DeliveryStatus.COMMITTED, Proof.COMMITTED)}, within=20, what="Orthanc commits"
        )


def test_orthanc_denies_what_was_deleted_and_gets_it_again(node: Node, tmp_path: Path) -> None:
    with hearing(node) as us, orthanc(tmp_path / "orthanc", configuration=known_as(us)) as server:
        owing = Debtor(node, destinations=to(server.address))
        owing.owe(server.address)
        owing.deliver(server.address)
        for instance in server.get("/instances"):
            server.http.delete(f"/instances/{instance}").raise_for_status()
        owing.prove(server.address)
        eventually(lambda: states(owing) == {(DeliveryStatus.PENDING, None)}, within=20, what="Orthanc denies")
        assert "no such object instance" in owing.deliveries()[0].reason
        node.clock.pass_by(minutes=1)
        assert owing.deliver(server.address) == 2
        owing.prove(server.address)
        eventually(
            lambda: states(owing) == {(DeliveryStatus.COMMITTED, Proof.COMMITTED)}, within=20, what="Orthanc commits"
        )


def test_orthanc_that_does_not_know_us_is_asked_for_the_objects(node: Node, tmp_path: Path) -> None:
    stock = {"DicomAlwaysAllowFind": True}
    with orthanc(tmp_path / "orthanc", configuration=stock) as server:
        owing = Debtor(node, destinations=to(server.address))
        owing.owe(server.address)
        assert owing.deliver(server.address) == 2
        owing.prove(server.address)
        assert states(owing) == {(DeliveryStatus.SENT, Proof.ANSWERED)}  # it aborts: it knows nowhere to report to
        node.clock.pass_by(minutes=1)
        owing.prove(server.address)
        assert states(owing) == {(DeliveryStatus.COMMITTED, Proof.READ_BACK)}


@contextmanager
def dcmqrscp(folder: Path) -> Iterator[str]:
    """DCMTK's archive with a database of its own."""
    (folder / "db").mkdir(parents=True)
    port, log = free_port(), folder / "dcmqrscp.log"
    (folder / "dcmqrscp.cfg").write_text(
        f"""NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
QRSCP {folder / "db"} RW (200, 1024mb) ANY
AETable END
"""
    )
    with running(program("dcmqrscp"), "-c", folder / "dcmqrscp.cfg", log=log) as process:
        await_port(process, port, log)
        yield f"QRSCP@127.0.0.1:{port}"


def test_an_archive_without_commitment_shows_the_objects(node: Node, tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "qr") as address:
        owing = Debtor(node, destinations=to(address))
        owing.owe(address)
        assert owing.deliver(address) == 2
        owing.prove(address)
        assert states(owing) == {(DeliveryStatus.COMMITTED, Proof.READ_BACK)}
        assert owing.events().count("result_read_back") == 2


def test_a_receiver_with_neither_is_believed(node: Node, tmp_path: Path) -> None:
    with storescp(tmp_path / "store") as receiver:
        owing = Debtor(node, destinations=to(receiver.address))
        owing.owe(receiver.address)
        assert owing.deliver(receiver.address) == 2
        owing.prove(receiver.address)
        assert states(owing) == {(DeliveryStatus.SENT, Proof.ANSWERED)}
        assert owing.commitments() == []
