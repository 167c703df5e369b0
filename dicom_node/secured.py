"""A connection whose PDUs travel in TLS. The handshake is a step of its own, taken in the connection's own thread."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from dicom_node import tls
from dicom_node.upper_layer import MINIMUM_RATE, SLICE, Connection, ConnectionLost, PeerStalled, UpperLayerError

_T = TypeVar("_T")


class TlsFailed(ConnectionLost):
    """No secure connection: versions, ciphers or certificates do not go together. The text is OpenSSL's reason."""


class TlsConnection(Connection):
    """A connected TCP socket that speaks TLS after :meth:`handshake`.

    The socket does not block: TLS may have to read before it can write, and data may be there though the socket is
    not readable. So every operation is tried first and waited for only when it says what it waits for.

    Parameters
    ----------
    server_hostname : str, optional
        Name or address that the peer's certificate is checked for; None on the accepting side, which checks none.

    Raises
    ------
    OSError
        The socket is not connected any more.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        stall_seconds: float,
        maximum_length: int = 0,
        wake: socket.socket | None = None,
    ) -> None:
        sock.setblocking(False)
        self._tls = context.wrap_socket(
            sock,
            server_side=context.protocol is ssl.PROTOCOL_TLS_SERVER,
            server_hostname=server_hostname,
            do_handshake_on_connect=False,
        )
        super().__init__(self._tls, stall_seconds=stall_seconds, maximum_length=maximum_length, wake=wake)
        self._tls.setblocking(False)

    def handshake(self, seconds: float) -> None:
        """Agree on keys and verify the peer's certificate, all within ``seconds``.

        Raises
        ------
        TlsFailed
            Refused by us or by the peer; an alert has been sent.
        PeerStalled, Interrupted, ConnectionLost
        """
        self._tried(self._tls.do_handshake, self.waited + seconds, "no TLS handshake", interruptible=True)
        described, encoded = self._tls.getpeercert(), self._tls.getpeercert(binary_form=True)
        if described and encoded:
            self.certificate_names = tls.names_of(described, encoded)

    def send(self, data: bytes | bytearray | memoryview, timeout: float) -> None:
        deadline = self.waited + timeout
        with memoryview(data) as whole:
            sent = 0
            while sent < len(whole):
                with whole[sent:] as rest:
                    sent += self._tried(lambda: self._tls.send(rest), deadline, "the peer does not read")

    def close(self, *, linger: float = 0.0) -> None:
        """Say that this is the end of our data (close_notify), then close as any connection."""
        with contextlib.suppress(UpperLayerError, ValueError):
            self._tried(self._tls.unwrap, self.waited + linger, "close_notify")
        super().close(linger=linger)

    def drop(self) -> None:
        # SSLSocket.shutdown forgets the keys first: what another thread sends at that moment would leave in the clear.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._tls, socket.SHUT_RDWR)

    def _await_first_byte(self, timeout: float, interruptible: bool) -> None:
        if interruptible:
            self._wait(0, 0.0, interruptible=interruptible)
        self._low = self._high = 0
        self._read(self.waited + timeout, "nothing received", interruptible)

    def _fill(self, wanted: int) -> None:  # noqa: ARG002 - records come whole
        self._deadline += self._read(self._deadline, "PDU incomplete") / MINIMUM_RATE

    def _read(self, deadline: float, problem: str, interruptible: bool = False) -> int:
        """Wait for data, then take all that is there: TLS gives 16 KiB at a time, files take larger pieces better."""
        start = self._high
        self._high += self._tried(self._read_some, deadline, problem, interruptible=interruptible)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, UpperLayerError):
            while self._high < len(self._buffer):
                self._high += self._read_some()
        self.bytes_received += self._high - start
        return self._high - start

    def _read_some(self) -> int:
        try:
            count = self._tls.recv_into(self._view[self._high :])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            raise _lost(error) from None
        if not count:
            raise ConnectionLost("closed")
        return count

    def _tried(self, operation: Callable[[], _T], deadline: float, problem: str, *, interruptible: bool = False) -> _T:
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            except OSError as error:
                raise _lost(error) from None
            left = deadline - self.waited
            if left <= 0:
                raise PeerStalled(problem)
            self._wait(events, left if interruptible else min(left, SLICE), interruptible=interruptible)


def _lost(error: OSError) -> ConnectionLost:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(f"certificate not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TlsFailed((error.reason or type(error).__name__).lower().replace("_", " "))
    return ConnectionLost(type(error).__name__)
