"""The result as a JSON document for whoever has neither HL7 nor FHIR, and its signature as Standard Webhooks has it.

The document is frozen when the result is made. The signature is made anew at each sending: it covers the identifier,
the time of sending and the bytes, so that a receiver can refuse what is old or altered.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from triage.findings import Code, ScoreKind
from triage.message_options import WebhookOptions
from workers.messages.fhir import display_name
from workers.messages.statement import Leading, Statement

KIND: Final = "WEBHOOK"
SCHEMA_VERSION: Final = 1
"""Rises when a member goes or changes its meaning; new members come without a new number."""
EVENT: Final = "study.analysed"


def build_document(statement: Statement, options: WebhookOptions) -> bytes:
    """The document as UTF-8 JSON (docs/messages.md has its schema). The same arguments give the same bytes."""
    study, algorithm = statement.study, statement.result.algorithm
    document: dict[str, Any] = {
        "type": EVENT,
        "schema_version": SCHEMA_VERSION,
        "id": webhook_id(statement.message_uid(KIND, options.variant())),
        "timestamp": statement.created_at.isoformat(timespec="milliseconds"),
        "study_instance_uid": study.study_instance_uid,
        "accession_number": study.accession_number,
        "modality": study.modality,
        "urgency": statement.urgency.value,
        "status": "preliminary",
        "revision": statement.revision,
        "replaces_report_uid": statement.predecessor_uid or None,
        "report_uid": statement.report_uid,
        "algorithm": {
            "name": algorithm.name,
            "version": algorithm.version,
            "manufacturer": algorithm.manufacturer,
            "research": algorithm.research,
            "device_uid": statement.device_uid,
        },
        "summary": statement.summary,
        "notice": statement.notice,
        "findings": [_finding(leading) for leading in statement.leading],
        "images_analysed": len(statement.result.images),
        "images_not_analysed": [
            {"sop_instance_uid": each.sop_instance_uid, "reason": each.sentence}
            for each in statement.result.not_analysed
        ],
    }
    if options.patient:
        document["patient"] = {
            "id": study.patient_id,
            "issuer_of_id": study.issuer_of_patient_id,
            "name": display_name(study.patient_name),
            "birth_date": study.patient_birth_date,
            "sex": study.patient_sex,
        }
        document["study"] = {
            "description": study.study_description,
            "date": study.study_date,
            "time": study.study_time,
            "study_id": study.study_id,
            "body_part": study.body_part,
        }
    return json.dumps(document, ensure_ascii=False).encode("utf-8", errors="replace")


def webhook_id(message_uid: str) -> str:
    """The identifier of a document: the same at every sending, so that a receiver knows a repetition."""
    return f"msg_{hashlib.sha256(message_uid.encode('ascii')).hexdigest()[:32]}"


def signed_headers(identifier: str, body: bytes, secret: bytes, at: datetime) -> Mapping[str, str]:
    """``webhook-id``, ``webhook-timestamp`` and ``webhook-signature`` (Standard Webhooks, symmetric, v1)."""
    stamp = str(int(at.timestamp()))
    signature = hmac.new(secret, f"{identifier}.{stamp}.".encode("ascii") + body, hashlib.sha256).digest()
    return {
        "webhook-id": identifier,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode('ascii')}",
    }


def _finding(leading: Leading) -> dict[str, Any]:
    finding, score = leading.finding, leading.finding.score
    return {
        "key": finding.key,
        "code": _code(finding.code),
        "site": _code(finding.site) if finding.site else None,
        "laterality": finding.laterality.value if finding.laterality else None,
        "probability": None if score.kind is ScoreKind.OPERATING_POINT else score.value,
        "score": score.value,
        "score_kind": score.kind.value,
        "threshold": score.threshold,
        "positive": finding.positive,
        "urgency": finding.urgency.value,
        "sop_instance_uid": leading.sop_instance_uid,
    }


def _code(code: Code) -> dict[str, str]:
    return {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}
