"""PDUs on a socket (PS3.8 section 9.3): read in large pieces, every length checked first, every wait bounded.

pynetdicom runs two threads per association that poll every millisecond, reads 4096 bytes at a time, copies P-DATA
seven times and reads any length a peer announces. This module replaces that part only, for both directions; the
association PDUs themselves are pynetdicom's.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from pynetdicom.pdu import A_ABORT_RQ

BUFFER_SIZE: Final = 256 * 1024
"""Bytes asked from the kernel at once while data sets come; larger gains nothing on loopback."""

SMALL_BUFFER_SIZE: Final = 16 * 1024
"""The same before the first P-DATA-TF: silent and idle peers cost little memory."""

MINIMUM_RATE: Final = 16 * 1024
"""Bytes per second that keep a PDU alive beyond the stall time: a modem passes, a drip feed does not."""

SLICE: Final = 0.25
"""Seconds after which a wait for bytes looks at its deadline."""

MAXIMUM_CONTROL_PDU: Final = 256 * 1024
"""Longest association PDU; 128 contexts with 60 transfer syntaxes each need about 210 KiB."""

_PDU_HEADER: Final = struct.Struct(">BxL")
_PDV_HEADER: Final = struct.Struct(">LBB")
_PDU_HEADER_SIZE: Final = _PDU_HEADER.size
_PDV_HEADER_SIZE: Final = _PDV_HEADER.size


class PduType(IntEnum):
    """PS3.8 9.3.1."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


_PDU_TYPES: Final = {int(kind): kind for kind in PduType}


class AbortReason(IntEnum):
    """Reason/Diag. of an A-ABORT by the service provider (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


class UpperLayerError(Exception):
    """An association ends otherwise than by release. Never leaves this package."""


class ConnectionLost(UpperLayerError):  # noqa: N818 - the state, not a mistake of ours
    """The peer closed or reset the connection."""


class PeerStalled(UpperLayerError):  # noqa: N818
    """Nothing, or too little, came in time."""


class PeerAborted(UpperLayerError):  # noqa: N818
    """A-ABORT received."""


class PeerReleased(UpperLayerError):  # noqa: N818
    """A-RELEASE received, and answered, in the middle of an operation."""


class Interrupted(UpperLayerError):  # noqa: N818
    """The wake socket became readable while waiting for a new PDU: this side wants to stop."""


class ProtocolViolation(UpperLayerError):  # noqa: N818
    """The peer broke PS3.8; answered with an A-ABORT of this reason."""

    def __init__(self, message: str, reason: AbortReason) -> None:
        super().__init__(message)
        self.reason = reason


class Pdu(NamedTuple):
    """Header of a PDU whose body has not been read yet."""

    type: PduType
    length: int


class Fragment(NamedTuple):
    """A piece of a presentation data value (PS3.8 9.3.5.1), valid until the next one is asked for."""

    context_id: int
    is_command: bool
    is_last: bool
    """True for the last piece of the last fragment of a message part."""
    data: memoryview


class Connection:
    """One connected TCP socket carrying PDUs; :class:`dicom_node.secured.TlsConnection` carries them in TLS.

    Parameters
    ----------
    sock : socket.socket
        Connected; owned from here on. Nagle's algorithm is switched off: a response written as a small packet
        after another one would otherwise wait 40 ms for a delayed acknowledgement.
    stall_seconds : float
        A PDU may take this long plus a second per :data:`MINIMUM_RATE` bytes received.
    maximum_length : int
        Longest P-DATA-TF that we announced to accept, 0 for no limit.
    wake : socket.socket, optional
        Becomes readable when waiting for the *next* PDU should end with :class:`Interrupted`.
    """

    certificate_names: frozenset[str] = frozenset()
    """What the verified certificate of the peer says of it; empty without TLS."""

    def __init__(
        self, sock: socket.socket, *, stall_seconds: float, maximum_length: int = 0, wake: socket.socket | None = None
    ) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(SLICE * 1e6)))
        sock.setblocking(True)
        self._sock = sock
        own = sock.getsockname()
        self.own_address = str(own[0]) if isinstance(own, tuple) else ""
        self._stall_seconds = stall_seconds
        self._maximum_length = maximum_length
        self._wake = wake
        self._buffer = bytearray(SMALL_BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._low = self._high = 0
        self._deadline = 0.0
        self._wanted = 1
        self._grown = False
        self.bytes_received = 0
        self.waited = 0.0
        """Seconds of waiting for the peer so far: the clock of every deadline here. While this process was stopped, or
        busy with a slow disk, it did not wait, and no peer is to blame for that time."""

    def next_pdu(self, timeout: float, *, interruptible: bool = True, until: float = math.inf) -> Pdu:
        """Wait for the next PDU and read its header.

        Parameters
        ----------
        timeout : float
            Seconds for its first byte.
        until : float
            When the last byte of its body must be there at the latest, whatever its rate, on the clock :attr:`waited`.

        Raises
        ------
        PeerStalled
            No byte within ``timeout`` seconds, or the header stayed incomplete.
        Interrupted
            Woken before the first byte.
        ProtocolViolation
            Unknown PDU type, or a length that this type cannot have here. Nothing of the body has been read.
        """
        if self._high == self._low:
            self._await_first_byte(min(timeout, until - self.waited), interruptible)
        deadline = self.waited + self._stall_seconds
        self._deadline = deadline if deadline < until else until
        start = self._low
        if self._high - start < _PDU_HEADER_SIZE:
            start = self._gather(_PDU_HEADER_SIZE)
        self._low = start + _PDU_HEADER_SIZE
        kind, length = _PDU_HEADER.unpack_from(self._buffer, start)
        pdu_type = _PDU_TYPES.get(kind)
        if pdu_type is None:
            raise ProtocolViolation(f"PDU type {kind:#04x}", AbortReason.UNRECOGNIZED_PDU)
        limit = self._maximum_length if pdu_type is PduType.P_DATA else MAXIMUM_CONTROL_PDU
        if limit and length > limit:
            raise ProtocolViolation(f"{pdu_type.name} of {length} bytes", AbortReason.INVALID_PDU_PARAMETER_VALUE)
        return Pdu(pdu_type, length)

    def has_input(self) -> bool:
        """True when the peer has sent something more, or is gone; waits for nothing.

        Raises
        ------
        Interrupted
            This side wants to stop.
        """
        return self._high > self._low or self._wait(select.POLLIN, 0.0, interruptible=True)

    def limit_time(self, seconds: float) -> None:
        """Bound the wait for the body of the current PDU from now, whatever its rate (ARTIM)."""
        self._deadline = min(self._deadline, self.waited + seconds)

    def body(self, pdu: Pdu) -> bytes:
        """The body of an association, release or abort PDU."""
        parts = []
        left = pdu.length
        while left:
            if self._low == self._high:
                self._refill(1)
            piece = bytes(self._view[self._low : min(self._high, self._low + left)])
            self._low += len(piece)
            parts.append(piece)
            left -= len(piece)
        return b"".join(parts)

    def fragments(self, pdu: Pdu) -> Iterator[Fragment]:
        """The presentation data values of a P-DATA-TF, in pieces of at most :data:`BUFFER_SIZE`, as they arrive.

        Raises
        ------
        ProtocolViolation
            An item that is too short or reaches beyond the PDU.
        """
        if not self._grown:
            self._grow()
        left_in_pdu = pdu.length
        while left_in_pdu:
            if left_in_pdu < _PDV_HEADER_SIZE:
                raise ProtocolViolation("PDV item cut short", AbortReason.INVALID_PDU_PARAMETER_VALUE)
            start = self._low
            if self._high - start < _PDV_HEADER_SIZE:
                start = self._gather(_PDV_HEADER_SIZE)
            self._low = start + _PDV_HEADER_SIZE
            item_length, context_id, control = _PDV_HEADER.unpack_from(self._buffer, start)
            left_in_pdu -= item_length + 4
            if item_length < 2 or left_in_pdu < 0:
                raise ProtocolViolation("PDV item length", AbortReason.INVALID_PDU_PARAMETER_VALUE)
            left = item_length - 2
            is_command, is_last = bool(control & 1), bool(control & 2)
            if not left:
                yield Fragment(context_id, is_command, is_last, self._view[:0])
            while left:
                start = self._low
                if start == self._high:
                    # Behind a fragment that is not the last one comes at least the header of the next.
                    self._refill(left if is_last else left + _PDU_HEADER_SIZE + _PDV_HEADER_SIZE)
                    start = 0
                end = start + left if start + left < self._high else self._high
                self._low = end
                left -= end - start
                yield Fragment(context_id, is_command, is_last and not left, self._view[start:end])

    def send(self, data: bytes | bytearray | memoryview, timeout: float) -> None:
        """Send all bytes.

        Raises
        ------
        PeerStalled
            The peer did not take them within ``timeout`` seconds.
        ConnectionLost
            The connection is gone.
        """
        deadline = time.monotonic() + timeout
        while data:
            try:
                sent = self._sock.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not self._wait(select.POLLOUT, deadline - time.monotonic()):
                    raise PeerStalled("the peer does not read") from None
                continue
            except OSError as error:
                raise ConnectionLost(type(error).__name__) from None
            if sent == len(data):  # as almost always
                return
            data = memoryview(data)[sent:]

    def send_abort(self, reason: AbortReason | None) -> None:
        """Send an A-ABORT, by the service user when ``reason`` is None; never raises."""
        pdu = A_ABORT_RQ()
        pdu.source = 0 if reason is None else 2
        pdu.reason_diagnostic = int(reason or 0)
        with contextlib.suppress(UpperLayerError):
            self.send(pdu.encode(), timeout=1.0)

    def close(self, *, linger: float = 0.0) -> None:
        """Close; with ``linger`` wait that long for the peer to read what we sent last (Sta13).

        Closing at once with unread input makes the kernel send RST, which may discard our last PDU at the peer.
        """
        if linger:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
                end = time.monotonic() + linger
                while (left := end - time.monotonic()) > 0:
                    self._sock.settimeout(left)
                    if not self._sock.recv_into(self._buffer):
                        break
        with contextlib.suppress(OSError):
            self._sock.close()

    def drop(self) -> None:
        """End the connection from another thread: whoever waits on it sees :class:`ConnectionLost`."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _grow(self) -> None:
        rest = bytes(self._view[self._low : self._high])
        self._buffer = bytearray(BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._view[: len(rest)] = rest
        self._low, self._high = 0, len(rest)
        self._grown = True

    def _await_first_byte(self, timeout: float, interruptible: bool) -> None:
        if interruptible:
            self._want(1)
            if not self._wait(select.POLLIN, timeout, interruptible=True):
                raise PeerStalled("nothing received")
        else:  # in the middle of a message there mostly is something
            self._low = self._high = 0
            self._receive(self.waited + timeout, "nothing received", 1)

    def _wait(self, events: int, seconds: float, *, interruptible: bool = False) -> bool:
        """True when one of the events came in time; 0 for none asks only whether this side wants to stop."""
        poll = select.poll()
        seconds, began = max(0.0, seconds), time.monotonic()
        try:
            if events:
                poll.register(self._sock, events)
            if interruptible and self._wake is not None:
                poll.register(self._wake, select.POLLIN)
            ready = poll.poll(seconds * 1000)
        except (OSError, ValueError):
            raise ConnectionLost("closed") from None
        self.waited += min(time.monotonic() - began, seconds)
        if interruptible and self._wake is not None and any(fd == self._wake.fileno() for fd, _ in ready):
            raise Interrupted
        return bool(ready)

    def _gather(self, count: int) -> int:
        """Wait for ``count`` contiguous bytes, more than there are, and return where they begin; small counts only."""
        rest = self._high - self._low
        self._view[:rest] = bytes(self._view[self._low : self._high])
        self._low, self._high = 0, rest
        while self._high < count:
            self._fill(count - self._high)
        return 0

    def _refill(self, to_come: int) -> None:
        """Put at least one byte at the beginning of the buffer; ``to_come`` are known to be on their way."""
        self._low = self._high = 0
        self._fill(to_come)

    def _fill(self, wanted: int) -> None:
        self._deadline += self._receive(self._deadline, "PDU incomplete", wanted) / MINIMUM_RATE

    def _want(self, count: int) -> None:
        """Let the kernel wake this thread for so many bytes, or for the end; a stream in crumbs costs a switch each."""
        count = 1 if count <= _PDU_HEADER_SIZE else min(count, len(self._buffer) - self._high)
        if count == self._wanted:
            return
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        except OSError:
            return  # the connection is gone, which the next call says
        self._wanted = count

    def _receive(self, deadline: float, problem: str, wanted: int) -> int:
        """Wait for ``wanted`` bytes and take what is there; fewer when they do not come within a moment.

        The socket is asked before the peer is judged: what is there is there, however late this side looks.
        """
        self._want(wanted)
        while True:
            late = self.waited >= deadline
            began = time.monotonic()
            try:
                count = self._sock.recv_into(self._view[self._high :], 0, socket.MSG_DONTWAIT if late else 0)
                self.waited += min(time.monotonic() - began, SLICE)
                break
            except BlockingIOError:
                if late:
                    raise PeerStalled(problem) from None
                self.waited += min(time.monotonic() - began, SLICE)
            except OSError as error:
                raise ConnectionLost(type(error).__name__) from None
        if not count:
            raise ConnectionLost("closed")
        self._high += count
        self.bytes_received += count
        return count
