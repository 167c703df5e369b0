"""How long a peer may hold an association: rules against the one that sends just enough to keep its place.

Every wait for bytes is bounded in :mod:`dicom_node.upper_layer`. What is judged here is longer than one wait: a
message as a whole (a byte now and then, or fragments without any), and an association as a whole (C-ECHO for ever).
The time that this node itself takes is never counted against the peer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dicom_node.upper_layer import MINIMUM_RATE, AbortReason, ProtocolViolation

FREE_FRAGMENTS: Final = 1000
"""Fragments of a message that may be of any size."""
SMALLEST_FRAGMENT: Final = 16
"""Bytes that the others must have on the average; the smallest PDU of the standard's time had 4 KiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationLimits:
    """After any of these an association is released between two messages.

    Attributes
    ----------
    seconds : float
        Since it was opened.
    seconds_without_store : float
        Since it was opened or an instance was stored last: C-ECHO does not keep a place.
    received_bytes : int
    """

    seconds: float = 24 * 3600.0
    seconds_without_store: float = 600.0
    received_bytes: int = 1024**4


class Pace:
    """The clock of one association.

    Parameters
    ----------
    stall_seconds : float
        A message may take this long plus a second per :data:`~dicom_node.upper_layer.MINIMUM_RATE` bytes of it.
    waited : callable
        Seconds that this side has waited for the peer (:attr:`dicom_node.upper_layer.Connection.waited`).
    """

    def __init__(
        self,
        limits: AssociationLimits,
        stall_seconds: float,
        *,
        waited: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._waited = waited
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._opened_at = self._stored_at = clock()
        self.deadline = 0.0
        """When the next bytes of the message must be there, on the clock ``waited``."""
        self._fragments = 0
        self._bytes = 0

    def message_begins(self) -> None:
        """The first fragment of a command set is there."""
        self.deadline = self._waited() + self._stall_seconds
        self._fragments = self._bytes = 0

    def received(self, count: int) -> None:
        """A piece of a message came.

        Raises
        ------
        ProtocolViolation
            The message comes in crumbs.
        """
        self._fragments += 1
        self._bytes += count
        self.deadline += count / MINIMUM_RATE
        if self._fragments > FREE_FRAGMENTS and self._bytes < SMALLEST_FRAGMENT * (self._fragments - FREE_FRAGMENTS):
            raise ProtocolViolation("message in fragments without content", AbortReason.NOT_SPECIFIED)

    def stored(self) -> None:
        """An instance was stored."""
        self._stored_at = self._clock()

    def limit_passed(self, received_bytes: int) -> str:
        """The limit that ends the association now, between two messages; "" when none does."""
        now = self._clock()
        if now - self._opened_at > self._limits.seconds:
            return "seconds"
        if now - self._stored_at > self._limits.seconds_without_store:
            return "seconds_without_store"
        return "received_bytes" if received_bytes > self._limits.received_bytes else ""
