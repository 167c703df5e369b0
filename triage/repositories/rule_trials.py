"""A dry run of site rules: which recent cases they would have moved, how far, and why. Nothing is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.findings import Urgency
from triage.priority import Breaker, Claims, Targets, place
from triage.rules import FACTS, CaseFacts, RuleSet
from triage.tables import Study

MOST_CASES: Final = 100_000
"""More are not looked at: the newest count."""
_SAID: Final = ("study_instance_uid", "accession_number", "urgency", "order_urgency", "ai_urgency", "manual_urgency")


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedCase:
    """A case that the rules raise.

    Attributes
    ----------
    before, after : Urgency
        Its class without any site rule and with the ones that are tried.
    now : Urgency
        What it has, under the rules in force when it was last judged.
    rule, reason : str
        The rule that decides, and the line that the list would show.
    """

    study_instance_uid: str
    accession_number: str
    received_at: datetime
    modality: str
    before: Urgency
    after: Urgency
    now: Urgency
    rule: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TriedRule:
    """What became of one rule: how many cases it holds for, and how many it is the one to move."""

    name: str
    urgency: Urgency
    matched: int
    moved: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleTrial:
    """A dry run.

    Attributes
    ----------
    cases : int
        How many arrived since then and were looked at.
    all_looked_at : bool
        False when there were more than :data:`MOST_CASES`.
    stat_before, stat_after : int
        Of these, how many are STAT without and with the rules.
    moved : int
        How many get another class; ``examples`` are the newest of them.
    warning : str
        Not empty when so many become STAT that the class says nothing any more.
    """

    cases: int
    all_looked_at: bool
    stat_before: int
    stat_after: int
    moved: int
    rules: tuple[TriedRule, ...]
    examples: tuple[MovedCase, ...]
    warning: str


def try_rules(
    session: Session, rules: RuleSet, *, since: datetime, targets: Targets, breaker: Breaker, examples: int
) -> RuleTrial:
    """Judge the cases that arrived since then, read or not, as if the rules had been in force.

    Parameters
    ----------
    breaker : Breaker
        Its limit for STAT by AI is also what more STAT by rule is warned of.
    examples : int
        At most so many of the moved cases are named.
    """
    columns = [getattr(Study, name) for name in (*FACTS, "order_ward", *_SAID)]
    query = (
        sa.select(*columns)
        .where(Study.received_at >= since)
        .order_by(Study.received_at.desc(), Study.id.desc())
        .limit(MOST_CASES)
    )
    cases = 0
    matched: Counter[str] = Counter()
    moved: list[MovedCase] = []
    classes: Counter[tuple[str, Urgency]] = Counter()
    deciding: Counter[str] = Counter()
    for row in session.execute(query):
        cases += 1
        claims = rules.matching(CaseFacts.of(row))
        matched.update(claim.rule for claim in claims)
        before = _class(row, None, targets)
        after = _class(row, claims[0].urgency if claims else None, targets)
        classes.update((("before", before), ("after", after)))
        if after is before:
            continue
        deciding[claims[0].rule] += 1
        if len(moved) < examples:
            moved.append(_moved(row, before, after, claims[0].rule, claims[0].reason))
    stat_before, stat_after = classes["before", Urgency.STAT], classes["after", Urgency.STAT]
    tried = (
        TriedRule(name=rule.name, urgency=rule.urgency, matched=matched[rule.name], moved=deciding[rule.name])
        for rule in sorted(rules.rules, key=lambda rule: rule.name)
    )
    return RuleTrial(
        cases=cases,
        all_looked_at=cases < MOST_CASES,
        stat_before=stat_before,
        stat_after=stat_after,
        moved=deciding.total(),
        rules=tuple(tried),
        examples=tuple(moved),
        warning=_warning(stat_before, stat_after, cases, breaker),
    )


def _class(row: Any, rule: Urgency | None, targets: Targets) -> Urgency:
    claims = Claims(order=row.order_urgency, rule=rule, ai=row.ai_urgency, manual=row.manual_urgency)
    return place(claims, row.received_at, targets).urgency


def _moved(row: Any, before: Urgency, after: Urgency, rule: str, reason: str) -> MovedCase:
    return MovedCase(
        study_instance_uid=row.study_instance_uid,
        accession_number=row.accession_number,
        received_at=row.received_at,
        modality=row.modality,
        before=before,
        after=after,
        now=row.urgency,
        rule=rule,
        reason=reason,
    )


def _warning(before: int, after: int, cases: int, breaker: Breaker) -> str:
    if after <= before or not breaker.tripped(after, cases):
        return ""
    return (
        f"{after / cases:.0%} of the cases would be STAT, more than the {breaker.limit:.0%} that the AI may ask for "
        "(ai_stat_share): where most is STAT, nothing is. Narrow the rules, or let some ask for URGENT."
    )
