"""The pending responses of a query on their way: one by one, until they are sent, cancelled, or taken too slowly."""

from __future__ import annotations

import time
from typing import Final

from dicom_node import dimse, negotiation
from dicom_node.dimse import CommandField, CommandSet, CommandSetError, Tag
from dicom_node.find_scp import FindOperation, Match
from dicom_node.requestor import LARGEST_PDU, pdv_header
from dicom_node.store_scp import OUT_OF_RESOURCES, Answer
from dicom_node.upper_layer import (
    AbortReason,
    Connection,
    Interrupted,
    PduType,
    PeerAborted,
    PeerReleased,
    PeerStalled,
    ProtocolViolation,
)

CANCELLED: Final = 0xFE00
SLOWEST_READER: Final = 300.0
"""Seconds in which a peer takes all matches of a query; its place is wanted by others."""
_PDV_HEADER: Final = 6


class MatchSender:
    """Sends the matches of queries on one association.

    Parameters
    ----------
    maximum_length : int
        Longest P-DATA-TF that the peer takes; 0 for any.
    send_seconds : float
        In which the peer takes one of them.
    """

    def __init__(self, connection: Connection, *, maximum_length: int, send_seconds: float) -> None:
        self._connection = connection
        self._fragment = max(2, (min(maximum_length or LARGEST_PDU, LARGEST_PDU) - _PDV_HEADER) & ~1)
        self._send_seconds = send_seconds

    def answer(self, context_id: int, request: CommandSet, operation: FindOperation) -> Answer:
        """Send all matches; returns the response that is still to be sent.

        Raises
        ------
        UpperLayerError
            The association is over; also when the peer wanted something else than to cancel.
        """
        deadline = time.monotonic() + SLOWEST_READER
        for match in operation.matches():
            try:
                if self._cancelled(request):
                    return Answer(CANCELLED, "Cancelled by the peer")
            except Interrupted:
                return Answer(OUT_OF_RESOURCES, "This node is stopping, ask again")
            left = deadline - time.monotonic()
            if left <= 0:
                raise PeerStalled("matches taken too slowly")
            self._send(context_id, request, match, min(left, self._send_seconds))
        return operation.finish()

    def _send(self, context_id: int, request: CommandSet, match: Match, seconds: float) -> None:
        command = dimse.response(request, match.status, has_data_set=True)
        message = self._fragmented(context_id, 1, command) + self._fragmented(context_id, 0, match.data_set)
        self._connection.send(message, seconds)

    def _fragmented(self, context_id: int, kind: int, content: bytes) -> bytes:
        size, parts = self._fragment, []
        for begin in range(0, max(1, len(content)), size):
            piece = content[begin : begin + size]
            last = 2 if begin + size >= len(content) else 0
            parts += [pdv_header(context_id, kind | last, len(piece)), piece]
        return b"".join(parts)

    def _cancelled(self, request: CommandSet) -> bool:
        """Whether the peer has taken this query back (PS3.7 9.3.2.3). Nothing else may come now: one at a time."""
        if not self._connection.has_input():
            return False
        pdu = self._connection.next_pdu(self._send_seconds, interruptible=False)
        if pdu.type is PduType.ABORT:
            raise PeerAborted
        if pdu.type is PduType.RELEASE_RQ:
            self._connection.body(pdu)
            self._connection.send(negotiation.RELEASE_RP, self._send_seconds)
            raise PeerReleased
        if pdu.type is not PduType.P_DATA:
            raise ProtocolViolation(f"unexpected {pdu.type.name}", AbortReason.UNEXPECTED_PDU)
        data = bytearray()
        for fragment in self._connection.fragments(pdu):
            data += fragment.data
            if not fragment.is_command or len(data) > dimse.MAXIMUM_COMMAND_SET:
                raise ProtocolViolation("data set inside a query", AbortReason.UNEXPECTED_PDU_PARAMETER)
        try:
            command = dimse.decode(data)
        except CommandSetError as error:
            raise ProtocolViolation(f"command set: {error}", AbortReason.INVALID_PDU_PARAMETER_VALUE) from None
        if command.command_field != CommandField.C_CANCEL_RQ:
            raise ProtocolViolation("a second operation inside a query", AbortReason.UNEXPECTED_PDU_PARAMETER)
        return command.number(Tag.MESSAGE_ID_BEING_RESPONDED_TO) == request.message_id
