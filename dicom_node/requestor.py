"""One association as requestor: open, C-ECHO, C-STORE, release. Blocking, every step bounded, no threads."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from dicom_node import dimse, negotiation
from dicom_node.contexts import ContextResult
from dicom_node.dimse import CommandSet, CommandSetError
from dicom_node.negotiation import ProposedContext
from dicom_node.secured import TlsConnection, TlsFailed
from dicom_node.tls import PeerTls
from dicom_node.upper_layer import (
    AbortReason,
    Connection,
    ConnectionLost,
    Pdu,
    PduType,
    PeerAborted,
    PeerStalled,
    ProtocolViolation,
    UpperLayerError,
)
from triage.errors import DeliveryError
from triage.identifiers import PeerAddress

LARGEST_PDU: Final = 128 * 1024
"""Longest P-DATA-TF sent, also to peers that take any: larger was not faster, measured against DCMTK and ourselves."""

_REJECTIONS: Final = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds that a peer has to be connected, to answer an association, to take our bytes, to answer an operation."""

    connect: float = 10.0
    association: float = 30.0
    send: float = 30.0
    response: float = 60.0


class AssociationRejectedError(DeliveryError):
    """A-ASSOCIATE-RJ. ``permanent`` says that a setting at one end has to change."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        next_step = (
            "Register our AE title, address and port at the peer, and check its AE title here; it is tried again."
            if permanent
            else None
        )
        super().__init__(message, next_step=next_step)
        self.permanent = permanent


class TlsRefusedError(DeliveryError):
    """No secure connection: a certificate or a setting at one end has to change. Nothing was sent in the clear."""

    next_step = (
        "Check with `firstread doctor` that our certificate is valid and that each side trusts the authority of the "
        "other's; it is tried again."
    )


class PeerSilentError(DeliveryError):
    """The peer did not answer or read in time: asking it for more now would only wait again."""


class NoDicomError(DeliveryError):
    """The peer closed the connection or answered something else: it may want TLS there, or not know it."""


class Requestor:
    """An established association to a peer; made by :meth:`open`."""

    provider_of: ClassVar[tuple[str, ...]] = ()
    """SOP classes of which this side is the provider, and not the user as a requestor usually is."""

    def __init__(self, connection: Connection, peer: PeerAddress, timeouts: Timeouts) -> None:
        self._connection = connection
        self._peer = peer
        self._timeouts = timeouts
        self._message_id = 0
        self._fragment_size = 0
        self.on_progress: Callable[[], None] = _nothing
        """Told of each piece of an object that the peer has taken, in this thread."""
        self.accepted: Mapping[tuple[str, str], int] = {}
        """Context ids by (SOP class, transfer syntax)."""

    @classmethod
    def open(
        cls,
        peer: PeerAddress,
        *,
        calling_ae_title: str,
        contexts: Sequence[tuple[str, tuple[str, ...]]],
        timeouts: Timeouts,
        tls: PeerTls | None = None,
    ) -> Self:
        """Connect and negotiate, over TLS where it is given and never without it then.

        Parameters
        ----------
        contexts : sequence of (SOP class UID, transfer syntax UIDs)
            At most 128.

        Raises
        ------
        AssociationRejectedError
            The peer said no.
        TlsRefusedError
            One side does not accept the other's certificate, version or ciphers.
        PeerSilentError, DeliveryError
            No connection, no answer in time, or an answer that is none.
        """
        try:
            sock = socket.create_connection((peer.host, peer.port), timeout=timeouts.connect)
        except TimeoutError:
            raise PeerSilentError(f"{peer}: no connection within {timeouts.connect:g} s.") from None
        except OSError as error:
            raise DeliveryError(f"{peer}: {_network_reason(error)}.") from error
        connection = _connection(sock, peer, timeouts, tls)
        requestor = cls(connection, peer, timeouts)
        try:
            if isinstance(connection, TlsConnection) and tls is not None:
                requestor._secure(connection, tls)
            requestor._negotiate(calling_ae_title, contexts)
        except BaseException:
            connection.close()
            raise
        return requestor

    def echo(self) -> int:
        """C-ECHO; returns its status.

        Raises
        ------
        DeliveryError
            No response.
        """
        context_id = next(iter(self.accepted.values()))
        with self._translated():
            self._send_command(context_id, dimse.echo_request(self._next_id()))
            return self._response()

    def store(self, context_id: int, sop_class_uid: str, sop_instance_uid: str, data_set: memoryview) -> int:
        """C-STORE of an encoded data set, sent unchanged; returns its status (PS3.4 B.2.3).

        Raises
        ------
        PeerSilentError, DeliveryError
            No response; the association is over.
        """
        request = dimse.store_request(self._next_id(), sop_class_uid, sop_instance_uid)
        with self._translated():
            self._send_command(context_id, request, data_set)
            return self._response()

    def release(self) -> None:
        """Release in order, or give up after a while; never raises."""
        with contextlib.suppress(UpperLayerError):
            self._connection.send(negotiation.RELEASE_RQ, self._timeouts.send)
            end = time.monotonic() + min(5.0, self._timeouts.association)
            while (left := end - time.monotonic()) > 0:
                pdu = self._connection.next_pdu(left)
                self._connection.body(pdu)
                if pdu.type is PduType.RELEASE_RQ:  # collision (PS3.8 7.2.2): the requestor answers first
                    self._connection.send(negotiation.RELEASE_RP, self._timeouts.send)
                elif pdu.type is not PduType.P_DATA:
                    break
        self._connection.close()

    def abort(self) -> None:
        """A-ABORT; never raises."""
        self._connection.send_abort(None)
        self._connection.close(linger=1.0)

    def _secure(self, connection: TlsConnection, tls: PeerTls) -> None:
        with self._translated():
            connection.handshake(self._timeouts.association)
        if tls.certificate and tls.certificate not in connection.certificate_names:
            raise TlsRefusedError(
                f"{self._peer} has another certificate than {tls.certificate}.",
                next_step="Check who answers there; correct `certificate` of the destination if it was renewed.",
            )

    def _negotiate(self, calling_ae_title: str, contexts: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        proposed = [ProposedContext(2 * n + 1, abstract, syntaxes) for n, (abstract, syntaxes) in enumerate(contexts)]
        request = negotiation.encode_request(
            calling_ae_title, self._peer.ae_title, proposed, LARGEST_PDU, provider_of=self.provider_of
        )
        with self._translated():
            self._connection.send(request, self._timeouts.send)
            pdu = self._connection.next_pdu(self._timeouts.association)
            body = self._connection.body(pdu)
            match pdu.type:
                case PduType.ASSOCIATE_AC:
                    acceptance = negotiation.read_acceptance(body)
                case PduType.ASSOCIATE_RJ:
                    raise self._rejected(*negotiation.read_rejection(body))
                case PduType.ABORT:
                    raise PeerAborted
                case _:
                    raise ProtocolViolation(f"unexpected {pdu.type.name}", AbortReason.UNEXPECTED_PDU)
        abstract = {context.context_id: context.abstract_syntax for context in proposed}
        self.accepted = {
            (abstract[context_id], answer.transfer_syntax): context_id
            for context_id, answer in acceptance.answers.items()
            if answer.result is ContextResult.ACCEPTANCE and context_id in abstract
        }
        limit = min(acceptance.maximum_length or LARGEST_PDU, LARGEST_PDU)
        self._fragment_size = max(2, (limit - 6) & ~1)
        if not self.accepted:
            self.abort()
            raise DeliveryError(
                f"{self._peer} accepts none of the SOP classes offered.",
                retryable=False,
                next_step="Enable these SOP classes for storage at the peer.",
            )

    def _rejected(self, result: int, source: int, reason: int) -> AssociationRejectedError:
        text = _REJECTIONS.get((source, reason), f"source {source}, reason {reason}")
        return AssociationRejectedError(f"{self._peer} rejects the association: {text}.", permanent=result == 1)

    def _next_id(self) -> int:
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    def _send_command(self, context_id: int, command: bytes, data_set: memoryview | None = None) -> None:
        size = self._fragment_size
        pieces = [command[i : i + size] for i in range(0, len(command), size)]
        out = bytearray()
        for number, piece in enumerate(pieces):
            out += pdv_header(context_id, 3 if number == len(pieces) - 1 else 1, len(piece)) + piece
        if data_set is None:
            self._connection.send(out, self._timeouts.send)
            return
        # The first fragment leaves together with its command: one packet less for a small object.
        for start in range(0, max(1, len(data_set)), size):
            # Let go before anything can fail: the traceback of an error would keep the piece, and that the file mapped.
            with data_set[start : start + size] as piece_view:
                last = start + size >= len(data_set)
                out += pdv_header(context_id, 2 if last else 0, len(piece_view))
                out += piece_view
            self._connection.send(out, self._timeouts.send)
            out.clear()
            self.on_progress()

    def _response(self) -> int:
        command = bytearray()
        while True:
            pdu: Pdu = self._connection.next_pdu(self._timeouts.response)
            match pdu.type:
                case PduType.P_DATA:
                    for fragment in self._connection.fragments(pdu):
                        command += fragment.data
                        if len(command) > dimse.MAXIMUM_COMMAND_SET or not fragment.is_command:
                            raise ProtocolViolation("response", AbortReason.UNEXPECTED_PDU_PARAMETER)
                        if fragment.is_last:
                            return self._status(dimse.decode(command))
                case PduType.ABORT:
                    raise PeerAborted
                case PduType.RELEASE_RQ:
                    self._connection.send(negotiation.RELEASE_RP, self._timeouts.send)
                    raise ConnectionLost("released by the peer")
                case _:
                    raise ProtocolViolation(f"unexpected {pdu.type.name}", AbortReason.UNEXPECTED_PDU)

    def _status(self, response: CommandSet) -> int:
        status = response.status
        if status is None or response.number(dimse.Tag.MESSAGE_ID_BEING_RESPONDED_TO) != self._message_id:
            raise ProtocolViolation("response to another request", AbortReason.UNEXPECTED_PDU_PARAMETER)
        return status

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the layers below as errors of the house; the association is over after any of them."""
        try:
            yield
        except PeerStalled as error:
            self.abort()
            raise PeerSilentError(f"{self._peer} did not answer in time ({error}).") from None
        except PeerAborted:
            self._connection.close()
            raise DeliveryError(f"{self._peer} aborted the association.") from None
        except TlsFailed as error:
            self._connection.close()
            raise TlsRefusedError(f"{self._peer}: no TLS ({error}).") from None
        except ConnectionLost:
            self._connection.close()
            raise NoDicomError(f"{self._peer} closed the connection.") from None
        except (ProtocolViolation, CommandSetError):
            self.abort()
            raise NoDicomError(f"{self._peer} answered something that is not DICOM.") from None


def _connection(sock: socket.socket, peer: PeerAddress, timeouts: Timeouts, tls: PeerTls | None) -> Connection:
    if tls is None:
        return Connection(sock, stall_seconds=timeouts.response)
    try:
        return TlsConnection(sock, tls.context, server_hostname=peer.host, stall_seconds=timeouts.response)
    except OSError as error:
        sock.close()
        raise DeliveryError(f"{peer}: {_network_reason(error)}.") from error


def _nothing() -> None:
    """Nobody wants to know."""


def pdv_header(context_id: int, control: int, length: int) -> bytes:
    """What stands before the only fragment of a P-DATA-TF (PS3.8 9.3.5, annex E)."""
    return struct.pack(">BxLLBB", PduType.P_DATA, length + 6, length + 2, context_id, control)


def _network_reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens on that port (connection refused)"
    return f"no connection ({error.strerror or type(error).__name__})"
