"""A-ASSOCIATE PDUs (PS3.8 sections 9.3.2 to 9.3.4, PS3.7 annex D): proposal, answer, rejection, in both directions.

All are one tree of (type, length, value) items. Items of unknown type are stepped over, as PS3.8 9.3.1 demands;
pynetdicom's classes refuse them, and copy all supported contexts for each association.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dicom_node.admission import APPLICATION_CONTEXT_NAME, Rejection
from dicom_node.contexts import ContextAnswer, ContextResult
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.upper_layer import AbortReason, PduType, ProtocolViolation

MAXIMUM_CONTEXTS: Final = 128

_FIXED: Final = 68
"""Bytes of an A-ASSOCIATE-RQ or -AC body before its items: version, reserved, two AE titles, reserved."""


class _Item(IntEnum):
    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    ANSWERED_CONTEXT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
    IMPLEMENTATION_VERSION_NAME = 0x55


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of a request: an abstract syntax in any of some transfer syntaxes."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A decoded A-ASSOCIATE-RQ. AE titles are as on the wire; bytes outside Latin-1 text cannot occur in them."""

    calling_ae_title: str
    called_ae_title: str
    protocol_version: int
    application_context_name: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int
    implementation_version_name: str
    asynchronous: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """A decoded A-ASSOCIATE-AC: answers by context id, and the longest P-DATA-TF the peer takes (0: any)."""

    answers: Mapping[int, ContextAnswer]
    maximum_length: int
    implementation_version_name: str


def read_request(body: bytes) -> Proposal:
    """Decode the body of an A-ASSOCIATE-RQ.

    Raises
    ------
    ProtocolViolation
        An item reaches beyond its parent, more than 128 contexts, or a context id that is even or used twice.
    """
    _check_fixed(body)
    name = ""
    contexts: dict[int, ProposedContext] = {}
    user: dict[int, bytes] = {}
    for kind, value in _items(body[_FIXED:]):
        if kind == _Item.APPLICATION_CONTEXT:
            name = _uid(value)
        elif kind == _Item.PROPOSED_CONTEXT:
            context = _proposed(value)
            if context.context_id in contexts or not context.context_id & 1 or len(contexts) >= MAXIMUM_CONTEXTS:
                raise _invalid("presentation context id")
            contexts[context.context_id] = context
        elif kind == _Item.USER_INFORMATION:
            user = dict(_items(value))
    return Proposal(
        calling_ae_title=body[20:36].decode("latin-1"),
        called_ae_title=body[4:20].decode("latin-1"),
        protocol_version=int.from_bytes(body[:2], "big"),
        application_context_name=name,
        contexts=tuple(contexts.values()),
        maximum_length=_maximum_length(user),
        implementation_version_name=_version_name(user),
        asynchronous=_Item.ASYNCHRONOUS_OPERATIONS_WINDOW in user,
    )


def encode_request(
    calling_ae_title: str, called_ae_title: str, contexts: Sequence[ProposedContext], maximum_length: int
) -> bytes:
    """An A-ASSOCIATE-RQ, header included."""
    titles = called_ae_title.ljust(16).encode("ascii") + calling_ae_title.ljust(16).encode("ascii")
    proposed = (
        _item(
            _Item.PROPOSED_CONTEXT,
            struct.pack(">Bxxx", context.context_id)
            + _item(_Item.ABSTRACT_SYNTAX, context.abstract_syntax)
            + b"".join(_item(_Item.TRANSFER_SYNTAX, uid) for uid in context.transfer_syntaxes),
        )
        for context in contexts
    )
    return _associate(PduType.ASSOCIATE_RQ, titles + bytes(32), b"".join(proposed), _user_information(maximum_length))


def encode_acceptance(
    request_body: bytes, answers: Mapping[int, ContextAnswer], maximum_length: int, *, window: bool
) -> bytes:
    """An A-ASSOCIATE-AC, header included; the reserved fields repeat the request's, as PS3.8 Table 9-17 demands.

    Parameters
    ----------
    window : bool
        Answer the asynchronous operations window with (1, 1): one operation at a time (PS3.7 D.3.3.3).
    """
    # A refused context still carries a transfer syntax item, which the requestor shall not test (Table 9-18).
    answered = (
        _item(
            _Item.ANSWERED_CONTEXT,
            struct.pack(">BxBx", context_id, answer.result)
            + _item(_Item.TRANSFER_SYNTAX, answer.transfer_syntax or "1.2.840.10008.1.2"),
        )
        for context_id, answer in answers.items()
    )
    extra = _item(_Item.ASYNCHRONOUS_OPERATIONS_WINDOW, struct.pack(">HH", 1, 1)) if window else b""
    return _associate(
        PduType.ASSOCIATE_AC, request_body[4:_FIXED], b"".join(answered), _user_information(maximum_length, extra)
    )


def encode_rejection(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ, header included."""
    return struct.pack(">BxLxBBB", PduType.ASSOCIATE_RJ, 4, *rejection.value)


def read_acceptance(body: bytes) -> Acceptance:
    """Decode the body of an A-ASSOCIATE-AC.

    Raises
    ------
    ProtocolViolation
        An item reaches beyond its parent.
    """
    _check_fixed(body)
    answers: dict[int, ContextAnswer] = {}
    user: dict[int, bytes] = {}
    for kind, value in _items(body[_FIXED:]):
        if kind == _Item.ANSWERED_CONTEXT and len(value) >= 4:
            syntaxes = [_uid(v) for k, v in _items(value[4:]) if k == _Item.TRANSFER_SYNTAX]
            result = ContextResult(value[2]) if value[2] in tuple(ContextResult) else ContextResult.NO_REASON
            accepted = result is ContextResult.ACCEPTANCE and bool(syntaxes)
            answers[value[0]] = ContextAnswer(result, syntaxes[0] if accepted else "")
        elif kind == _Item.USER_INFORMATION:
            user = dict(_items(value))
    return Acceptance(
        answers=answers, maximum_length=_maximum_length(user), implementation_version_name=_version_name(user)
    )


def read_rejection(body: bytes) -> tuple[int, int, int]:
    """(result, source, reason) of an A-ASSOCIATE-RJ body; zeros where it is too short."""
    return (body[1], body[2], body[3]) if len(body) >= 4 else (0, 0, 0)


def _proposed(value: bytes) -> ProposedContext:
    if len(value) < 4:
        raise _invalid("presentation context item")
    abstract_syntax, transfer_syntaxes = "", []
    for kind, sub_value in _items(value[4:]):
        if kind == _Item.ABSTRACT_SYNTAX:
            abstract_syntax = _uid(sub_value)
        elif kind == _Item.TRANSFER_SYNTAX:
            transfer_syntaxes.append(_uid(sub_value))
    return ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes))


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        if len(data) - position < 4:
            raise _invalid("item header")
        kind, length = struct.unpack_from(">BxH", data, position)
        position += 4
        if length > len(data) - position:
            raise _invalid("item length")
        yield kind, data[position : position + length]
        position += length


def _item(kind: _Item, value: bytes | str) -> bytes:
    raw = value.encode("ascii") if isinstance(value, str) else value
    return struct.pack(">BxH", kind, len(raw)) + raw


def _associate(kind: PduType, fixed: bytes, contexts: bytes, user_information: bytes) -> bytes:
    body = struct.pack(">Hxx", 1) + fixed + _item(_Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT_NAME)
    body += contexts + user_information
    return struct.pack(">BxL", kind, len(body)) + body


def _user_information(maximum_length: int, extra: bytes = b"") -> bytes:
    return _item(
        _Item.USER_INFORMATION,
        _item(_Item.MAXIMUM_LENGTH, struct.pack(">L", maximum_length))
        + _item(_Item.IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID)
        + extra
        + _item(_Item.IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION_NAME),
    )


def _maximum_length(user: Mapping[int, bytes]) -> int:
    value = user.get(_Item.MAXIMUM_LENGTH, b"")
    return int.from_bytes(value, "big") if len(value) == 4 else 16384


def _version_name(user: Mapping[int, bytes]) -> str:
    return user.get(_Item.IMPLEMENTATION_VERSION_NAME, b"").decode("ascii", errors="replace").strip()[:16]


def _uid(value: bytes) -> str:
    return value.decode("ascii", errors="replace").strip("\x00 ")


def _check_fixed(body: bytes) -> None:
    if len(body) < _FIXED:
        raise _invalid("association PDU length")


def _invalid(what: str) -> ProtocolViolation:
    return ProtocolViolation(what, AbortReason.INVALID_PDU_PARAMETER_VALUE)
