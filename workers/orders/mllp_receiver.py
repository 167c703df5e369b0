"""MLLP, receiver's side: connections that stay open, one framed message after the other, everything bounded.

HL7 v2 Transport Specification: MLLP, release 1. A message may come in pieces, or several in one; before a frame may
stand line ends only. A connection may be silent for as long as it likes, but a message that has begun has to end.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from triage.errors import SettingsError
from triage.identifiers import in_network
from triage.logging import get_logger
from workers.carriers.mllp_link import END, START

MOST_CONNECTIONS: Final = 32
"""An interface engine holds one or two; when there are more, the one that has been silent longest goes."""
_HANDSHAKE: Final = 10.0
_SEND: Final = 10.0
_PIECE: Final = 16 * 1024

Answer = Callable[[bytes, str], bytes]
"""From a message, and what is wrong with its transport ("" for nothing), to its acknowledgement; raises
:class:`NotNowError` where none may be given."""

log = get_logger(__name__)


class NotNowError(Exception):
    """The message could not be kept, and that is not its fault: without an acknowledgement it is sent again."""


class _BrokenFrameError(Exception):
    """What comes is no MLLP, too long or too slow; says which, without a value."""


@dataclass(slots=True)
class _Line:
    """A connection, and since when it has been silent."""

    sock: socket.socket
    since: float


class MllpReceiver:
    """Listens on one port; each connection has a thread.

    Parameters
    ----------
    peers : sequence of str
        Networks that may connect; empty for any.
    tls : SSLContext, optional
        Speak TLS, never without it then.
    maximum : int
        Bytes of a message.
    stall_seconds : float
        For a message, from its first byte to its last.

    Raises
    ------
    SettingsError
        The port cannot be opened.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        bind: str,
        port: int,
        peers: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        maximum: int = 256 * 1024,
        stall_seconds: float = 30.0,
    ) -> None:
        self._answer, self._tls = answer, tls
        self._maximum, self._stall_seconds = maximum, stall_seconds
        self._peers = tuple(peers)
        try:
            family = socket.AF_INET6 if ":" in bind else socket.AF_INET
            self._listening = socket.create_server((bind, port), family=family)
        except OSError as error:
            raise SettingsError(f"The HL7 port {bind}:{port} cannot be opened ({error.strerror}).") from error
        self._lock = threading.Lock()
        self._lines: dict[threading.Thread, _Line] = {}
        self._stopped = threading.Event()
        self._accepting = threading.Thread(target=self._accept_all, name="hl7-accept", daemon=True)

    @property
    def port(self) -> int:
        """In use, also when 0 was asked for."""
        return int(self._listening.getsockname()[1])

    def start(self) -> None:
        self._accepting.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Take no more connections, let messages that are being kept be acknowledged, then close all."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join(timeout)
        with self._lock:
            lines = dict(self._lines)
        for line in lines.values():
            with contextlib.suppress(OSError):
                socket.socket.shutdown(line.sock, socket.SHUT_RD)  # an acknowledgement may still go out
        end = time.monotonic() + timeout
        for thread in lines:
            thread.join(max(0.0, end - time.monotonic()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept_all(self) -> None:
        while not self._stopped.is_set():
            try:
                sock, address = self._listening.accept()
            except OSError:
                if self._stopped.is_set():
                    return
                self._stopped.wait(0.1)  # out of descriptors: let others end
                continue
            host = str(address[0]).partition("%")[0]
            if self._peers and not any(in_network(host, network) for network in self._peers):
                log.warning("hl7_peer_refused", peer=host)
                sock.close()
                continue
            thread = threading.Thread(target=self._run, args=(sock, host), name=f"hl7-{host}", daemon=True)
            with self._lock:
                self._make_room()
                self._lines[thread] = _Line(sock, time.monotonic())
            try:
                thread.start()
            except RuntimeError:  # no thread to be had: this one connects again
                log.error("hl7_thread_refused", peer=host)
                sock.close()
                with self._lock:
                    self._lines.pop(thread, None)

    def _make_room(self) -> None:
        if len(self._lines) < MOST_CONNECTIONS:
            return
        oldest = min(self._lines.values(), key=lambda line: line.since)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(oldest.sock, socket.SHUT_RDWR)

    def _run(self, sock: socket.socket, host: str) -> None:
        try:
            with contextlib.closing(self._secured(sock)) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for message in self._messages(connection):
                    self._acknowledge(connection, self._answer(message, ""))
                    with self._lock:
                        self._lines[threading.current_thread()].since = time.monotonic()
        except NotNowError:
            log.warning("hl7_not_acknowledged", peer=host)
        except _BrokenFrameError as error:
            log.warning("hl7_connection_closed", peer=host, problem=str(error))
        except OSError as error:
            log.info("hl7_connection_lost", peer=host, error=type(error).__name__)
        except Exception as error:  # the boundary of the thread
            log.error("hl7_connection_failed", peer=host, error=type(error).__name__, exc_info=error)
        finally:
            with self._lock:
                self._lines.pop(threading.current_thread(), None)

    def _acknowledge(self, connection: socket.socket, acknowledgement: bytes) -> None:
        connection.settimeout(_SEND)
        connection.sendall(START + acknowledgement + END)

    def _secured(self, sock: socket.socket) -> socket.socket:
        if self._tls is None:
            return sock
        sock.settimeout(_HANDSHAKE)
        try:
            secured = self._tls.wrap_socket(sock, server_side=True)
        except OSError:
            sock.close()
            raise
        with self._lock:
            self._lines[threading.current_thread()].sock = secured
        return secured

    def _messages(self, connection: socket.socket) -> Iterator[bytes]:
        """Messages without their frames, until the peer ends between two."""
        held = b""
        begun: float | None = None
        while True:
            held = held if begun is not None else held.lstrip(b"\r\n")
            if begun is None and held:
                if not held.startswith(START):
                    raise _BrokenFrameError("something that is not MLLP")
                begun = time.monotonic()
            frame, end, rest = held.partition(END[:1])
            if end and begun is not None:
                held, begun = rest, None
                yield frame[1:]
                continue
            if len(held) > self._maximum:
                problem = f"a message of more than {self._maximum >> 10} KiB"
                self._acknowledge(connection, self._answer(held[1:], problem))
                raise _BrokenFrameError(problem)
            piece = self._piece(connection, begun)
            if not piece:
                if begun is not None:
                    raise _BrokenFrameError("ended in the middle of a message")
                return
            held += piece

    def _piece(self, connection: socket.socket, begun: float | None) -> bytes:
        left = None if begun is None else begun + self._stall_seconds - time.monotonic()
        if left is not None and left <= 0:
            raise _BrokenFrameError("a message that is too slow")
        connection.settimeout(left)
        try:
            return connection.recv(_PIECE)
        except TimeoutError:
            raise _BrokenFrameError("a message that is too slow") from None
