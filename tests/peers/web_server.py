"""A small HTTP server on loopback that does its job, or whatever else a test wants of the next requests."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from peers.certificates import Identity


@dataclass(frozen=True)
class Request:
    """What came in; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What goes out."""

    status: int
    body: bytes = b""
    media_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = http.server.BaseHTTPRequestHandler
Job = Callable[[Request], Answer]
Fault = Callable[["WebServer", Handler], None]
"""Instead of the job: does to a connection what it likes. The request's head is read, its body is not."""


@dataclass
class WebServer:
    """A running server.

    Attributes
    ----------
    faults : list of Fault
        Each is used up by one request, in order.
    requests : list of Request
        Those that reached the job.
    """

    job: Job
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends: what holds a connection open waits for it."""


def answers(status: int, body: bytes = b"", media_type: str = "", **headers: str) -> Fault:
    """The body is read, and the answer is this one."""

    def fault(server: WebServer, handler: Handler) -> None:
        body_of(handler)
        send(handler, Answer(status, body, media_type, {k.replace("_", "-"): v for k, v in headers.items()}))

    return fault


def says(raw: bytes) -> Fault:
    """The body is read, these very bytes go out, and the connection ends."""

    def fault(server: WebServer, handler: Handler) -> None:
        body_of(handler)
        handler.wfile.write(raw)
        handler.close_connection = True

    return fault


def is_silent(server: WebServer, handler: Handler) -> None:
    """The body is read, and nothing is answered for ever."""
    body_of(handler)
    server.over.wait()
    handler.close_connection = True


def drips(server: WebServer, handler: Handler) -> None:
    """One header line after the other, without end."""
    body_of(handler)
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while not server.over.wait(0.02):
        number += 1
        try:
            handler.wfile.write(b"X: %d\r\n" % (number % 7) if number % 50 else b"")
        except OSError:
            break
    handler.close_connection = True


def hangs_up(server: WebServer, handler: Handler) -> None:
    """The connection ends at once, the body unread."""
    handler.close_connection = True


def does_it(server: WebServer, handler: Handler) -> None:
    """No fault: the job is done, and its answer sent."""
    send(handler, _done(server, handler))


def is_unheard(server: WebServer, handler: Handler) -> None:
    """The job is done, and its answer never arrives: the connection ends."""
    _done(server, handler)
    handler.close_connection = True


def _done(server: WebServer, handler: Handler) -> Answer:
    headers = {name.lower(): value for name, value in handler.headers.items()}
    request = Request(handler.command, handler.path, headers, body_of(handler))
    server.requests.append(request)
    return server.job(request)


def half_closes(server: WebServer, handler: Handler) -> None:
    """Our side of the connection is closed in the middle of an answer; the other stays open."""
    body_of(handler)
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 500\r\n\r\n[{")
    handler.connection.shutdown(socket.SHUT_WR)
    handler.close_connection = True


def body_of(handler: Handler) -> bytes:
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


def send(handler: Handler, answer: Answer) -> None:
    handler.send_response(answer.status)
    headers = {**({"Content-Type": answer.media_type} if answer.media_type else {}), **answer.headers}
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(answer.body)))
    handler.end_headers()
    handler.wfile.write(answer.body)


@contextmanager
def web_server(job: Job, *, identity: Identity | None = None, port: int = 0) -> Iterator[WebServer]:
    """A server on a free port of loopback; with TLS when it has an identity."""
    state = WebServer(job)

    connections: set[socket.socket] = set()

    class Handling(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            connections.add(self.connection)

        def finish(self) -> None:
            connections.discard(self.connection)
            super().finish()

        def _handle(self) -> None:
            if state.faults:
                state.faults.pop(0)(state, self)
            else:
                does_it(state, self)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - names of http.server

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - signature of http.server
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = False  # their end is awaited

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that went away, or did not trust us

    server = Server(("127.0.0.1", port), Handling)
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    state.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.over.set()
        server.shutdown()
        for connection in list(connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
        thread.join()
