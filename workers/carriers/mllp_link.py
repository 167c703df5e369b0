"""MLLP, sender's side: one HL7 v2 message in its frame, one acknowledgement back, everything bounded.

HL7 v2 Transport Specification: MLLP, release 1: ``0x0B`` message ``0x1C 0x0D``; the connection stays open and takes the
next message. An acknowledgement is believed only when it names our message (MSA-2 = MSH-10).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from dicom_node.tls import PeerTls, names_of
from triage.errors import DeliveryError
from workers.messages.hl7 import Message, MessageError, Segment

START: Final = b"\x0b"
END: Final = b"\x1c\r"
MAXIMUM_ANSWER: Final = 64 * 1024
"""Bytes of an acknowledgement that are read; real ones have a few hundred."""


_REMARKS: Final = ("W", "I")
"""ERR-4 (table 0516) of what is no error."""


class AckCode(StrEnum):
    """MSA-1 (table 0008)."""

    ACCEPTED = "AA"
    ERROR = "AE"
    REJECTED = "AR"
    COMMIT_ACCEPTED = "CA"
    COMMIT_ERROR = "CE"
    COMMIT_REJECTED = "CR"


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """Seconds: to connect, and from connecting to the end of the acknowledgement."""

    connect: float = 10.0
    exchange: float = 45.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Acknowledgement:
    """What a receiver said of our message; ``text`` may repeat parts of the message.

    Attributes
    ----------
    reason : str
        Code of table 0357 (ERR-3; before v2.5 in ERR-1), "" where it gives none.
    """

    code: AckCode
    text: str = ""
    reason: str = ""


class MllpSilentError(DeliveryError):
    """No acknowledgement came: out of reach, too slow, or broken off. It says nothing about the message."""

    next_step = "Check that the receiver listens there and that this machine reaches it; the message is sent again."


class MllpTlsError(DeliveryError):
    """No secure connection: a certificate or a setting at one end has to change. Nothing was sent in the clear."""

    next_step = "Check `trusted_file` or `dicom_tls_trusted`, and that the receiver trusts our certificate."


class MllpConfusedError(DeliveryError):
    """Bytes came back, and they do not acknowledge our message."""

    next_step = "Check that an HL7 v2 receiver listens there and answers each message with its control ID in MSA-2."


class MllpLink:
    """A connection to one receiver, opened when it is needed and kept. Not for several threads at once.

    Parameters
    ----------
    tls : PeerTls, optional
        Speak TLS, never without it then.
    """

    def __init__(self, host: str, port: int, *, tls: PeerTls | None = None, patience: Patience | None = None) -> None:
        self.where = f"{host}:{port}"
        self._host, self._port, self._tls = host, port, tls
        self._patience = patience or Patience()
        self._socket: socket.socket | None = None
        self._held = b""
        self._settled: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection if there is one."""
        held, self._socket, self._held, self._settled = self._socket, None, b"", set()
        if held is not None:
            with contextlib.suppress(OSError):
                held.close()

    def exchange(self, message: bytes, control_id: str) -> Acknowledgement:
        """Send one message and wait for its acknowledgement.

        When the receiver had closed the connection that was kept, the message is sent once more on a new one: it
        carries the same control ID.

        Raises
        ------
        MllpSilentError, MllpTlsError, MllpConfusedError
            No acknowledgement of this message; the connection is closed.
        """
        standing = self._socket is not None
        try:
            return self._once(message, control_id)
        except _ClosedBeforeAnswerError:
            if not standing:
                raise
        return self._once(message, control_id)

    def check(self) -> None:
        """Open a connection, over TLS where it is set.

        Raises
        ------
        MllpSilentError, MllpTlsError
            There is none.
        """
        with self._bounded():
            self._connected()

    def _once(self, message: bytes, control_id: str) -> Acknowledgement:
        with self._bounded():
            connection = self._connected()
            connection.sendall(START + message + END)
            while True:
                parsed = self._parsed(self._frame(connection))
                msa = parsed.first("MSA")
                if msa is None:
                    raise MllpConfusedError(f"{self.where} answers with a message that acknowledges nothing (no MSA).")
                answered = msa.text(2).strip()
                if answered == control_id:
                    self._settled.add(control_id)
                    return self._acknowledgement(parsed, msa)
                if answered not in self._settled:  # else: an application's word after the commit acknowledgement
                    raise MllpConfusedError(f"{self.where} acknowledges another message than the one it was sent.")

    def _parsed(self, answer: bytes) -> Message:
        try:
            return Message.parse(answer)
        except MessageError:
            raise MllpConfusedError(f"{self.where} answers something that is no HL7 message.") from None

    def _acknowledgement(self, parsed: Message, msa: Segment) -> Acknowledgement:
        try:
            code = AckCode(msa.text(1).strip().upper())
        except ValueError:
            raise MllpConfusedError(f"{self.where} answers with a code that table 0008 does not have.") from None
        errors = sorted(parsed.all("ERR"), key=lambda each: each.text(4) in _REMARKS)
        err = errors[0] if errors else None
        told = (msa.text(3), *((err.text(8), err.text(7), err.text(3, 2)) if err else ()))
        reasons = (err.text(3), err.text(1, 4)) if err else ()
        return Acknowledgement(code=code, text=_first(told), reason=_first(reasons))

    def _frame(self, connection: socket.socket) -> bytes:
        """The next frame; before it may stand line ends only. The carriage return at its end is not awaited."""
        while END[:1] not in self._held:
            if len(self._held) > MAXIMUM_ANSWER:
                raise MllpConfusedError(f"{self.where} sends an answer of more than {MAXIMUM_ANSWER >> 10} KiB.")
            piece = connection.recv(8192)
            if not piece and self._held:
                raise MllpSilentError(f"{self.where} broke off in the middle of its answer.")
            if not piece:
                raise _ClosedBeforeAnswerError(f"{self.where} closed the connection without an acknowledgement.")
            self._held = (self._held + piece).lstrip(b"\r\n")
            if self._held and not self._held.startswith(START):
                raise MllpConfusedError(f"{self.where} answers something that is not MLLP.")
        frame, _, self._held = self._held.partition(END[:1])
        self._held = self._held.lstrip(b"\r\n")
        return frame[1:]

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((self._host, self._port), self._patience.connect)
            self._socket.settimeout(self._patience.exchange)
            if self._tls is not None:
                self._secure(self._tls)
        return self._socket

    def _secure(self, tls: PeerTls) -> None:
        assert self._socket is not None  # noqa: S101 - the caller has just connected
        secured = tls.context.wrap_socket(self._socket, server_hostname=self._host, do_handshake_on_connect=False)
        self._socket = secured
        secured.do_handshake()
        described, encoded = secured.getpeercert(), secured.getpeercert(binary_form=True)
        known = names_of(described, encoded) if described and encoded else frozenset()
        if tls.certificate and tls.certificate not in known:
            raise MllpTlsError(
                f"{self.where} has another certificate than {tls.certificate}.",
                next_step="Check who answers there; correct `certificate` of the destination if it was renewed.",
            )

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        """One exchange within its time; its errors in words that hold nothing of what was said.

        A timer and not a timeout of the socket: who sends a byte every few seconds is silent for none of these.
        """
        late = threading.Event()

        def end() -> None:
            late.set()
            self._sever()

        timer = threading.Timer(self._patience.exchange, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, DeliveryError) as error:
            self.close()
            raise self._translated(error, late=late.is_set()) from None
        finally:
            timer.cancel()
            timer.join()

    def _sever(self) -> None:
        """End whatever waits on the connection, from another thread."""
        held = self._socket
        if held is not None:
            with contextlib.suppress(OSError):  # it is closed already
                socket.socket.shutdown(held, socket.SHUT_RDWR)  # the base class's: TLS would forget its keys first

    def _translated(self, error: OSError | DeliveryError, *, late: bool) -> DeliveryError:
        if late or isinstance(error, TimeoutError):
            return MllpSilentError(f"{self.where} did not acknowledge in time.")
        if isinstance(error, DeliveryError):
            return error
        if isinstance(error, ssl.SSLCertVerificationError):
            return MllpTlsError(f"The certificate of {self.where} is not trusted: {error.verify_message}.")
        if isinstance(error, ssl.SSLError):
            return MllpTlsError(f"{self.where} does not speak TLS with us ({error.reason or type(error).__name__}).")
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            return _ClosedBeforeAnswerError(f"{self.where} closed the connection without an acknowledgement.")
        return MllpSilentError(f"{self.where} cannot be reached ({error.strerror or type(error).__name__}).")


class _ClosedBeforeAnswerError(MllpSilentError):
    """The connection ended before an acknowledgement began."""


def _first(texts: Iterable[str]) -> str:
    """The first that says something."""
    return next(filter(None, (text.strip() for text in texts)), "")
