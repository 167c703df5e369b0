"""A small honest DICOMweb store: STOW-RS and QIDO-RS over what it was sent."""

from __future__ import annotations

import email.parser
import email.policy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
from pydicom.dataset import Dataset

from peers.certificates import Identity
from peers.web_server import Answer, Request, WebServer, web_server

DICOM_JSON = "application/dicom+json"


@dataclass
class DicomWebStore:
    """What the server holds.

    Attributes
    ----------
    instances : dict of str to Dataset
        By SOP Instance UID.
    refusing : dict of str to int
        SOP Class UIDs with the failure reason for them.
    warning : int
        Warning reason for all that is stored; 0 for none.
    """

    instances: dict[str, Dataset] = field(default_factory=dict)
    refusing: dict[str, int] = field(default_factory=dict)
    warning: int = 0

    def serve(self, request: Request) -> Answer:
        where = urlsplit(request.path)
        if request.method == "POST" and where.path == "/dicom-web/studies":
            return self._store(request)
        if request.method == "GET" and where.path.startswith("/dicom-web/studies"):
            return self._find(where.path.removeprefix("/dicom-web/"), parse_qs(where.query))
        return Answer(404)

    def _store(self, request: Request) -> Answer:
        stored, failed = [], []
        for part in parts(request):
            ds = pydicom.dcmread(BytesIO(part))
            item = {"00081150": _uid(ds.SOPClassUID), "00081155": _uid(ds.SOPInstanceUID)}
            reason = self.refusing.get(ds.SOPClassUID)
            if reason is not None:
                failed.append({**item, "00081197": {"vr": "US", "Value": [reason]}})
                continue
            self.instances[ds.SOPInstanceUID] = ds
            remark = {"00081196": {"vr": "US", "Value": [self.warning]}} if self.warning else {}
            stored.append({**item, **remark})
        status = 409 if failed and not stored else 202 if failed or self.warning else 200
        return _json(status, response(stored, failed))

    def _find(self, path: str, query: dict[str, list[str]]) -> Answer:
        levels = path.split("/")
        wanted = dict(zip(("StudyInstanceUID", "SeriesInstanceUID"), levels[1::2], strict=False))
        wanted |= {name: values[0] for name, values in query.items() if name.endswith("UID")}
        matches = [
            {"0020000D": _uid(ds.StudyInstanceUID), "00080018": _uid(ds.SOPInstanceUID)}
            for ds in self.instances.values()
            if all(ds.get(name) == value for name, value in wanted.items())
        ]
        return _json(200, matches) if matches else Answer(204)


def response(stored: list[dict[str, Any]], failed: list[dict[str, Any]]) -> dict[str, Any]:
    """A Store Instances Response (PS3.18 I.2)."""
    lists = {"00081199": stored, "00081198": failed}
    return {tag: {"vr": "SQ", "Value": items} for tag, items in lists.items() if items}


def parts(request: Request) -> list[bytes]:
    """The parts of a multipart/related request, as an ordinary MIME parser sees them."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/dicom"
    found = []
    for part in message.iter_parts():  # type: ignore[attr-defined]
        assert part.get_content_type() == "application/dicom"
        found.append(part.get_payload(decode=True))
    return found


def _json(status: int, content: object) -> Answer:
    return Answer(status, json.dumps(content).encode(), DICOM_JSON)


def _uid(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [str(value)]}


@contextmanager
def dicomweb_server(*, identity: Identity | None = None) -> Iterator[tuple[WebServer, DicomWebStore]]:
    """The server and its store; its base is ``/dicom-web``."""
    store = DicomWebStore()
    with web_server(store.serve, identity=identity) as server:
        yield server, store
