"""HTTP to one server, bounded: that host alone, no redirect, no proxy, a deadline for each whole exchange.

On ``http.client``, because it lets a body be sent from its file and an exchange be ended from outside: a server that
sends a byte every few seconds is silent for no timeout of a socket.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self
from urllib.parse import urlsplit

from triage.errors import DeliveryError, SettingsError

MAXIMUM_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of an answer that are read; a longer one is none that was asked for."""


class Body(Protocol):
    """What a request carries: pieces, and how many bytes they are together; iterated again when it is repeated."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """By what a server knows us: a bearer token (RFC 6750), user and password (RFC 7617), or nothing."""

    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def header(self) -> str:
        """Value of ``Authorization``, "" for none."""
        if self.token:
            return f"Bearer {self.token}"
        if self.user:
            return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """Seconds: to connect, between two pieces in either direction, and for an exchange from connecting to its end."""

    connect: float = 10.0
    silence: float = 20.0
    exchange: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpAnswer:
    """A complete answer.

    Attributes
    ----------
    media_type : str
        Of ``Content-Type``, in lower case, without parameters.
    headers : mapping of str to str
        By name in lower case; the last one where a name is repeated.
    """

    status: int
    content: bytes
    headers: Mapping[str, str]

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class HttpSilentError(DeliveryError):
    """No complete answer came: out of reach, too slow, or broken off. It says nothing about what was sent."""

    next_step = "Check that the server runs and that this machine reaches it; the delivery is retried."


class HttpTlsError(DeliveryError):
    """The server's certificate is not trusted, or there is no common way to speak TLS."""

    next_step = "Set `trusted` to the authority of the server's certificate, or correct the host in the address."


class HttpPeer:
    """A server, as far as its base URL reaches; one connection that is kept. Not for several threads at once.

    Parameters
    ----------
    url : str
        ``http://host:port/base`` or https; nothing else in it.
    trusted : Path, optional
        PEM file with the authorities of the server's certificate; without it those that the system trusts.

    Raises
    ------
    SettingsError
        Another form of URL, or a file that holds no certificates.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        trusted: Path | None = None,
        patience: Patience | None = None,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise SettingsError("The port of the URL is no number from 0 to 65535.") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise SettingsError("The URL is not of the form http://host:port/path without user and password.")
        if parts.query or parts.fragment:
            raise SettingsError("The URL holds a query or a fragment; give the base of the service.")
        self._patience = patience or Patience()
        self._authorization = (credentials or Credentials()).header
        if self._authorization and not self._authorization.isprintable():
            raise SettingsError("The token, user or password holds characters that no HTTP header can carry.")
        self._base = parts.path.rstrip("/")
        context = _tls_context(trusted) if parts.scheme == "https" else None
        self._connection = _Connection(parts.hostname, port, context, self._patience)
        self.where = f"{parts.hostname}:{self._connection.port}"
        self.url = f"{parts.scheme}://{parts.netloc}{self._base}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection if there is one."""
        self._connection.close()

    def exchange(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | Body | None = None
    ) -> HttpAnswer:
        """One request and its answer, of whatever status.

        When the server had closed the connection that was kept, the request is repeated once on a new one: whatever is
        asked here must mean the same when it is asked twice.

        Parameters
        ----------
        path : str
            Below the base, beginning with a slash, quoted, with its query.

        Raises
        ------
        HttpSilentError
            No complete answer.
        HttpTlsError
            No trust in the server.
        OSError
            The body's file cannot be read.
        """
        standing = self._connection.sock is not None
        try:
            return self._once(method, path, headers or {}, body)
        except _ClosedBeforeAnswerError:
            if not standing:
                raise
        return self._once(method, path, headers or {}, body)

    def _once(self, method: str, path: str, headers: Mapping[str, str], body: bytes | Body | None) -> HttpAnswer:
        connection = self._connection
        late = threading.Event()

        def end() -> None:
            late.set()
            connection.sever()

        deadline = threading.Timer(self._patience.exchange, end)
        deadline.daemon = True
        deadline.start()
        try:
            heard_out = self._send(method, path, headers, body)
            answer = self._receive()
            if late.is_set():  # its head was cut off: http.client takes that for the end of the head
                raise TimeoutError
            if not heard_out:
                connection.close()
            return answer
        except _BodyError as error:
            connection.close()
            raise error.reason from None
        except (http.client.HTTPException, OSError, ValueError) as error:
            connection.close()
            raise self._failure(error, late=late.is_set()) from error
        finally:
            deadline.cancel()
            deadline.join()

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | Body | None) -> bool:
        """Send a request; False when the server closed its ear before the end of the body."""
        connection = self._connection
        connection.putrequest(method, self._base + path)
        for name, value in {"User-Agent": "firstread", "Accept-Encoding": "identity", **headers}.items():
            connection.putheader(name, value)
        if self._authorization:
            connection.putheader("Authorization", self._authorization)
        if body is not None or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(0 if body is None else len(body)))
        connection.endheaders()
        try:
            for piece in _pieces(body) if body is not None else ():
                connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            return False  # it has heard enough: its answer says why, and where there is none reading it fails
        return True

    def _receive(self) -> HttpAnswer:
        answer = self._connection.getresponse()
        content = answer.read(MAXIMUM_ANSWER + 1)
        if answer.length and len(content) <= MAXIMUM_ANSWER:
            raise http.client.IncompleteRead(b"", answer.length)
        if len(content) > MAXIMUM_ANSWER:
            self._connection.close()
            raise HttpSilentError(f"{self.where} sends an answer of more than {MAXIMUM_ANSWER >> 20} MiB.")
        return HttpAnswer(
            status=answer.status,
            content=content,
            headers={name.lower(): value for name, value in answer.getheaders()},
        )

    def _failure(self, error: Exception, *, late: bool) -> DeliveryError:
        """What an exception of socket, TLS or HTTP means, in words that hold nothing of what was said."""
        if late or isinstance(error, TimeoutError):
            return HttpSilentError(f"{self.where} did not answer in time.")
        if isinstance(error, ssl.SSLCertVerificationError):
            return HttpTlsError(f"The certificate of {self.where} is not trusted: {error.verify_message}.")
        if isinstance(error, ssl.SSLError):
            return HttpTlsError(f"{self.where} does not speak TLS with us ({error.reason or type(error).__name__}).")
        if isinstance(error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError):
            return _ClosedBeforeAnswerError(f"{self.where} closed the connection without an answer.")
        if isinstance(error, OSError):
            return HttpSilentError(f"{self.where} cannot be reached ({error.strerror or type(error).__name__}).")
        broken_off = isinstance(error, http.client.IncompleteRead)
        what = "broke off in the middle of its answer" if broken_off else "answers something that is not HTTP"
        return HttpSilentError(f"{self.where} {what}.")


class _ClosedBeforeAnswerError(HttpSilentError):
    """The connection ended before a status line."""


class _BodyError(Exception):
    """The body, not the network, raised ``reason``."""

    def __init__(self, reason: OSError) -> None:
        super().__init__()
        self.reason = reason


class _Connection(http.client.HTTPConnection):
    """A connection that another thread may sever, in its TLS handshake too."""

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext | None, patience: Patience) -> None:
        self.default_port = 443 if context else 80
        super().__init__(host, port or self.default_port)
        self._context, self._patience = context, patience

    def connect(self) -> None:
        self.sock = socket.create_connection((self.host, self.port), self._patience.connect)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(self._patience.silence)
        if self._context is not None:
            secured = self._context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = secured
            secured.do_handshake()

    def sever(self) -> None:
        held = self.sock
        if held is not None:
            with contextlib.suppress(OSError):  # it is closed already
                socket.socket.shutdown(held, socket.SHUT_RDWR)  # the base class's: whoever reads still reads over TLS


def _pieces(body: bytes | Body) -> Iterator[bytes]:
    try:
        yield from (body,) if isinstance(body, bytes) else body
    except OSError as error:
        raise _BodyError(error) from error


def _tls_context(trusted: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if trusted is None else str(trusted))
    except (OSError, ssl.SSLError):
        raise SettingsError(f"{trusted} cannot be read as certificates in PEM form.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
