"""What is known of an association: who, since when, how it went, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AssociationEnd(StrEnum):
    """How an association ended."""

    RELEASED = "RELEASED"
    """By the peer, in order."""
    STOPPED = "STOPPED"
    """By this node, which is shutting down."""
    LIMIT_REACHED = "LIMIT_REACHED"
    """By this node: it went on for too long, sent too much, or held its place without storing anything."""
    WITHDRAWN = "WITHDRAWN"
    """By this node: the peer was taken off the list while it was open."""
    ABORTED = "ABORTED"
    """A-ABORT by the peer."""
    LOST = "LOST"
    """The connection broke."""
    TIMED_OUT = "TIMED_OUT"
    """Nothing, or too little, came in time; aborted by this node."""
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    """The peer broke PS3.8 or PS3.7; aborted by this node."""
    FAILED = "FAILED"
    """A defect of this software; the log has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationSummary:
    """An association as told to whoever waits for it to open or close.

    Attributes
    ----------
    association_uid : str
        The same as :attr:`triage.instances.Arrival.association_uid` of its instances.
    stored, failed : int
        C-STORE operations answered with Success, and with anything else.
    closed_at, end
        None while it is open.
    """

    association_uid: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    opened_at: datetime
    stored: int = 0
    failed: int = 0
    closed_at: datetime | None = None
    end: AssociationEnd | None = None
