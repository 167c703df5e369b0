"""FHIR R4 over HTTP: one transaction per result, and what the server's answer means for the delivery."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from dicom_node.http_peer import HttpAnswer, HttpPeer, HttpTlsError
from triage.errors import DeliveryError
from triage.outbox import Verdict, judge_http, said_http
from triage.peers import Destination
from triage.repositories.deliveries import Attempt
from triage.settings import Settings
from triage.tables import Delivery
from workers.carriers.message_carrier import MessageCarrier, Told, identity_of
from workers.carriers.protocol import CarrierKind, Checked
from workers.carriers.web import CHECKING, PATIENCE, base_path, later, peer_of
from workers.messages.masking import masked

if TYPE_CHECKING:
    from workers.workbench import Workbench

FHIR_JSON: Final = "application/fhir+json"
CONFLICTS: Final = 3
"""Tries at once while the server answers 409: somebody else was writing the same resource."""
DUPLICATES: Final = (
    "The server holds several resources under one of our identifiers. Remove all but one there, or set "
    'fhir.update = "assigned".'
)
_CODE: Final = re.compile(r"[a-z-]{1,40}")


class FhirCarrier(MessageCarrier):
    """Sends transactions over one connection.

    Raises
    ------
    SettingsError
        A file with a token, a password or certificates cannot be used.
    """

    def __init__(self, bench: Workbench, destination: Destination, _batch: Sequence[Delivery]) -> None:
        super().__init__(bench)
        self._http = peer_of(bench.settings, destination, PATIENCE)
        self._path = base_path(destination)

    def close(self) -> None:
        self._http.close()

    def tell(self, delivery: Delivery, content: bytes) -> Told:
        headers = {"Content-Type": FHIR_JSON, "Accept": FHIR_JSON, "Prefer": "return=minimal"}  # R4 http.html#ops
        try:
            answer = self._http.exchange("POST", self._path, headers=headers, body=content)
            for _ in range(CONFLICTS - 1):
                if answer.status != 409:
                    break
                answer = self._http.exchange("POST", self._path, headers=headers, body=content)
        except DeliveryError as error:
            verdict = Verdict.UNWELCOME if isinstance(error, HttpTlsError) else Verdict.TRANSIENT
            return Told(attempt=Attempt(verdict=verdict, error=error.advice()), answered=False)
        attempt = judged(self._http.where, answer, content, identity_of(delivery), self._bench.clock())
        return Told(attempt=attempt, answered=answer.status not in (429, 503))


def judged(where: str, answer: HttpAnswer, sent: bytes, identity: Sequence[str], now: datetime) -> Attempt:
    """What a server's answer to a transaction means for the delivery."""
    status = answer.status
    if 200 <= status < 300:
        problem = _unconfirmed(answer, len(json.loads(sent)["entry"]))
        if not problem:
            return Attempt(verdict=Verdict.DELIVERED)
        return Attempt(
            verdict=Verdict.UNWELCOME,
            error=f"{where} answers HTTP {status}, but {problem}. Check that its address is the base of a FHIR server.",
        )
    verdict = Verdict.TRANSIENT if status == 409 else judge_http(status)
    advice = DUPLICATES if status == 412 else ""
    outcome = masked("; ".join(_issues(answer)), identity)
    said = " ".join(filter(None, (said_http(where, status), advice, outcome)))
    return Attempt(verdict=verdict, error=said, retry_after=later(answer, now))


def _unconfirmed(answer: HttpAnswer, entries: int) -> str:
    """Why a success is none; "" where each entry is confirmed (R4 http.html#trules)."""
    body = _json(answer)
    if body is None or body.get("resourceType") != "Bundle" or body.get("type") != "transaction-response":
        return "what it answers is no transaction response"
    confirmed = body.get("entry")
    states = [_status_of(entry) for entry in confirmed] if isinstance(confirmed, list) else []
    if len(states) != entries or not all(state.startswith("2") for state in states):
        return "it does not confirm every resource"
    return ""


def _status_of(entry: Any) -> str:
    response = entry.get("response") if isinstance(entry, dict) else None
    return str(response.get("status", "")) if isinstance(response, dict) else ""


def _issues(answer: HttpAnswer) -> Iterator[str]:
    """What an OperationOutcome says, issue by issue."""
    body = _json(answer)
    issues = body.get("issue") if body is not None and body.get("resourceType") == "OperationOutcome" else None
    for issue in issues if isinstance(issues, list) else ():
        if not isinstance(issue, dict):
            continue
        code, details = str(issue.get("code", "")), issue.get("details")
        text = details.get("text") if isinstance(details, dict) else None
        said = next((each for each in (issue.get("diagnostics"), text) if isinstance(each, str) and each), "")
        yield ": ".join(filter(None, (code if _CODE.fullmatch(code) else "", said)))


def _json(answer: HttpAnswer) -> dict[str, Any] | None:
    if answer.media_type not in (FHIR_JSON, "application/json"):
        return None
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def check(settings: Settings, destination: Destination, now: datetime) -> Checked:  # noqa: ARG001 - as for every kind
    """Ask for the CapabilityStatement and whether it is R4's."""
    with peer_of(settings, destination, CHECKING) as http:
        return _checked(http)


def _checked(http: HttpPeer) -> Checked:
    try:
        answer = http.exchange("GET", "/metadata", headers={"Accept": FHIR_JSON})
    except DeliveryError as error:
        return Checked(ok=False, message=str(error), next_step=error.next_step)
    body = _json(answer)
    if answer.status != 200 or body is None or body.get("resourceType") != "CapabilityStatement":
        text = said_http(http.where, answer.status) if answer.status != 200 else f"{http.where} is no FHIR server."
        return Checked(ok=False, message=text, next_step="Give the base URL of a FHIR R4 server.")
    version = str(body.get("fhirVersion", ""))[:10]
    if not version.startswith("4.0"):
        advice = "Give the base URL of its R4 endpoint."
        return Checked(ok=False, message=f"speaks FHIR {version or '?'}, and we speak R4 (4.0)", next_step=advice)
    return Checked(ok=True, message=f"answers as a FHIR {version} server")


KIND = CarrierKind(open=FhirCarrier, check=check)
