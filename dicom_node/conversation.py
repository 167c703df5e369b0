"""DIMSE messages of any service over an association as requestor: whole, bounded, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dicom_node import dimse, negotiation
from dicom_node.dimse import CommandSet
from dicom_node.requestor import Requestor
from dicom_node.upper_layer import (
    AbortReason,
    ConnectionLost,
    Pdu,
    PduType,
    PeerAborted,
    PeerStalled,
    ProtocolViolation,
)

MAXIMUM_ANSWER: Final = 1024 * 1024
"""Longest data set of a message to us; a storage commitment report about a thousand objects has 150 KiB."""


@dataclass(frozen=True, slots=True)
class Message:
    """A DIMSE message from the peer; ``data_set`` is encoded as its context says, b"" without one."""

    context_id: int
    command: CommandSet
    data_set: bytes


class Conversation(Requestor):
    """An association for services that say more than C-STORE: several answers, or requests of the peer's own."""

    def context_of(self, sop_class_uid: str) -> tuple[int, str] | None:
        """(context id, transfer syntax) of an accepted SOP class, None when the peer did not accept it."""
        found = ((number, syntax) for (uid, syntax), number in self.accepted.items() if uid == sop_class_uid)
        return next(found, None)

    def request(self, context_id: int, command: Callable[[int], bytes], data_set: bytes) -> int:
        """Send a request with its data set.

        Parameters
        ----------
        command : callable
            Encodes the command set for a Message ID.

        Returns
        -------
        int
            The Message ID that the response will name.

        Raises
        ------
        PeerSilentError, DeliveryError
            The association is over.
        """
        message_id = self._next_id()
        with self._translated():
            self._send_command(context_id, command(message_id), memoryview(data_set))
        return message_id

    def answer(self, message: Message, status: int) -> None:
        """Send the response to a request of the peer.

        Raises
        ------
        PeerSilentError, DeliveryError
            The association is over.
        """
        with self._translated():
            self._send_command(message.context_id, dimse.response(message.command, status))

    def receive(self) -> Message:
        """The next message of the peer.

        Raises
        ------
        PeerSilentError, DeliveryError
            None came in time, or none that can be read: the association is over.
        """
        with self._translated():
            return self._message(self._timeouts.response)

    def receive_if_any(self, timeout: float) -> Message | None:
        """The same, but None when the peer has nothing to say within ``timeout`` seconds."""
        with self._translated():
            try:
                return self._message(timeout)
            except PeerStalled:
                return None

    def _message(self, timeout: float) -> Message:
        """One message. A second one in the same PDU would need two operations at a time, which are not offered."""
        command: CommandSet | None = None
        message: Message | None = None
        data = bytearray()
        while message is None:
            pdu = self._next_data(timeout)
            timeout = self._timeouts.response
            for fragment in self._connection.fragments(pdu):
                if message is not None or fragment.is_command is not (command is None):
                    raise ProtocolViolation("message", AbortReason.UNEXPECTED_PDU_PARAMETER)
                data += fragment.data
                if len(data) > (MAXIMUM_ANSWER if command else dimse.MAXIMUM_COMMAND_SET):
                    raise ProtocolViolation("message too long", AbortReason.NOT_SPECIFIED)
                if not fragment.is_last:
                    continue
                if command is None:
                    command = dimse.decode(data)
                    data.clear()
                    if command.has_data_set:
                        continue
                message = Message(fragment.context_id, command, bytes(data))
        return message

    def _next_data(self, timeout: float) -> Pdu:
        pdu: Pdu = self._connection.next_pdu(timeout)
        match pdu.type:
            case PduType.P_DATA:
                return pdu
            case PduType.ABORT:
                raise PeerAborted
            case PduType.RELEASE_RQ:
                self._connection.send(negotiation.RELEASE_RP, self._timeouts.send)
                raise ConnectionLost("released by the peer")
            case _:
                raise ProtocolViolation(f"unexpected {pdu.type.name}", AbortReason.UNEXPECTED_PDU)
