"""Each kind of receiver that speaks HTTP, with each fault: said, tried again, and one of each there in the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from node_under_test import Node
from owed_messages import owe, try_again
from owing import Debtor, to
from peers import web_server as web
from peers.certificates import Authority, Identity
from peers.fhir_server import FhirServer
from peers.ups_server import WorkitemManager
from peers.web_server import Answer, Fault, Request, web_server

from dicom_node.http_peer import Patience
from triage.outbox import BUDGET, Verdict
from triage.repositories import deliveries
from triage.states import DeliveryStatus
from triage.tables import Delivery
from workers.carriers import fhir, orthanc_label, ups, webhook

PENDING, SENT, DEAD = DeliveryStatus.PENDING, DeliveryStatus.SENT, DeliveryStatus.DEAD
KINDS = ("fhir", "webhook", "ups", "orthanc")


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is silent for a moment is silent."""
    for carrier in (fhir, ups, webhook):
        monkeypatch.setattr(carrier, "PATIENCE", Patience(connect=1.0, silence=0.5, exchange=0.5))
    monkeypatch.setattr(orthanc_label, "PATIENCE", 0.5)


@dataclass
class FarSide:
    """A receiver that can be away, what it holds, and a node that owes it a message."""

    owing: Debtor
    address: str
    port: int
    job: Callable[[Request], Answer]
    held: Callable[[], list[object]]
    identity: Identity | None = None

    def meet(self, fault: Fault | None = None, *, tries: int = 1) -> Delivery:
        """What became of the delivery after tries at a receiver that does this instead of its job."""
        with web_server(self.job, port=self.port, identity=self.identity) as server:
            for _ in range(tries):
                server.faults = [fault] * 6 if fault else []
                try_again(self.owing, self.address)
        (delivery,) = self.owing.deliveries()
        return delivery

    def resend(self) -> None:
        """As the button of the page does."""
        bench = self.owing.node.bench
        with bench.database.write() as session:
            for delivery in self.owing.deliveries():
                deliveries.resend(session, session.merge(delivery), at=bench.clock(), who="dr", confirmed=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def far(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> FarSide:
    with web_server(lambda _: Answer(200)) as found:
        port = found.port
    options: dict[str, Any] = {}
    held: Callable[[], list[object]]
    if request.param == "fhir":
        ehr = FhirServer()
        job, path, held = ehr.answer, "/fhir", lambda: ehr.of("DiagnosticReport")
    elif request.param == "ups":
        manager = WorkitemManager()
        job, path, held = manager.serve, "/ups", lambda: list(manager.workitems)
    elif request.param == "orthanc":
        labels: list[object] = []
        job, path, held = _orthanc(labels), "", lambda: labels
    else:
        bodies: dict[str, bytes] = {}
        job, path, held = _hook(bodies), "/hook", lambda: list(bodies)
        key = tmp_path / "key"
        key.write_text("k" * 32)
        key.chmod(0o600)
        options = {"secret_file": key}
    address = f"{request.param}+http://127.0.0.1:{port}{path}"
    owing = Debtor(node, destinations=to(address, **options))
    owe(owing)
    return FarSide(owing, address, port, job, held)


def _hook(bodies: dict[str, bytes]) -> Callable[[Request], Answer]:
    def job(request: Request) -> Answer:
        bodies[request.headers["webhook-id"]] = request.body  # what it has seen before it knows
        return Answer(204)

    return job


def _orthanc(labels: list[object]) -> Callable[[Request], Answer]:
    def job(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(200, json.dumps([{"ID": "x", "Type": "Study"}]).encode(), "application/json")
        if request.method == "PUT":
            labels.append(request.path.rpartition("/")[2])
        return Answer(200, json.dumps(labels).encode(), "application/json")

    return job


each_kind = pytest.mark.parametrize("far", KINDS, indirect=True)


@each_kind
def test_what_may_pass_is_tried_again_until_it_has_passed(far: FarSide) -> None:
    try_again(far.owing, far.address)
    assert "be reached" in said(far)
    for fault, words in (
        (web.is_silent, "in time"),
        (web.half_closes, "broke off"),
        (web.hangs_up, "without an answer"),
        (web.says(b"220 ready\r\n"), "not HTTP"),
        (web.answers(500), "HTTP 500"),
        (web.answers(503), "HTTP 503"),
        (web.answers(429), "HTTP 429"),
    ):
        far.meet(fault)
        found = said(far)
        assert (words if "orthanc" not in far.address else "Orthanc at") in found
    assert far.meet(web.answers(500), tries=BUDGET[Verdict.UNWELCOME] + 1).status is PENDING
    assert far.held() == []
    assert far.meet(web.is_unheard).status is PENDING  # done there, unheard here
    assert far.meet().status is SENT
    assert len(far.held()) == 1


def said(far: FarSide) -> str:
    """Why the delivery is still owed."""
    (delivery,) = far.owing.deliveries()
    assert delivery.status is PENDING
    return delivery.reason


@each_kind
def test_what_a_setting_has_to_change_is_tried_ten_times_and_one_click_sends_it_again(far: FarSide) -> None:
    for fault in (
        web.answers(401),
        web.answers(404),
        web.answers(302, b"", "", Location="http://127.0.0.1:9/"),
    ):
        assert far.meet(fault, tries=BUDGET[Verdict.UNWELCOME] - 1).status is PENDING
        found = far.meet(fault)
        assert found.status is DEAD and found.reason
        far.resend()
    assert far.held() == []
    assert far.meet().status is SENT
    assert len(far.held()) == 1


@each_kind
def test_over_tls_nothing_is_said_to_who_is_not_trusted(far: FarSide, authority: Authority) -> None:
    bench = far.owing.node.bench
    far.identity = authority.issue("localhost")
    (plain,) = bench.settings.destinations
    secret = {"secret_file": plain.secret_file} if plain.secret_file else {}
    old, far.address = far.address, far.address.replace("+http://127.0.0.1", "+https://localhost")
    with bench.database.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.destination == old).values(destination=far.address))
    far.owing.configure(destinations=to(far.address, **secret))
    found = far.meet()
    assert found.status is PENDING and "certificate" in found.reason.lower()
    assert far.held() == []
    far.owing.configure(destinations=to(far.address, trusted_file=authority.file, **secret))
    assert far.meet().status is SENT
