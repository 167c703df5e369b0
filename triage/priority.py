"""The order of the reading list: pure, explained, and fair to those who wait.

Three classes are kept apart: the order's, the site rules' and the AI's; a case has the highest of them, so the AI can
only raise. STAT stands first; behind it everything is sorted by due time = arrival + target of its class, earliest
first. An old ROUTINE case thus overtakes a fresh URGENT one, which bounds every wait (the ageing that Baltruschat et
al., Eur Radiol 2021, found missing in class-only sorting). A person's class wins over all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from triage.findings import Urgency

UPS_PRIORITY: Final[Mapping[Urgency, str]] = {Urgency.STAT: "HIGH", Urgency.URGENT: "MEDIUM", Urgency.ROUTINE: "LOW"}
"""Scheduled Procedure Step Priority (0074,1200) has three values, as we have classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """Target turnaround per class, from arrival to read, in minutes."""

    stat: float = 15.0
    urgent: float = 30.0
    routine: float = 120.0

    def of(self, urgency: Urgency) -> timedelta:
        minutes = {Urgency.STAT: self.stat, Urgency.URGENT: self.urgent, Urgency.ROUTINE: self.routine}
        return timedelta(minutes=minutes[urgency])


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """Who asks for which class; None says nothing. The reasons are shown in the list."""

    order: Urgency | None = None
    rule: Urgency | None = None
    rule_reason: str = ""
    ai: Urgency | None = None
    ai_reason: str = ""
    manual: Urgency | None = None
    manual_by: str = ""
    manual_reason: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """A case's place: compare ``(tier, due_at)``, smaller first; ties are broken by arrival, then by row id."""

    urgency: Urgency
    tier: int
    due_at: datetime
    explanation: str


STAT_TIER: Final = 0
DUE_TIME_TIER: Final = 1
AFTER_PEOPLE: Final = timedelta(microseconds=1)
"""By this the due time of what the AI alone calls STAT is later: of two that are due at the same time, the one that a
person, an order or a site rule calls STAT comes first."""


def place(claims: Claims, arrived_at: datetime, targets: Targets) -> Placement:
    """Class, sort key and the one-line explanation of a case.

    The explanation names what decided and the due time in UTC, for instance
    "Pneumothorax 0.94 >= 0.60 -> STAT; due 10:42".
    """
    if claims.manual is not None:
        urgency, why = (
            claims.manual,
            f"set by {claims.manual_by or 'a person'}: {claims.manual_reason}".rstrip(": "),
        )
    else:
        urgency = Urgency.highest(claims.order, claims.rule, claims.ai)
        why = _deciding(claims, urgency)
    due_at = arrived_at + targets.of(urgency)
    explanation = f"{why} → {urgency}; due {due_at:%H:%M}"
    if urgency is not Urgency.STAT:
        return Placement(urgency, DUE_TIME_TIER, due_at, explanation)
    by_people = Urgency.STAT in (claims.manual, claims.order, claims.rule)
    return Placement(urgency, STAT_TIER, due_at if by_people else due_at + AFTER_PEOPLE, explanation)


def _deciding(claims: Claims, urgency: Urgency) -> str:
    # A person's order is named before a rule, a rule before the AI, when they ask for the same class.
    if urgency is Urgency.ROUTINE:
        return claims.ai_reason or "no reason to hurry"
    if claims.order is urgency:
        return f"ordered {urgency}"
    if claims.rule is urgency:
        return claims.rule_reason or "site rule"
    return claims.ai_reason or "AI finding"


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """Guards the list against a flood of AI positives (a drifted model calls everything STAT).

    Attributes
    ----------
    limit : float
        Highest share of STAT by AI among the last ``window`` analysed cases.
    minimum : int
        Below this many cases the share says nothing and the breaker stays closed.
    """

    limit: float = 0.4
    window: int = 50
    minimum: int = 20

    def tripped(self, stat_by_ai: int, analysed: int) -> bool:
        """True when AI cases must enter as URGENT instead of STAT."""
        return analysed >= self.minimum and stat_by_ai > self.limit * analysed

    def admit(self, urgency: Urgency, *, stat_by_ai: int, analysed: int) -> Urgency:
        """The class an AI finding may claim now."""
        if urgency is Urgency.STAT and self.tripped(stat_by_ai, analysed):
            return Urgency.URGENT
        return urgency
