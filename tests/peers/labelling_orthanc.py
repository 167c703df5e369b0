"""The routes of Orthanc 1.12 that labels need, for machines whose Orthanc is older and has none of them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class LabellingOrthanc:
    """Studies by UID with their labels; ``identifiers`` turns a UID into Orthanc's own name for it.

    Attributes
    ----------
    log : list of str
        Requests that changed something, in order.
    """

    url: str
    user: str
    password: str
    studies: dict[str, set[str]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    @staticmethod
    def identifier(study_uid: str) -> str:
        return f"id-of-{study_uid}"


@contextmanager
def labelling_orthanc(user: str, password: str) -> Iterator[LabellingOrthanc]:
    """One on a free port of loopback."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    here = LabellingOrthanc("", user, password)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing: the test speaks."""

        def answer(self, status: int, body: object = None) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            if self.headers.get("Authorization") != expected:
                self.answer(401)
                return
            parts = self.path.strip("/").split("/")
            if self.path == "/system":
                self.answer(200, {"Name": "STAND-IN", "Version": "1.12.4"})
            elif self.path == "/tools/lookup":
                found = [{"ID": here.identifier(body), "Type": "Study"}] if body in here.studies else []
                self.answer(200, found)
            elif parts[0] == "studies" and parts[2:3] == ["labels"]:
                self.labels(parts)
            else:
                self.answer(404)

        def labels(self, parts: list[str]) -> None:
            labels = here.studies.get(parts[1].removeprefix("id-of-"))
            if labels is None:
                self.answer(404)
            elif self.command == "GET":
                self.answer(200, sorted(labels))
            else:
                here.log.append(f"{self.command} {parts[3]}")
                (labels.add if self.command == "PUT" else labels.discard)(parts[3])
                self.answer(200)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - http.server's names

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield here
        finally:
            server.shutdown()
            thread.join()
