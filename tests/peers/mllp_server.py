"""A small HL7 v2 receiver on loopback that acknowledges what it is sent, or does something else as a test wants."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from peers.certificates import Identity

START, END = b"\x0b", b"\x1c\r"

Fault = Callable[["MllpServer", socket.socket, bytes], None]
"""Instead of acknowledging a message: does to the connection what it likes."""


@dataclass
class MllpServer:
    """A running receiver.

    Attributes
    ----------
    faults : list of Fault
        Each is used up by one message, in order.
    received : list of bytes
        Messages without their frames, in order, those that met a fault too.
    code : bytes
        MSA-1 of every acknowledgement.
    """

    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    code: bytes = b"AA"
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        return f"mllp://127.0.0.1:{self.port}"


def ack(
    message: bytes, code: bytes = b"AA", *, control_id: bytes | None = None, text: bytes = b"", reason: bytes = b""
) -> bytes:
    """A framed acknowledgement in original mode; ``reason`` is ERR-3."""
    own = message.split(b"\r", 1)[0].split(b"|")[9] if control_id is None else control_id
    segments = [b"MSH|^~\\&|RIS|HOSP|||20261128||ACK^R01^ACK|1|P|2.5.1", b"|".join((b"MSA", code, own, text))]
    if reason:
        segments.append(b"ERR|||" + reason + b"^why^HL70357|E")
    return START + b"\r".join((*segments, b"")) + END


def answers(code: bytes = b"AA", *, control_id: bytes | None = None, text: bytes = b"", reason: bytes = b"") -> Fault:
    """Another acknowledgement than the usual one."""

    def fault(server: MllpServer, connection: socket.socket, message: bytes) -> None:
        connection.sendall(ack(message, code, control_id=control_id, text=text, reason=reason))

    return fault


def says(raw: bytes, *, then_closes: bool = False) -> Fault:
    """These very bytes instead."""

    def fault(server: MllpServer, connection: socket.socket, message: bytes) -> None:
        connection.sendall(raw)
        if then_closes:
            connection.shutdown(socket.SHUT_RDWR)

    return fault


def is_silent(server: MllpServer, connection: socket.socket, message: bytes) -> None:
    """No word, for ever."""
    server.over.wait()


def drips(server: MllpServer, connection: socket.socket, message: bytes) -> None:
    """A byte of an acknowledgement now and then, without end."""
    connection.sendall(START)
    while not server.over.wait(0.02):
        try:
            connection.sendall(b"M")
        except OSError:
            return


def hangs_up(server: MllpServer, connection: socket.socket, message: bytes) -> None:
    """The connection ends."""
    connection.shutdown(socket.SHUT_RDWR)


def half_closes(server: MllpServer, connection: socket.socket, message: bytes) -> None:
    """The middle of an acknowledgement, then nothing more from this side."""
    connection.sendall(ack(message)[:30])
    connection.shutdown(socket.SHUT_WR)
    server.over.wait()


def floods(server: MllpServer, connection: socket.socket, message: bytes) -> None:
    """An acknowledgement of a mebibyte."""
    with suppress(OSError):
        connection.sendall(START + b"MSH|^~\\&|" + b"x" * 1024 * 1024)
    server.over.wait()


def acknowledges_twice(server: MllpServer, connection: socket.socket, message: bytes) -> None:
    """Enhanced mode: taken into custody, and then the application's word."""
    connection.sendall(ack(message, b"CA") + ack(message, b"AA"))


@contextmanager
def mllp_server(*, identity: Identity | None = None, port: int = 0) -> Iterator[MllpServer]:
    """A receiver on a free port of loopback; with TLS when it has an identity."""
    state = MllpServer()
    listening = socket.create_server(("127.0.0.1", port))
    state.port = int(listening.getsockname()[1])
    context = None
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
    held: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
                held.append(connection)
            buffer = b""
            while piece := connection.recv(65536):
                buffer += piece
                while END in buffer:
                    frame, _, buffer = buffer.partition(END)
                    message = frame.removeprefix(START)
                    state.received.append(message)
                    if state.faults:
                        state.faults.pop(0)(state, connection, message)
                    else:
                        connection.sendall(ack(message, state.code))
        connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            state.connections += 1
            held.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield state
    finally:
        state.over.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join()
        for connection in held:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
