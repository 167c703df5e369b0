"""Messages through the real outbox to real receivers: each once, each attempt on record, dead when nothing helps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from message_cases import statement
from node_under_test import Node
from owed_messages import owe, statuses, try_again
from owing import Debtor, to
from peers import fhir_server as fhir_peer
from peers import mllp_server as mllp_peer
from peers import web_server as web
from peers.fhir_server import FhirServer, fhir_server
from peers.mllp_server import MllpServer, mllp_server
from peers.web_server import Answer, WebServer, web_server

from dicom_node import http_peer
from triage import tables
from triage.outbox import BUDGET, Verdict
from triage.peers import Destination
from triage.profiles import MessageKind
from triage.states import DeliveryStatus
from workers.carriers import fhir, message_carrier, mllp, webhook
from workers.carriers.mllp_link import Patience
from workers.carriers.web import later
from workers.messages.fhir import build_bundle
from workers.messages.webhook import webhook_id

PENDING, SENT, DEAD = DeliveryStatus.PENDING, DeliveryStatus.SENT, DeliveryStatus.DEAD
KEY = "k" * 32


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is silent for a moment is silent."""
    monkeypatch.setattr(mllp, "PATIENCE", Patience(connect=1.0, exchange=0.5))
    brief = http_peer.Patience(connect=1.0, silence=0.5, exchange=0.5)
    monkeypatch.setattr(fhir, "PATIENCE", brief)
    monkeypatch.setattr(webhook, "PATIENCE", brief)


@pytest.fixture
def receiver() -> Iterator[MllpServer]:
    with mllp_server() as server:
        yield server


@pytest.fixture
def server() -> Iterator[FhirServer]:
    with fhir_server() as running:
        yield running


# --- HL7 -------------------------------------------------------------------------------------------------------------


def test_a_message_is_acknowledged_and_delivered_as_it_was_written(node: Node, receiver: MllpServer) -> None:
    owing = Debtor(node, destinations=to(receiver.address, hl7={"receiving_application": "RIS"}))
    owe(owing)
    assert owing.deliver(receiver.address) == 1
    (delivery,) = owing.deliveries()
    assert (delivery.status, delivery.attempt_count) == (SENT, 1)
    path: Path = node.bench.settings.results / delivery.result_object.relative_path
    assert receiver.received == [path.read_bytes()]
    assert owing.deliver(receiver.address) == 0


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (mllp_peer.hangs_up, "closed the connection"),
        (mllp_peer.half_closes, "broke off"),
        (mllp_peer.is_silent, "in time"),
    ],
)
def test_a_receiver_in_trouble_gets_the_same_message_later(
    node: Node, receiver: MllpServer, fault: mllp_peer.Fault, says: str
) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    owe(owing)
    receiver.faults = [fault]
    assert owing.deliver(receiver.address) == 0
    (delivery,) = owing.deliveries()
    assert delivery.status is PENDING and says in delivery.reason
    assert try_again(owing, receiver.address) == 1
    assert len(set(receiver.received)) == 1 and len(receiver.received) == 2


@pytest.mark.parametrize(
    ("code", "reason", "verdict"),
    [
        (b"AE", b"", Verdict.UNWELCOME),
        (b"AE", b"204", Verdict.UNWELCOME),  # the patient is not known yet
        (b"AR", b"", Verdict.UNWELCOME),  # v2.5.1 2.9.2.2: the receiver may be down
        (b"AR", b"203", Verdict.REFUSED),
        (b"CR", b"200", Verdict.REFUSED),
    ],
)
def test_errors_are_tried_for_a_while_and_rejections_of_the_message_less(
    node: Node, receiver: MllpServer, code: bytes, reason: bytes, verdict: Verdict
) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    owe(owing)
    receiver.faults = [mllp_peer.answers(code, reason=reason)] * BUDGET[verdict]
    for number in range(BUDGET[verdict]):
        assert statuses(owing) == [PENDING], number
        try_again(owing, receiver.address)
    assert statuses(owing) == [DEAD]
    assert code.decode() in owing.deliveries()[0].reason
    assert len(receiver.received) == BUDGET[verdict]


@pytest.mark.parametrize(("code", "reason"), [(b"AR", b"207"), (b"AE", b"206")])
def test_a_receiver_that_says_it_is_down_is_waited_for(
    node: Node, receiver: MllpServer, code: bytes, reason: bytes
) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    owe(owing)
    tries = BUDGET[Verdict.UNWELCOME] + 1
    receiver.faults = [mllp_peer.answers(code, reason=reason)] * tries
    for _ in range(tries):
        try_again(owing, receiver.address)
    assert statuses(owing) == [PENDING]
    assert f"{code.decode()} {reason.decode()}" in owing.deliveries()[0].reason
    assert try_again(owing, receiver.address) == 1


def test_what_a_receiver_repeats_of_the_patient_is_kept_nowhere(node: Node, receiver: MllpServer) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    owe(owing)
    name, number = str(owing.source.PatientName), str(owing.source.PatientID)
    receiver.faults = [mllp_peer.answers(b"AE", text=f"unknown patient {name} {number}".encode())]
    owing.deliver(receiver.address)
    (delivery,) = owing.deliveries()
    assert "unknown patient" in delivery.reason
    assert name not in delivery.reason and number not in delivery.reason


def test_an_acknowledgement_of_another_message_delivers_nothing(node: Node, receiver: MllpServer) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    owe(owing)
    receiver.faults = [mllp_peer.answers(control_id=b"OTHER")]
    assert owing.deliver(receiver.address) == 0
    assert "another message" in owing.deliveries()[0].reason
    assert try_again(owing, receiver.address) == 1


def test_nobody_there_costs_two_tries_for_a_whole_batch(node: Node, receiver: MllpServer) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    for number in range(5):
        owe(owing, study=f"1.2.{number}")
    receiver.faults = [mllp_peer.is_silent, mllp_peer.is_silent]
    assert owing.deliver(receiver.address) == 0
    assert len(receiver.received) == message_carrier.SILENCES
    assert {d.attempt_count for d in owing.deliveries()} == {1}
    assert try_again(owing, receiver.address) == 5


def test_one_message_that_is_choked_on_holds_up_no_other(node: Node, receiver: MllpServer) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    for number in range(3):
        owe(owing, study=f"1.2.{number}")
    receiver.faults = [mllp_peer.is_silent]
    assert owing.deliver(receiver.address) == 2
    assert statuses(owing) == [PENDING, SENT, SENT]


def test_an_older_result_never_undoes_a_newer_one(node: Node, receiver: MllpServer) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    owe(owing)
    receiver.faults = [mllp_peer.is_silent]
    owing.deliver(receiver.address)
    owe(owing, revision=2)
    assert owing.deliver(receiver.address) == 1
    try_again(owing, receiver.address)
    first, second = owing.deliveries()
    assert (first.status, second.status) == (DEAD, SENT)
    assert "newer result" in first.reason
    assert len(receiver.received) == 2


def test_a_message_of_another_identity_waits_for_a_person(node: Node, receiver: MllpServer) -> None:
    owing = Debtor(node, destinations=to(receiver.address))
    owe(owing)
    with node.bench.database.write() as session:
        session.execute(sa.update(tables.Study).values(patient_id="OTHER-1"))
    assert owing.deliver(receiver.address) == 0
    (held,) = owing.deliveries()
    assert held.status is DEAD and "patient_id" in held.reason
    assert receiver.received == []


# --- FHIR ------------------------------------------------------------------------------------------------------------


def test_a_transaction_is_sent_and_a_revision_becomes_the_next_version(node: Node, server: FhirServer) -> None:
    owing = Debtor(node, destinations=to(server.address))
    owe(owing)
    assert owing.deliver(server.address) == 1
    (report,) = server.of("DiagnosticReport")
    assert report["status"] == "preliminary"
    assert len(server.of("Observation")) == 2
    assert server.web.requests[-1].headers["prefer"] == "return=minimal"  # a long series would answer with megabytes
    owe(owing, revision=2)
    assert owing.deliver(server.address) == 1
    (report,) = server.of("DiagnosticReport")
    assert report["status"] == "amended"
    assert {len(versions) for versions in server.held.values()} == {1, 2}  # the device stays as it is


def test_a_transaction_that_is_sent_twice_leaves_one_of_each(node: Node, server: FhirServer) -> None:
    owing = Debtor(node, destinations=to(server.address))
    owe(owing)
    server.web.faults = [web.is_unheard]
    assert owing.deliver(server.address) == 0
    assert try_again(owing, server.address) == 1
    assert {len(versions) for versions in server.held.values()} == {1}


def test_a_conflict_is_settled_at_once(node: Node, server: FhirServer) -> None:
    owing = Debtor(node, destinations=to(server.address))
    owe(owing)
    server.web.faults = [fhir_peer.refuses(409, "conflict", "version"), fhir_peer.refuses(409, "conflict", "version")]
    assert owing.deliver(server.address) == 1
    assert owing.deliveries()[0].attempt_count == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (fhir_peer.refuses(500, "exception", "database"), "HTTP 500"),
        (web.is_silent, "in time"),
        (web.half_closes, "broke off"),
    ],
)
def test_a_server_in_trouble_is_asked_again(node: Node, server: FhirServer, fault: web.Fault, says: str) -> None:
    owing = Debtor(node, destinations=to(server.address))
    owe(owing)
    server.web.faults = [fault]
    assert owing.deliver(server.address) == 0
    (delivery,) = owing.deliveries()
    assert delivery.status is PENDING and says in delivery.reason
    assert try_again(owing, server.address) == 1


@pytest.mark.parametrize(
    ("fault", "budget", "says"),
    [
        (fhir_peer.refuses(422, "processing", "Bundle.entry[1] is wrong"), 3, "processing: Bundle.entry[1] is wrong"),
        (web.answers(200, b"<html>Sign in</html>", "text/html"), 10, "no transaction response"),
    ],
)
def test_what_will_not_change_is_given_up(
    node: Node, server: FhirServer, fault: web.Fault, budget: int, says: str
) -> None:
    owing = Debtor(node, destinations=to(server.address))
    owe(owing)
    server.web.faults = [fault] * budget
    for _ in range(budget):
        assert statuses(owing) == [PENDING]
        try_again(owing, server.address)
    assert statuses(owing) == [DEAD]
    assert says in owing.deliveries()[0].reason
    assert server.held == {}


@pytest.mark.parametrize(
    ("status", "body", "media_type", "verdict", "says"),
    [
        (200, b"{}", "application/fhir+json", Verdict.UNWELCOME, "no transaction response"),
        (200, b"[" * 100_000, "application/fhir+json", Verdict.UNWELCOME, "no transaction response"),
        (204, b"", "", Verdict.UNWELCOME, "no transaction response"),
        (
            200,
            b'{"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": "201"}}]}',
            "application/fhir+json",
            Verdict.UNWELCOME,
            "does not confirm every resource",
        ),
        (302, b"", "", Verdict.UNWELCOME, "not followed"),
        (
            400,
            b'{"resourceType": "OperationOutcome", "issue": [1, {"code": 2}]}',
            "application/json",
            Verdict.REFUSED,
            "",
        ),
        (403, b"<html>", "text/html", Verdict.UNWELCOME, "right to do this"),
        (409, b"", "", Verdict.TRANSIENT, "HTTP 409"),
        (412, b"", "", Verdict.REFUSED, "Remove all but one"),
        (500, b"", "", Verdict.TRANSIENT, "HTTP 500"),
    ],
)
def test_what_a_servers_answer_means(status: int, body: bytes, media_type: str, verdict: Verdict, says: str) -> None:
    answer = http_peer.HttpAnswer(status=status, content=body, headers={"content-type": media_type})
    sent = build_bundle(statement(), to("fhir+http://localhost")[0].fhir)
    attempt = fhir.judged("server:80", answer, sent, (), statement().created_at)
    assert attempt.verdict is verdict and says in attempt.error


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1200", 1200),
        ("Sat, 28 Nov 2026 11:00:30 GMT", 30),
        ("Sat, 28 Nov 2020 11:00:00 GMT", 0),
        ("soon", None),
        ("", None),
    ],
)
def test_how_long_a_server_asks_to_be_left_alone(header: str, seconds: int | None) -> None:
    answer = http_peer.HttpAnswer(status=503, content=b"", headers={"retry-after": header})
    wanted = later(answer, datetime(2026, 11, 28, 11, 0, tzinfo=UTC))
    assert wanted == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(("header", "seconds"), [("1200", 1200), ("999999", 3600)])
def test_a_server_that_asks_for_time_gets_it_within_bounds(
    node: Node, server: FhirServer, header: str, seconds: int
) -> None:
    owing = Debtor(node, destinations=to(server.address))
    owe(owing)
    server.web.faults = [web.answers(503, b"", "", Retry_After=header)]
    owing.deliver(server.address)
    (delivery,) = owing.deliveries()
    assert delivery.not_before is not None
    assert (delivery.not_before - node.clock()).total_seconds() == seconds


def test_what_an_outcome_repeats_of_the_patient_is_kept_nowhere(node: Node, server: FhirServer) -> None:
    owing = Debtor(node, destinations=to(server.address))
    owe(owing)
    name = str(owing.source.PatientName)
    server.web.faults = [fhir_peer.refuses(422, "business-rule", f"Patient {name} is not known here")]
    owing.deliver(server.address)
    (delivery,) = owing.deliveries()
    assert "business-rule: Patient" in delivery.reason and name not in delivery.reason


def test_a_token_is_read_from_its_file_at_each_batch(node: Node, server: FhirServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wrong\n")
    token.chmod(0o600)
    server.token = "right"  # noqa: S105 - of this test
    owing = Debtor(node, destinations=to(server.address, token_file=token))
    owe(owing)
    assert owing.deliver(server.address) == 0
    assert "token_file" in owing.deliveries()[0].reason
    token.write_text("right\n")
    assert try_again(owing, server.address) == 1
    token.chmod(0o644)
    owe(owing, revision=2)
    assert owing.deliver(server.address) == 0
    assert "chmod 600" in owing.deliveries()[1].reason


# --- webhook ---------------------------------------------------------------------------------------------------------


def hook(web_: WebServer, tmp_path: Path, **options: object) -> tuple[Destination, ...]:
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    return to(f"webhook+http://127.0.0.1:{web_.port}/hook", secret_file=key, **options)


def test_a_document_is_posted_and_signed_at_each_try(node: Node, tmp_path: Path) -> None:
    with web_server(lambda _: Answer(204)) as running:
        owing = Debtor(node, destinations=hook(running, tmp_path))
        address = owing.node.bench.settings.destinations[0].address
        owe(owing)
        running.faults = [web.is_silent]
        assert owing.deliver(address) == 0
        assert try_again(owing, address) == 1
        (delivery,), (request,) = owing.deliveries(), running.requests
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["webhook-id"] == json.loads(request.body)["id"]
    assert request.headers["webhook-id"] == webhook_id(statement().message_uid(MessageKind.WEBHOOK))
    assert int(request.headers["webhook-timestamp"]) == int(node.clock().timestamp())
    expected = webhook.signed_headers(request.headers["webhook-id"], request.body, KEY.encode(), node.clock())
    assert request.headers["webhook-signature"] == expected["webhook-signature"]
    assert delivery.status is SENT and delivery.attempt_count == 2


@pytest.mark.parametrize(
    ("status", "budget", "says"), [(400, 10, "secret_file"), (410, 10, "path in its address"), (422, 3, "HTTP 422")]
)
def test_an_endpoint_that_refuses_is_given_up(node: Node, tmp_path: Path, status: int, budget: int, says: str) -> None:
    with web_server(lambda _: Answer(status)) as running:
        owing = Debtor(node, destinations=hook(running, tmp_path))
        address = owing.node.bench.settings.destinations[0].address
        owe(owing)
        for _ in range(budget):
            assert statuses(owing) == [PENDING]
            try_again(owing, address)
        assert statuses(owing) == [DEAD]
        assert says in owing.deliveries()[0].reason


@pytest.mark.parametrize(("key", "says"), [("short", "too short"), ("whsec_!!", "not base64"), ("", "no secret")])
def test_a_key_that_is_none_sends_nothing(node: Node, tmp_path: Path, key: str, says: str) -> None:
    with web_server(lambda _: Answer(204)) as running:
        owing = Debtor(node, destinations=hook(running, tmp_path))
        owe(owing)
        (tmp_path / "key").write_text(key)
        assert owing.deliver(owing.node.bench.settings.destinations[0].address) == 0
        assert says in owing.deliveries()[0].reason
        assert running.requests == []
