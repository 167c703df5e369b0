"""Results over STOW-RS: rows, attempts, proofs, against a server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from node_under_test import Node, opened
from owing import REPORT, Debtor, to
from peers.certificates import Authority
from peers.dicomweb_server import DICOM_JSON, DicomWebStore, dicomweb_server
from peers.web_server import WebServer, answers, is_silent

from dicom_node.http_peer import Patience
from triage.errors import SettingsError
from triage.peers import Destination
from triage.states import DeliveryStatus, Proof
from workers.carriers import dicomweb

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with opened(tmp_path_factory.mktemp("node")) as fresh:
        yield fresh


class Pair:
    """A node that owes two results of one study to a server."""

    numbers = iter(range(1000))

    def __init__(self, node: Node, server: WebServer, store: DicomWebStore, **options: object) -> None:
        self.server, self.store, self.node = server, store, node
        self.address = f"dicomweb+http://127.0.0.1:{server.port}/dicom-web"
        self.owing = Debtor(node, destinations=to(self.address, **options))
        self.number = next(self.numbers)
        self.owing.owe(self.address, number=self.number)

    def deliver(self) -> int:
        return self.owing.deliver(self.address)

    def later(self) -> int:
        self.node.clock.pass_by(hours=2)
        return self.deliver()

    def rows(self) -> list[tuple[DeliveryStatus, Proof | None]]:
        return [(d.status, d.proof) for d in self.deliveries()]

    def deliveries(self) -> list:  # type: ignore[type-arg]
        return [d for d in self.owing.deliveries() if d.destination == self.address]


@pytest.fixture
def pair(node: Node) -> Iterator[Pair]:
    with dicomweb_server() as (server, store):
        yield Pair(node, server, store)


def test_results_are_stored_and_read_back(pair: Pair) -> None:
    assert pair.deliver() == 2
    assert pair.rows() == [(DeliveryStatus.SENT, Proof.ANSWERED)] * 2
    pair.owing.prove(pair.address)
    assert pair.rows() == [(DeliveryStatus.COMMITTED, Proof.READ_BACK)] * 2
    assert {d.result_object.sop_instance_uid for d in pair.deliveries()} == set(pair.store.instances)


def test_what_the_server_has_lost_goes_out_again(pair: Pair) -> None:
    pair.deliver()
    pair.store.instances.clear()
    pair.owing.prove(pair.address)
    assert pair.rows() == [(DeliveryStatus.SENT, Proof.ANSWERED)] * 2  # it may only be slow to list them
    pair.node.clock.pass_by(hours=25)
    pair.owing.prove(pair.address)
    assert {status for status, _ in pair.rows()} == {DeliveryStatus.PENDING}
    pair.node.clock.pass_by(minutes=1)
    pair.deliver()
    pair.owing.prove(pair.address)
    assert pair.rows() == [(DeliveryStatus.COMMITTED, Proof.READ_BACK)] * 2


def test_a_server_without_queries_is_believed(pair: Pair) -> None:
    pair.deliver()
    pair.server.faults.append(answers(501))
    pair.owing.prove(pair.address)
    assert pair.rows() == [(DeliveryStatus.SENT, Proof.ANSWERED)] * 2
    assert pair.owing.commitments() == [] or all(c.destination != pair.address for c in pair.owing.commitments())


def test_no_proof_is_asked_for_where_the_site_wants_none(node: Node) -> None:
    with dicomweb_server() as (server, store):
        pair = Pair(node, server, store, commitment="off")
        pair.deliver()
        assert [d.commitment_id for d in pair.deliveries()] == [None, None]


def test_one_refused_object_does_not_hold_up_the_other(pair: Pair) -> None:
    pair.store.refusing[REPORT] = 0xA900
    assert pair.deliver() == 1
    refused = next(d for d in pair.deliveries() if d.result_object.kind == "SR")
    assert (refused.status, refused.attempts[-1].dicom_status) == (DeliveryStatus.PENDING, 0xA900)
    for _ in range(2):
        pair.later()
    refused = next(d for d in pair.deliveries() if d.result_object.kind == "SR")
    assert refused.status is DeliveryStatus.DEAD
    assert "0xa900" in refused.reason


def test_a_server_that_is_away_costs_one_request_per_batch(pair: Pair) -> None:
    pair.server.faults.append(answers(503))
    assert pair.deliver() == 0
    assert [a.error for d in pair.deliveries() for a in d.attempts] == [
        f"127.0.0.1:{pair.server.port} answers HTTP 503."
    ] * 2
    assert pair.server.requests == []
    assert pair.later() == 2


def test_a_silent_server_is_tried_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "PATIENCE", Patience(connect=1, silence=0.2, exchange=1))
    pair.server.faults.append(is_silent)
    assert pair.deliver() == 0
    assert {d.status for d in pair.deliveries()} == {DeliveryStatus.PENDING}
    assert pair.later() == 2


def test_a_sign_in_page_is_no_delivery(pair: Pair) -> None:
    pair.server.faults += [answers(200, b"<html/>", "text/html")] * 4
    assert pair.deliver() == 0
    assert all("text/html" in d.reason for d in pair.deliveries())


def test_a_garbled_answer_to_the_question_is_no_proof(pair: Pair) -> None:
    pair.deliver()
    pair.server.faults.append(answers(200, b"[{", DICOM_JSON))
    pair.owing.prove(pair.address)
    assert pair.rows() == [(DeliveryStatus.SENT, Proof.ANSWERED)] * 2


def test_token_and_authority_come_from_files(node: Node, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("abc.def\n")
    with dicomweb_server(identity=authority.issue("localhost")) as (server, _):
        address = f"dicomweb+https://127.0.0.1:{server.port}/dicom-web"
        options = {"address": address, "token_file": token, "trusted_file": authority.file}
        settings, now = node.bench.settings, node.clock()
        assert dicomweb.check(settings, Destination.model_validate(options), now).ok
        assert server.requests[-1].headers["authorization"] == "Bearer abc.def"
        stranger = Destination.model_validate({**options, "trusted_file": Authority(tmp_path / "other").file})
        assert "not trusted" in dicomweb.check(settings, stranger, now).message
        token.chmod(0o644)
        with pytest.raises(SettingsError, match="everybody can use it"):
            dicomweb.check(settings, Destination.model_validate(options), now)


def test_the_doctor_is_told_what_to_correct(pair: Pair) -> None:
    destination = pair.node.bench.settings.destinations[0]
    pair.server.faults.append(answers(401))
    found = dicomweb.check(pair.node.bench.settings, destination, pair.node.clock())
    assert (found.ok, "token_file" in found.message) == (False, True)
