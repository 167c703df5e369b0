"""May the files of this study go, and if not, why not? Pure: facts, a clock and a policy in, a verdict out.

Only copies may go: of a study that is complete and analysed, whose results have arrived with proof, and that nobody
still has to look at. Its rows stay. When in doubt the files stay, and a full disk refuses new data instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from triage.states import AnalysisStatus, DeliveryStatus, Proof, terminal

NEED_A_PERSON: Final = frozenset({"identity_changed", "no_identity"})
"""Flags that a person settles by reading the case. Any other flag keeps the files: nobody may have the other copy."""
EARLIER: Final = 1.25
ENOUGH: Final = 1.2
"""So much more than the mark is made free before removing stops."""
_ARRIVED: Final = frozenset({DeliveryStatus.SENT, DeliveryStatus.COMMITTED})
_STRENGTH: Final = {proof: strength for strength, proof in enumerate(Proof, start=1)}


class Mode(StrEnum):
    """When files are removed at all."""

    NEVER = "never"
    """The node refuses new data when the disk is full."""
    ROOM = "room"
    """The oldest that may go, while room is short."""
    AGE = "age"
    """As with ``room``, and everything that may go as soon as it is old enough."""


class Kept(StrEnum):
    """Why files stay, in the order in which it is asked."""

    NOTHING = "has no files"
    RECEIVING = "images may still come"
    OPEN = "an analysis is not finished"
    FAILED = "the analysis failed and nobody has read the case"
    DAMAGED = "a file is damaged"
    FLAGGED = "a warning needs a person"
    OWED = "a result is still on its way"
    DEAD = "a delivery was given up"
    UNPROVEN = "a destination has not shown that it holds the results"
    NOWHERE = "its results were owed to no destination"
    YOUNG = "too young"
    UNREAD = "nobody has read it and it is not old enough to go unread"
    ROOM = "there is room"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPolicy:
    """What a site has decided.

    Attributes
    ----------
    days : float
        From this age a case may go although nobody has marked it as read here.
    minimum_days : float
        Nothing younger goes, however short room is. Age counts from the last image.
    free_percent : float
        Room is short below this part of the file system.
    needs_proof : Proof
        Weakest proof that a destination holds a result.
    """

    mode: Mode = Mode.ROOM
    days: float = 30.0
    minimum_days: float = 7.0
    free_percent: float = 10.0
    needs_proof: Proof = Proof.READ_BACK

    @property
    def youngest(self) -> timedelta:
        return timedelta(days=self.minimum_days)

    @property
    def oldest(self) -> timedelta:
        return timedelta(days=max(self.days, self.minimum_days))

    @property
    def proofs(self) -> frozenset[Proof]:
        """Proofs that suffice."""
        return frozenset(proof for proof in Proof if _STRENGTH[proof] >= _STRENGTH[self.needs_proof])

    def marks(self, total: int, refused_below: int) -> tuple[int, int]:
        """(room is short below, and until) in the unit of the arguments: bytes, or inodes.

        At the latest a quarter above the mark below which new data is refused: room is made before that.
        """
        begin = max(int(total * self.free_percent / 100), int(refused_below * EARLIER))
        return begin, int(begin * ENOUGH)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryFacts:
    """One object owed to one destination.

    ``awaited``: it has been asked to commit and has not answered yet. ``message``: to a system that speaks no DICOM,
    whose answer is all the proof there is, and which holds no image or report for us. ``superseded``: nobody waits for
    it any more, because a newer message went out first.
    """

    status: DeliveryStatus
    proof: Proof | None = None
    awaited: bool = False
    message: bool = False
    superseded: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisFacts:
    """One analysis: its state, how many result objects it made (without messages), and what became of them.

    ``latest``: of the newest revision. An older one that failed was made good by a newer one.
    """

    status: AnalysisStatus
    latest: bool = True
    objects: int = 0
    deliveries: Sequence[DeliveryFacts] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFacts:
    """What is known of one study at one moment.

    Attributes
    ----------
    files : int
        How many of its files are still here.
    read : bool
        A person has marked the case as read here.
    damaged : bool
        A file is known to be missing or altered.
    analyses : sequence of AnalysisFacts
        Of every revision.
    """

    complete: bool
    last_received_at: datetime
    files: int
    read: bool = False
    flags: frozenset[str] = frozenset()
    damaged: bool = False
    analyses: Sequence[AnalysisFacts] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``kept`` is None when the files may go; ``reason`` then says why they do."""

    kept: Kept | None
    reason: str


def may_go(facts: CaseFacts, now: datetime, policy: RetentionPolicy, *, short: bool) -> Verdict:
    """Judge one study.

    Parameters
    ----------
    now : datetime
        Aware. A study from the future is too young.
    short : bool
        True while room is short.
    """
    kept = _unfinished(facts) or _unproven(facts, policy) or _too_young(facts, now, policy)
    if kept is not None:
        return Verdict(kept, kept.value)
    age = now - facts.last_received_at
    if policy.mode is Mode.AGE and age >= policy.oldest:
        return Verdict(None, f"older than {policy.oldest.days} days")
    if policy.mode is not Mode.NEVER and short:
        return Verdict(None, "room was short")
    return Verdict(Kept.ROOM, Kept.ROOM.value)


def _unfinished(facts: CaseFacts) -> Kept | None:
    latest = {analysis.status for analysis in facts.analyses if analysis.latest}
    return _first(
        (not facts.files, Kept.NOTHING),
        (not facts.complete, Kept.RECEIVING),
        (not latest or not all(terminal(analysis.status) for analysis in facts.analyses), Kept.OPEN),
        (AnalysisStatus.FAILED in latest and not facts.read, Kept.FAILED),
        (facts.damaged, Kept.DAMAGED),
        (bool(facts.flags) and not (facts.read and facts.flags <= NEED_A_PERSON), Kept.FLAGGED),
    )


def _unproven(facts: CaseFacts, policy: RetentionPolicy) -> Kept | None:
    deliveries = [each for analysis in facts.analyses for each in analysis.deliveries if not each.superseded]
    return _first(
        (any(delivery.status is DeliveryStatus.DEAD for delivery in deliveries), Kept.DEAD),
        (any(delivery.status not in _ARRIVED or delivery.awaited for delivery in deliveries), Kept.OWED),
        (any(delivery.proof not in policy.proofs for delivery in deliveries if not delivery.message), Kept.UNPROVEN),
        (any(analysis.objects and not _objects_sent(analysis) for analysis in facts.analyses), Kept.NOWHERE),
    )


def _objects_sent(analysis: AnalysisFacts) -> bool:
    return any(not delivery.message for delivery in analysis.deliveries)


def _too_young(facts: CaseFacts, now: datetime, policy: RetentionPolicy) -> Kept | None:
    age = now - facts.last_received_at
    return _first(
        (age < policy.youngest, Kept.YOUNG),
        (not facts.read and age < policy.oldest, Kept.UNREAD),
    )


def _first(*reasons: tuple[bool, Kept]) -> Kept | None:
    return next((kept for applies, kept in reasons if applies), None)
