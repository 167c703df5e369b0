"""A Storage SCU that costs next to nothing: PDUs are encoded before the clock starts, bytes go out as they are.

It shares no code with the product, keeps every answer as a receipt, and never repairs what it sends.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from peers.digests import data_set_digest

APPLICATION_CONTEXT: Final = b"1.2.840.10008.3.1.1.1"
IMPLEMENTATION: Final = b"2.25.167190419820611300247"
MAXIMUM_LENGTH: Final = 131072
"""Bytes of a P-DATA PDU that we send at most, whatever the peer allows."""
SUCCESS: Final = 0x0000


class AssociationError(ConnectionError):
    """The association was rejected, aborted or never came about; the text says which."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An encoded SOP instance.

    Attributes
    ----------
    digest : str
        Of the data set, as the product's row has it.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes = field(repr=False)
    digest: str

    @classmethod
    def made(cls, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, data_set: bytes) -> Self:
        return cls(sop_class_uid, sop_instance_uid, transfer_syntax_uid, data_set, data_set_digest(data_set))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The instance in a Part 10 file."""
        raw = path.read_bytes()
        end = 144 + struct.unpack_from("<L", raw, 140)[0]
        meta: dict[int, bytes] = {}
        at = 144
        while at < end:
            element, vr, length = struct.unpack_from("<H2sH", raw, at + 2)
            at += 8
            if vr in (b"OB", b"UN"):
                (length,) = struct.unpack_from("<L", raw, at)
                at += 4
            meta[element] = raw[at : at + length]
            at += length
        sop_class, sop_instance, syntax = (meta[e].rstrip(b"\0 ").decode("ascii") for e in (0x02, 0x03, 0x10))
        return cls.made(sop_class, sop_instance, syntax, raw[end:])

    @property
    def context(self) -> tuple[str, str]:
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one C-STORE request.

    Attributes
    ----------
    status : int or None
        None when the association ended without an answer.
    seconds : float
        From the first byte sent to the answer.
    at : float
        Monotonic time of the answer.
    """

    instance: Instance
    status: int | None
    seconds: float
    at: float

    @property
    def receipt(self) -> bool:
        return self.status == SUCCESS


class Association:
    """One association, for the contexts that its instances need. A context manager that releases."""

    def __init__(
        self,
        port: int,
        contexts: Iterable[tuple[str, str]],
        *,
        host: str = "127.0.0.1",
        called: str = "FIRSTREAD",
        calling: str = "REPLAY",
        timeout: float = 60.0,
        maximum_length: int = MAXIMUM_LENGTH,
    ) -> None:
        self.contexts = {context: 2 * number + 1 for number, context in enumerate(dict.fromkeys(contexts))}
        assert len(self.contexts) <= 128, "an association has at most 128 presentation contexts"
        self.accepted: set[int] = set()
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.sendall(_associate_request(self.contexts, called, calling))
            kind, body = self._read_pdu()
            if kind != 2:
                raise AssociationError(f"associate answered with PDU type {kind:#x} {body[:4].hex()}")
            self.maximum_length = min(self._read_accept(body) or maximum_length, maximum_length)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    def encode(self, instance: Instance, message_id: int = 1) -> bytes:
        """The whole request as PDUs for this association."""
        context = self.contexts[instance.context]
        if context not in self.accepted:
            raise AssociationError(f"context {instance.context} was not accepted")
        command = _element(0x0002, _padded(instance.sop_class_uid)) + _element(0x0100, b"\1\0")
        command += _element(0x0110, struct.pack("<H", message_id)) + _element(0x0700, b"\0\0")
        command += _element(0x0800, b"\0\0") + _element(0x1000, _padded(instance.sop_instance_uid))
        command = _element(0x0000, struct.pack("<L", len(command))) + command
        pdus = [_p_data(context, 3, command)]
        data, step = memoryview(instance.data_set), self.maximum_length - 6
        pdus += [
            _p_data(context, 2 if at + step >= len(data) else 0, data[at : at + step])
            for at in range(0, len(data), step)
        ]
        return b"".join(pdus)

    def store(self, instance: Instance, encoded: bytes | None = None) -> Answer:
        """Send one instance and await its answer. A broken association is an answer without status."""
        pdus = self.encode(instance) if encoded is None else encoded
        begin = time.perf_counter()
        try:
            self.socket.sendall(pdus)
            status = self._read_status()
        except OSError:
            status = None
        return Answer(instance, status, time.perf_counter() - begin, time.monotonic())

    def echo(self) -> int:
        """C-ECHO over the first context; returns its status."""
        command = _element(0x0002, _padded("1.2.840.10008.1.1")) + _element(0x0100, b"\x30\0")
        command += _element(0x0110, b"\1\0") + _element(0x0800, b"\1\1")
        command = _element(0x0000, struct.pack("<L", len(command))) + command
        self.socket.sendall(_p_data(min(self.accepted), 3, command))
        return self._read_status()

    def release(self) -> None:
        """A-RELEASE; a peer that is gone already is no error."""
        try:
            self.socket.sendall(b"\5\0\0\0\0\4\0\0\0\0")
            self._read_pdu()
        except OSError:
            pass
        finally:
            self.socket.close()

    def abort(self) -> None:
        """A-ABORT by the service user."""
        try:
            self.socket.sendall(b"\7\0\0\0\0\4\0\0\0\0")
        except OSError:
            pass
        finally:
            self.socket.close()

    def reset(self) -> None:
        """Vanish: the peer sees a TCP reset in the middle of whatever it reads."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _read_status(self) -> int:
        command = b""
        while True:
            kind, body = self._read_pdu()
            if kind != 4:
                raise AssociationError(f"a PDU of type {kind:#x} instead of an answer")
            at = 0
            while at < len(body):
                length, _, header = struct.unpack_from(">LBB", body, at)
                command += body[at + 6 : at + 4 + length]
                at += 4 + length
                if header & 3 == 3:
                    return _status(command)

    def _read_accept(self, body: bytes) -> int:
        """Maximum length that the peer receives; notes which contexts it accepted."""
        at, maximum = 68, 0
        while at < len(body):
            kind, _, length = struct.unpack_from(">BBH", body, at)
            item = body[at + 4 : at + 4 + length]
            if kind == 0x21 and item[2] == 0:
                self.accepted.add(item[0])
            elif kind == 0x50:
                inner = 0
                while inner < len(item):
                    sub, _, size = struct.unpack_from(">BBH", item, inner)
                    if sub == 0x51:
                        (maximum,) = struct.unpack_from(">L", item, inner + 4)
                    inner += 4 + size
            at += 4 + length
        return maximum

    def _read_pdu(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBL", self._read(6))
        return kind, self._read(length)

    def _read(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.socket.recv(count)
            if not part:
                raise AssociationError("the peer closed the connection")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """A finished run: every answer, and the seconds from the first request to the last answer."""

    answers: Sequence[Answer]
    seconds: float

    @property
    def receipts(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.receipt]

    def latency(self, share: float) -> float:
        """Seconds within which that share of all requests was answered, 0.5 for the median."""
        ordered = sorted(answer.seconds for answer in self.answers)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def replay(
    port: int,
    shares: Sequence[Sequence[Instance]],
    *,
    host: str = "127.0.0.1",
    called: str = "FIRSTREAD",
    calling: str = "REPLAY",
    timeout: float = 60.0,
    maximum_length: int = MAXIMUM_LENGTH,
) -> Replay:
    """Send each share over an association of its own, all at once.

    Everything is encoded and all associations are open before the clock starts. An association that breaks leaves the
    rest of its share without an answer.
    """
    associations = [
        Association(
            port, (i.context for i in share), host=host, called=called, calling=calling, timeout=timeout,
            maximum_length=maximum_length,
        )
        for share in shares
    ]  # fmt: skip
    encoded = [
        [association.encode(instance, number % 65535 + 1) for number, instance in enumerate(share)]
        for association, share in zip(associations, shares, strict=True)
    ]
    answers: list[Answer] = []
    start = threading.Barrier(len(shares) + 1)

    def run(association: Association, share: Sequence[Instance], pdus: Sequence[bytes]) -> None:
        start.wait()
        for number, instance in enumerate(share):
            answer = association.store(instance, pdus[number])
            answers.append(answer)
            if answer.status is None:
                answers.extend(Answer(rest, None, 0.0, answer.at) for rest in share[number + 1 :])
                association.socket.close()
                return

    threads = [
        threading.Thread(target=run, args=(association, share, pdus), daemon=True)
        for association, share, pdus in zip(associations, shares, encoded, strict=True)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    for association in associations:
        association.release()
    return Replay(answers=answers, seconds=seconds)


def _associate_request(contexts: dict[tuple[str, str], int], called: str, calling: str) -> bytes:
    body = struct.pack(">HH", 1, 0) + called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
    body += _item(0x10, APPLICATION_CONTEXT)
    for (abstract, transfer), number in contexts.items():
        syntaxes = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
        body += _item(0x20, struct.pack(">BBBB", number, 0, 0, 0) + syntaxes)
    body += _item(0x50, _item(0x51, struct.pack(">L", 16384)) + _item(0x52, IMPLEMENTATION))
    return struct.pack(">BBL", 1, 0, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _p_data(context: int, header: int, fragment: bytes | memoryview) -> bytes:
    return struct.pack(">BBLLBB", 4, 0, len(fragment) + 6, len(fragment) + 2, context, header) + fragment


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(value)) + value


def _padded(uid: str) -> bytes:
    value = uid.encode("ascii")
    return value + b"\0" * (len(value) % 2)


def _status(command: bytes) -> int:
    at = 0
    while at + 8 <= len(command):
        _, element, length = struct.unpack_from("<HHL", command, at)
        if element == 0x0900:
            return int(struct.unpack_from("<H", command, at + 8)[0])
        at += 8 + length
    raise AssociationError("an answer without a status")
