"""Is this study complete, and if not, what are we waiting for?

DICOM has no event for it, so the rule weighs what is known and always says its reason. Pure: facts and a clock in,
a verdict out. The verdict never delays an analysis (that starts at the first acceptable image); it decides when the
report is issued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

RADIOGRAPHY: Final = frozenset({"CR", "DX"})


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionPolicy:
    """How long to wait. All times in seconds."""

    quiet: float = 60.0
    """Without a new instance for this long a study is complete; the pause between two series of one examination."""
    quiet_radiograph: float = 0.0
    """The same for studies of CR and DX only, counted from the end of the sending association: one exposure is a
    whole examination, and a further view that comes later re-opens the study."""
    max_open: float = 900.0
    """A study that keeps growing is reported after this long, and again when more comes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """What is known of one study at one moment. Datetimes are aware, from the node's clock.

    Attributes
    ----------
    modalities : frozenset of str
        Modality (0008,0060) of every instance received.
    received, expected : int
        Distinct SOP instances here; how many the sender announced, None when it did not.
    opened_at, last_received_at : datetime
        Arrival of the first and the last instance of the current opening.
    open_associations : sequence of str
        Calling AE titles of associations that sent to this study and have not ended.
    last_association_ended_at : datetime or None
        When the latest of the ended ones ended.
    """

    modalities: frozenset[str]
    received: int
    expected: int | None
    opened_at: datetime
    last_received_at: datetime
    open_associations: Sequence[str] = ()
    last_association_ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``look_at``: when time alone may change the verdict; None when only an event can (or nothing must)."""

    complete: bool
    reason: str
    look_at: datetime | None = None


def judge(facts: StudyFacts, now: datetime, policy: CompletionPolicy) -> Verdict:
    """Weigh the facts, strongest first: the announced number, the upper bound, open associations, quiet time."""
    if facts.expected is not None and facts.received >= facts.expected:
        return Verdict(True, f"all {facts.expected} announced instances are here")
    deadline = facts.opened_at + timedelta(seconds=policy.max_open)
    if now >= deadline:
        return Verdict(True, f"open for {policy.max_open / 60:.0f} minutes, the longest wait allowed")
    if facts.open_associations:
        senders = ", ".join(sorted(set(facts.open_associations)))
        return Verdict(False, f"{senders} is still sending", deadline)

    radiograph = facts.modalities <= RADIOGRAPHY
    quiet = policy.quiet_radiograph if radiograph else policy.quiet
    since = max(filter(None, (facts.last_received_at, facts.last_association_ended_at)))
    quiet_until = since + timedelta(seconds=quiet)
    if now >= quiet_until:
        return Verdict(True, "the sender has finished" if quiet == 0 else f"nothing new for {quiet:.0f} s")
    absent = 0 if facts.expected is None else facts.expected - facts.received
    missing = f"{absent} announced instance{'' if absent == 1 else 's'} missing, " if absent else ""
    return Verdict(False, f"{missing}waiting for {quiet:.0f} s without a new instance", min(quiet_until, deadline))
