"""A small FHIR R4 server on loopback: transactions with conditional updates, versions, and faults as a test wants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from peers.certificates import Identity
from peers.web_server import Answer, Request, WebServer, answers, web_server

FHIR_JSON = "application/fhir+json"


@dataclass
class FhirServer:
    """A running server.

    Attributes
    ----------
    held : dict
        Resource type and identifier (or logical id) to its versions, oldest first.
    """

    web: WebServer = field(init=False)
    held: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    token: str = ""

    @property
    def address(self) -> str:
        return f"fhir+http://127.0.0.1:{self.web.port}/fhir"

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The current version of every resource of a type."""
        return [versions[-1] for name, versions in self.held.items() if name.startswith(f"{kind} ")]

    def answer(self, request: Request) -> Answer:
        path = urlsplit(request.path).path
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return outcome(401, "login", "who are you?")
        if request.method == "GET" and path == "/fhir/metadata":
            return _json(200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"})
        if request.method != "POST" or path != "/fhir":
            return outcome(404, "not-found", "no such thing")
        if request.headers.get("content-type") != FHIR_JSON:
            return outcome(415, "not-supported", "FHIR JSON, please")
        entries = json.loads(request.body)["entry"]
        done = [self._apply(entry) for entry in entries]
        return _json(200, {"resourceType": "Bundle", "type": "transaction-response", "entry": done})

    def _apply(self, entry: dict[str, Any]) -> dict[str, Any]:
        kind, wanted = entry["resource"]["resourceType"], entry["request"]
        url = wanted["url"]
        query = parse_qs(wanted.get("ifNoneExist") or urlsplit(url).query).get("identifier", [""])[0]
        name = f"{kind} {query or url.partition('/')[2]}"
        versions = self.held.setdefault(name, [])
        existed = bool(versions)
        if not (existed and wanted["method"] == "POST") and (not existed or versions[-1] != entry["resource"]):
            versions.append(entry["resource"])
        return {"response": {"status": "200 OK" if existed else "201 Created", "location": f"{kind}/1/_history/1"}}


def outcome(status: int, code: str, text: str) -> Answer:
    """An OperationOutcome."""
    issue = {"severity": "error", "code": code, "diagnostics": text}
    return _json(status, {"resourceType": "OperationOutcome", "issue": [issue]})


def refuses(status: int, code: str, text: str) -> Any:
    """A fault: this OperationOutcome instead of the job."""
    found = outcome(status, code, text)
    return answers(found.status, found.body, found.media_type)


@contextmanager
def fhir_server(*, identity: Identity | None = None) -> Iterator[FhirServer]:
    """A server on a free port of loopback; with TLS when it has an identity."""
    running = FhirServer()
    with web_server(running.answer, identity=identity) as running.web:
        yield running


def _json(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(body).encode(), FHIR_JSON)
