"""The acceptor's half of the negotiation: an A-ASSOCIATE-RQ read in two steps, and its A-ASSOCIATE-AC.

Who calls is read first and costs next to nothing; what they propose only once they are admitted. Coded here, because
a request is the one thing that anybody may send: pynetdicom's decoder takes 83 ms for 128 contexts of 60 transfer
syntaxes, this one 3 ms (2 cores, 2026), and its encoder 45 microseconds for the smallest answer, this one 4. What is
the same in every answer is encoded by pynetdicom, once.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pynetdicom.pdu_items import ApplicationContextItem

from dicom_node.contexts import IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES, ContextAnswer
from dicom_node.negotiation import MAXIMUM_CONTEXTS, ProposedContext, Roles, user_information
from dicom_node.upper_layer import AbortReason, PduType, ProtocolViolation

MAXIMUM_ITEMS: Final = 256
"""Items of a request, or sub-items of one of them, known or not; the standard knows some 60 transfer syntaxes."""

_FIXED: Final = 68
"""Bytes of the body before its items: version, reserved, two AE titles, reserved."""
_DEFAULT_MAXIMUM_LENGTH: Final = 16384
"""For a peer that names none, against PS3.8 D.1."""

_APPLICATION_CONTEXT: Final = 0x10
_PROPOSED_CONTEXT: Final = 0x20
_ANSWERED_CONTEXT: Final = 0x21
_ABSTRACT_SYNTAX: Final = 0x30
_TRANSFER_SYNTAX: Final = 0x40
_USER_INFORMATION: Final = 0x50
_MAXIMUM_LENGTH: Final = 0x51
_ASYNCHRONOUS_OPERATIONS_WINDOW: Final = 0x53
_ROLE_SELECTION: Final = 0x54

_UID: Final = re.compile(rb"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_PADDING: Final = b"\x00 "
_KNOWN_SYNTAXES: Final = {uid.encode(): uid for uid in TRANSFER_SYNTAXES}
_ITEM_HEADER: Final = struct.Struct(">BxH")
_ANSWERED: Final = struct.Struct(">BxHBxBxBxH")


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """An A-ASSOCIATE-RQ whose presentation contexts have not been looked into yet.

    Attributes
    ----------
    calling_ae_title, called_ae_title : str
        As on the wire, each byte a character of Latin-1.
    application_context_name : str
        "" for one that is no UID.
    encoded_contexts : tuple of bytes
        Values of the presentation context items.
    maximum_length : int
        Longest P-DATA-TF that the peer takes, 0 for any.
    asynchronous : bool
        The peer proposes an asynchronous operations window.
    roles : mapping
        By SOP class UID.
    """

    calling_ae_title: str
    called_ae_title: str
    protocol_version: int
    application_context_name: str
    encoded_contexts: tuple[bytes, ...]
    maximum_length: int
    asynchronous: bool
    roles: Mapping[str, Roles]

    def contexts(self) -> tuple[ProposedContext, ...]:
        """The presentation contexts, with those transfer syntaxes that this node knows.

        Raises
        ------
        ProtocolViolation
            An item reaches beyond its parent, too many of them, or a context id that is even or used twice.
        """
        found: dict[int, ProposedContext] = {}
        for value in self.encoded_contexts:
            context = _context(value)
            if context.context_id in found or not context.context_id & 1:
                raise _invalid("presentation context id")
            found[context.context_id] = context
        return tuple(found.values())


def read_proposal(body: bytes) -> Proposal:
    """Read the body of an A-ASSOCIATE-RQ, all but its presentation contexts.

    Raises
    ------
    ProtocolViolation
        Shorter than its fixed part, an item reaches beyond the end, too many items, more than 128 contexts.
    """
    if len(body) < _FIXED:
        raise _invalid("association PDU length")
    name = ""
    contexts: list[bytes] = []
    user: list[tuple[int, bytes]] = []
    for kind, value in _items(body, _FIXED):
        if kind == _PROPOSED_CONTEXT:
            contexts.append(value)
        elif kind == _APPLICATION_CONTEXT:
            name = _uid(value)
        elif kind == _USER_INFORMATION:
            user = list(_items(value, 0))
    if len(contexts) > MAXIMUM_CONTEXTS:
        raise _invalid("number of presentation contexts")
    last = dict(user)
    maximum = last.get(_MAXIMUM_LENGTH, b"")
    return Proposal(
        calling_ae_title=body[20:36].decode("latin-1"),
        called_ae_title=body[4:20].decode("latin-1"),
        protocol_version=int.from_bytes(body[:2], "big"),
        application_context_name=name,
        encoded_contexts=tuple(contexts),
        maximum_length=int.from_bytes(maximum, "big") if len(maximum) == 4 else _DEFAULT_MAXIMUM_LENGTH,
        asynchronous=_ASYNCHRONOUS_OPERATIONS_WINDOW in last,
        roles={uid: roles for kind, value in user if kind == _ROLE_SELECTION for uid, roles in _roles(value)},
    )


def encode_acceptance(
    request_body: bytes,
    answers: Mapping[int, ContextAnswer],
    maximum_length: int,
    *,
    window: bool,
    roles: Mapping[str, Roles] = MappingProxyType({}),
) -> bytes:
    """An A-ASSOCIATE-AC, header included; the reserved fields repeat the request's, as PS3.8 Table 9-17 demands.

    Parameters
    ----------
    window : bool
        Answer the asynchronous operations window with (1, 1): one operation at a time (PS3.7 D.3.3.3).
    roles : mapping, optional
        The sides that the requestor may take, by SOP class UID.
    """
    first, last = _unchanging_items(maximum_length, window, tuple(roles.items()))
    items = b"".join((first, *(_answered(context_id, answer) for context_id, answer in answers.items()), last))
    head = struct.pack(">BxLHxx", PduType.ASSOCIATE_AC, _FIXED + len(items), 1)
    return head + request_body[4:_FIXED] + items


@functools.lru_cache(maxsize=16)
def _unchanging_items(maximum_length: int, window: bool, roles: tuple[tuple[str, Roles], ...]) -> tuple[bytes, bytes]:
    return ApplicationContextItem().encode(), user_information(
        maximum_length, window=window, roles=dict(roles)
    ).encode()


def _answered(context_id: int, answer: ContextAnswer) -> bytes:
    # A refused context still carries a transfer syntax item, which the requestor shall not test (Table 9-18).
    uid = (answer.transfer_syntax or IMPLICIT_VR_LITTLE_ENDIAN).encode()
    header = _ANSWERED.pack(_ANSWERED_CONTEXT, 8 + len(uid), context_id, answer.result, _TRANSFER_SYNTAX, len(uid))
    return header + uid


def _context(value: bytes) -> ProposedContext:
    if len(value) < 4:
        raise _invalid("presentation context item")
    abstract_syntax = b""
    syntaxes: list[str] = []
    for kind, uid in _items(value, 4):
        if kind == _TRANSFER_SYNTAX:
            known = _KNOWN_SYNTAXES.get(uid) or _KNOWN_SYNTAXES.get(uid.strip(_PADDING))
            if known is not None:
                syntaxes.append(known)
        elif kind == _ABSTRACT_SYNTAX and not abstract_syntax:
            abstract_syntax = uid
    return ProposedContext(value[0], _uid(abstract_syntax), tuple(syntaxes))


def _roles(value: bytes) -> Iterator[tuple[str, Roles]]:
    """A role selection (PS3.7 Table D.3-9); none where it is cut short or its UID is none."""
    uid = _uid(value[2:-2])
    if uid and len(value) == 4 + int.from_bytes(value[:2], "big"):
        yield uid, Roles(user=value[-2] == 1, provider=value[-1] == 1)


def _items(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    end = len(data)
    read_header = _ITEM_HEADER.unpack_from
    for _ in range(MAXIMUM_ITEMS):
        if position >= end:
            return
        if end - position < 4:
            raise _invalid("item header")
        kind, length = read_header(data, position)
        start = position + 4
        position = start + length
        if position > end:
            raise _invalid("item length")
        yield kind, data[start:position]
    if position < end:
        raise _invalid("number of items")


def _uid(value: bytes) -> str:
    """The UID without padding, "" for something that is none: nothing could match it, and it is not for the log."""
    stripped = value.strip(_PADDING)
    return stripped.decode("ascii") if len(stripped) <= 64 and _UID.fullmatch(stripped) else ""


def _invalid(what: str) -> ProtocolViolation:
    return ProtocolViolation(what, AbortReason.INVALID_PDU_PARAMETER_VALUE)
