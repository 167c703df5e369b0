"""The state machines of a study's journey, each enum beside its allowed transitions.

Every transition is made by :func:`advance` in the same transaction as its event row, so the audit trail and the
time line of a case cannot disagree with the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from triage.errors import StateError


class StudyStatus(StrEnum):
    RECEIVING = "RECEIVING"
    """Images may still come; the study says what it waits for."""
    COMPLETE = "COMPLETE"
    """Judged complete by :mod:`triage.completion`; a late image re-opens it."""


class AnalysisStatus(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    """Claimed by one worker under a lease and a fencing token."""
    SUCCEEDED = "SUCCEEDED"
    NOT_ANALYSED = "NOT_ANALYSED"
    """Looked at and left out, with a reason: a result, not a failure."""
    FAILED = "FAILED"
    """Given up after repeated attempts, with a reason; the case keeps its place in the order."""


class DeliveryStatus(StrEnum):
    PENDING = "PENDING"
    SENDING = "SENDING"
    SENT = "SENT"
    """The destination answered Success or Warning."""
    COMMITTED = "COMMITTED"
    """The destination took responsibility (PS3.4 Annex J) or showed the object when asked."""
    DEAD = "DEAD"
    """Given up; a person can send it again."""


class Proof(StrEnum):
    """What shows that a destination holds an object, weakest first."""

    ANSWERED = "ANSWERED"
    """It answered the C-STORE with Success or Warning."""
    READ_BACK = "READ_BACK"
    """It listed the object when asked (C-FIND at image level, or its REST interface)."""
    COMMITTED = "COMMITTED"
    """It took responsibility for it (PS3.4 annex J)."""


class CommitmentStatus(StrEnum):
    """A request for storage commitment (PS3.4 annex J)."""

    REQUESTED = "REQUESTED"
    """The destination is to be asked (the row's reason says why it was not yet), or was, and its report is awaited."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """The report lists objects that the destination does not hold; these are sent again."""
    EXPIRED = "EXPIRED"
    """No report came in time; the objects are sent again."""


class ReadingStatus(StrEnum):
    UNREAD = "UNREAD"
    CLAIMED = "CLAIMED"
    READ = "READ"


class RenderingStatus(StrEnum):
    """A frame made for the page."""

    ASKED = "ASKED"
    """A person has opened the case; a worker makes it next."""
    READY = "READY"
    FAILED = "FAILED"
    """It cannot be shown, with a reason."""


class WorkitemStatus(StrEnum):
    """A workitem (PS3.4 annex CC) that another system has scheduled for this node."""

    FOUND = "FOUND"
    """Scheduled; not claimed before its study is here."""
    CLAIMED = "CLAIMED"
    """In progress under our Transaction UID."""
    COMPLETED = "COMPLETED"
    """The manager was told what we did and where the results are."""
    CANCELED = "CANCELED"
    """The manager was told why there is no result."""
    LEFT = "LEFT"
    """Not ours: claimed by another performer, withdrawn, or never with a study of ours."""


class ErrandKind(StrEnum):
    """What a person on the page can ask a worker for."""

    ECHO = "ECHO"
    """C-ECHO to a peer."""
    CHECK_DESTINATION = "CHECK_DESTINATION"
    """Whether a destination can be reached as it is set, without side effects there."""
    CHANGE_BUNDLE = "CHANGE_BUNDLE"
    """Enable or disable a bundle, set or reset an operating point."""
    RETRY_QUARANTINED = "RETRY_QUARANTINED"
    """Feed quarantined bytes through intake again."""


class ErrandStatus(StrEnum):
    ASKED = "ASKED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    """It was tried and the answer is no, or nobody did it in time. It is not tried again by itself."""


State = TypeVar("State", bound=StrEnum)
Transitions = Mapping[StrEnum, frozenset[StrEnum]]

STUDY: Final[Transitions] = {
    StudyStatus.RECEIVING: frozenset({StudyStatus.COMPLETE}),
    StudyStatus.COMPLETE: frozenset({StudyStatus.RECEIVING}),
}
ANALYSIS: Final[Transitions] = {
    AnalysisStatus.QUEUED: frozenset({AnalysisStatus.RUNNING, AnalysisStatus.FAILED}),
    AnalysisStatus.RUNNING: frozenset(
        {
            AnalysisStatus.QUEUED,  # lease expired, or waiting for the rest of the study
            AnalysisStatus.SUCCEEDED,
            AnalysisStatus.NOT_ANALYSED,
            AnalysisStatus.FAILED,
        }
    ),
    AnalysisStatus.SUCCEEDED: frozenset(),  # another look at the study is another revision
    AnalysisStatus.NOT_ANALYSED: frozenset(
        {AnalysisStatus.QUEUED}
    ),  # by a person or a new image: nothing was issued yet
    AnalysisStatus.FAILED: frozenset({AnalysisStatus.QUEUED}),
}
DELIVERY: Final[Transitions] = {
    DeliveryStatus.PENDING: frozenset(
        {
            DeliveryStatus.SENDING,
            DeliveryStatus.DEAD,
            DeliveryStatus.COMMITTED,  # a late report made the resend needless
        }
    ),
    DeliveryStatus.SENDING: frozenset({DeliveryStatus.PENDING, DeliveryStatus.SENT, DeliveryStatus.DEAD}),
    DeliveryStatus.SENT: frozenset({DeliveryStatus.COMMITTED, DeliveryStatus.PENDING}),
    DeliveryStatus.COMMITTED: frozenset({DeliveryStatus.PENDING}),  # by a person: the archive lost what it held
    DeliveryStatus.DEAD: frozenset({DeliveryStatus.PENDING, DeliveryStatus.COMMITTED}),  # by a person; a late report
}
COMMITMENT: Final[Transitions] = {
    CommitmentStatus.REQUESTED: frozenset(
        {CommitmentStatus.SUCCEEDED, CommitmentStatus.FAILED, CommitmentStatus.EXPIRED}
    ),
    CommitmentStatus.SUCCEEDED: frozenset(),
    CommitmentStatus.FAILED: frozenset(),
    # A report may be very late: what it says of the objects is still true.
    CommitmentStatus.EXPIRED: frozenset({CommitmentStatus.SUCCEEDED, CommitmentStatus.FAILED}),
}
READING: Final[Transitions] = {
    ReadingStatus.UNREAD: frozenset({ReadingStatus.CLAIMED, ReadingStatus.READ}),
    ReadingStatus.CLAIMED: frozenset({ReadingStatus.UNREAD, ReadingStatus.READ}),
    ReadingStatus.READ: frozenset({ReadingStatus.UNREAD}),
}
WORKITEM: Final[Transitions] = {
    WorkitemStatus.FOUND: frozenset({WorkitemStatus.CLAIMED, WorkitemStatus.LEFT}),
    WorkitemStatus.CLAIMED: frozenset({WorkitemStatus.COMPLETED, WorkitemStatus.CANCELED, WorkitemStatus.LEFT}),
    WorkitemStatus.COMPLETED: frozenset(),
    WorkitemStatus.CANCELED: frozenset(),
    WorkitemStatus.LEFT: frozenset(),
}
ERRAND: Final[Transitions] = {
    ErrandStatus.ASKED: frozenset({ErrandStatus.RUNNING, ErrandStatus.FAILED}),
    ErrandStatus.RUNNING: frozenset({ErrandStatus.DONE, ErrandStatus.FAILED}),
    ErrandStatus.DONE: frozenset(),
    ErrandStatus.FAILED: frozenset(),
}
RENDERING: Final[Transitions] = {
    RenderingStatus.ASKED: frozenset({RenderingStatus.READY, RenderingStatus.FAILED}),
    RenderingStatus.READY: frozenset({RenderingStatus.ASKED}),  # its file is gone
    RenderingStatus.FAILED: frozenset(),  # forgotten after a while, and asked for anew
}
MACHINES: Final[Mapping[type[StrEnum], Transitions]] = {
    StudyStatus: STUDY,
    AnalysisStatus: ANALYSIS,
    DeliveryStatus: DELIVERY,
    CommitmentStatus: COMMITMENT,
    ReadingStatus: READING,
    WorkitemStatus: WORKITEM,
    ErrandStatus: ERRAND,
    RenderingStatus: RENDERING,
}


def advance(current: State, to: State) -> State:
    """The new state, if the machine of ``current`` allows it.

    Raises
    ------
    StateError
        The transition is not allowed; nothing was changed.
    """
    if to not in MACHINES[type(current)][current]:
        raise StateError(f"{type(current).__name__} cannot go from {current} to {to}.")
    return to


def terminal(state: AnalysisStatus) -> bool:
    """True when no worker will touch the analysis again by itself."""
    return state not in (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)
