"""A-ASSOCIATE and A-RELEASE PDUs (PS3.8 section 9.3, PS3.7 annex D): what a requestor sends and hears, and rejections.

pynetdicom's PDU and item classes encode and decode. Before them this module checks every length and steps over what
PS3.8 9.3.1 says to step over: they raise on unknown items, and log UIDs that are none. The acceptor's half is
:mod:`dicom_node.proposal`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ
from pynetdicom.pdu_items import (
    AbstractSyntaxSubItem,
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    SCP_SCU_RoleSelectionSubItem,
    TransferSyntaxSubItem,
    UserInformationItem,
)

from dicom_node.admission import Rejection
from dicom_node.contexts import ContextAnswer, ContextResult
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.upper_layer import AbortReason, ProtocolViolation

MAXIMUM_CONTEXTS: Final = 128

RELEASE_RQ: Final[bytes] = A_RELEASE_RQ().encode()
RELEASE_RP: Final[bytes] = A_RELEASE_RP().encode()

_FIXED: Final = 68
"""Bytes of an A-ASSOCIATE-RQ or -AC body before its items: version, reserved, two AE titles, reserved."""

_DEFAULT_MAXIMUM_LENGTH: Final = 16384
"""For a peer that names none, against PS3.8 D.1."""

_ANSWERED_CONTEXT: Final = 0x21
_TRANSFER_SYNTAX: Final = 0x40
_USER_INFORMATION: Final = 0x50
_MAXIMUM_LENGTH: Final = 0x51

_UID: Final = re.compile(rb"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of a request: an abstract syntax in any of some transfer syntaxes."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Roles:
    """Which sides of a SOP class the requestor takes (PS3.7 D.3.3.4); without a selection it is the user."""

    user: bool
    provider: bool

    def __and__(self, other: Roles) -> Roles:
        return Roles(user=self.user and other.user, provider=self.provider and other.provider)


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """A decoded A-ASSOCIATE-AC: answers by context id, and the longest P-DATA-TF the peer takes (0: any)."""

    answers: Mapping[int, ContextAnswer]
    maximum_length: int


def encode_request(
    calling_ae_title: str,
    called_ae_title: str,
    contexts: Sequence[ProposedContext],
    maximum_length: int,
    *,
    provider_of: Iterable[str] = (),
) -> bytes:
    """An A-ASSOCIATE-RQ, header included.

    Parameters
    ----------
    provider_of : iterable of str
        SOP classes that the requestor is the provider of, and only that.

    Raises
    ------
    ValueError
        An AE title that is none.
    """
    pdu = A_ASSOCIATE_RQ()
    pdu.called_ae_title = called_ae_title
    pdu.calling_ae_title = calling_ae_title
    pdu.variable_items = [
        ApplicationContextItem(),
        *(_proposed_item(context) for context in contexts),
        user_information(maximum_length, roles=dict.fromkeys(provider_of, Roles(user=False, provider=True))),
    ]
    return bytes(pdu.encode())


def encode_rejection(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ, header included."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = rejection.value
    return bytes(pdu.encode())


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
        if kind == _ANSWERED_CONTEXT and len(value) >= 4:
            item = PresentationContextItemAC()
            item.decode(_whole(kind, value[:4] + _known_uids(_items(value[4:]), _TRANSFER_SYNTAX)))
            result = ContextResult(item.result) if item.result in tuple(ContextResult) else ContextResult.NO_REASON
            accepted = result is ContextResult.ACCEPTANCE and item.transfer_syntax is not None
            answers[value[0]] = ContextAnswer(result, str(item.transfer_syntax) if accepted else "")
        elif kind == _USER_INFORMATION:
            user = dict(_items(value))
    return Acceptance(answers=answers, maximum_length=_maximum_length(user))


def read_rejection(body: bytes) -> tuple[int, int, int]:
    """(result, source, reason) of an A-ASSOCIATE-RJ body; zeros where it is too short."""
    return (body[1], body[2], body[3]) if len(body) >= 4 else (0, 0, 0)


def _proposed_item(context: ProposedContext) -> PresentationContextItemRQ:
    abstract_syntax = AbstractSyntaxSubItem()
    abstract_syntax.abstract_syntax_name = UID(context.abstract_syntax)
    item = PresentationContextItemRQ()
    item.presentation_context_id = context.context_id
    item.abstract_transfer_syntax_sub_items = [abstract_syntax, *map(_transfer_syntax, context.transfer_syntaxes)]
    return item


def _transfer_syntax(uid: str) -> TransferSyntaxSubItem:
    item = TransferSyntaxSubItem()
    item.transfer_syntax_name = UID(uid)
    return item


def user_information(maximum_length: int, *, window: bool = False, roles: Mapping[str, Roles]) -> UserInformationItem:
    """Who we are, the longest P-DATA-TF we take, our roles; ``window``: one operation at a time (PS3.7 D.3.3.3)."""
    length = MaximumLengthSubItem()
    length.maximum_length_received = maximum_length
    implementation = ImplementationClassUIDSubItem()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameSubItem()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    item = UserInformationItem()
    item.user_data = [length, implementation]
    if window:
        operations = AsynchronousOperationsWindowSubItem()
        operations.maximum_number_operations_invoked = 1
        operations.maximum_number_operations_performed = 1
        item.user_data.append(operations)
    item.user_data.extend(_role_selection(sop_class, taken) for sop_class, taken in roles.items())
    item.user_data.append(version)
    return item


def _role_selection(sop_class: str, roles: Roles) -> SCP_SCU_RoleSelectionSubItem:
    item = SCP_SCU_RoleSelectionSubItem()
    item.sop_class_uid = UID(sop_class)
    item.scu_role, item.scp_role = int(roles.user), int(roles.provider)
    return item


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


def _known_uids(items: Iterable[tuple[int, bytes]], *kinds: int) -> bytes:
    """The items of these kinds that hold a UID, padding removed. What is no UID is left out: nothing could match it."""
    stripped = ((kind, value.strip(b"\x00 ")) for kind, value in items if kind in kinds)
    return b"".join(_whole(kind, uid) for kind, uid in stripped if len(uid) <= 64 and _UID.fullmatch(uid))


def _whole(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _maximum_length(user: Mapping[int, bytes]) -> int:
    value = user.get(_MAXIMUM_LENGTH, b"")
    if len(value) != 4:
        return _DEFAULT_MAXIMUM_LENGTH
    item = MaximumLengthSubItem()
    item.decode(_whole(_MAXIMUM_LENGTH, value))
    return int(item.maximum_length_received or 0)


def _check_fixed(body: bytes) -> None:
    if len(body) < _FIXED:
        raise _invalid("association PDU length")


def _invalid(what: str) -> ProtocolViolation:
    return ProtocolViolation(what, AbortReason.INVALID_PDU_PARAMETER_VALUE)
