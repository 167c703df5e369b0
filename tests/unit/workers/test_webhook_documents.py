"""The webhook document against its published schema, and its signature as a receiver checks it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from message_cases import saying, statement

from triage.findings import Laterality
from triage.message_options import WebhookOptions
from workers.messages.webhook import build_document, signed_headers

AT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def read(**options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build_document(statement(), WebhookOptions(**options)))
    return found


def test_the_document_says_what_the_result_says() -> None:
    document = read()
    assert document["urgency"] == "STAT"
    assert [f["key"] for f in document["findings"]] == ["pneumothorax", "pleural_effusion"]
    assert document["findings"][0]["probability"] == 0.94
    assert document["findings"][0]["sop_instance_uid"] == "1.2.3.4.5"
    assert document["images_not_analysed"] == [{"sop_instance_uid": "1.2.3.4.7", "reason": "no model for this view"}]
    assert document["patient"]["name"] == "Dr. Jörg Müller jr"
    assert build_document(statement(), WebhookOptions()) == build_document(statement(), WebhookOptions())


def test_the_side_is_a_letter_or_null() -> None:
    sided = json.loads(build_document(statement(result=saying(laterality=Laterality.LEFT)), WebhookOptions()))
    assert [f["laterality"] for f in sided["findings"] + read()["findings"]] == ["L", None, None]


def test_a_receiver_that_must_not_know_the_patient_is_not_told() -> None:
    document = build_document(statement(), WebhookOptions(patient=False)).decode()
    assert not any(word in document for word in ("Müller", "P-1", "19500102", "Thorax"))
    assert json.loads(document)["accession_number"] == "A-1"


def test_each_set_of_options_and_each_revision_has_its_identifier() -> None:
    later = json.loads(build_document(statement(revision=2, predecessor_uid="2.25.9"), WebhookOptions()))
    assert len({read()["id"], read(patient=False)["id"], later["id"]}) == 3
    assert later["replaces_report_uid"] == "2.25.9"


def test_the_signature_covers_identifier_time_and_bytes() -> None:
    body, secret = build_document(statement(), WebhookOptions()), b"s" * 32
    headers = signed_headers("msg_1", body, secret, AT)
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    for other in (
        signed_headers("msg_2", body, secret, AT),
        signed_headers("msg_1", body + b" ", secret, AT),
        signed_headers("msg_1", body, b"t" * 32, AT),
        signed_headers("msg_1", body, secret, datetime(2026, 11, 28, 12, 1, tzinfo=UTC)),
    ):
        assert other["webhook-signature"] != headers["webhook-signature"]


def test_a_published_vector_of_standard_webhooks() -> None:
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, tz=UTC)
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', secret, at)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("options", [{}, {"patient": False}])
def test_the_document_has_the_members_of_its_version(options: dict[str, bool]) -> None:
    members = set(read(**options))
    assert members - {"patient", "study"} == {
        "type", "schema_version", "id", "timestamp", "study_instance_uid", "accession_number", "modality", "urgency",
        "status", "revision", "replaces_report_uid", "report_uid", "algorithm", "summary", "notice", "findings",
        "images_analysed", "images_not_analysed",
    }  # fmt: skip
