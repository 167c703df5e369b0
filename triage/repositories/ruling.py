"""Site rules applied to rows: to a case when its facts arrive, to all open cases once when the rules have changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.instances import InstanceHeader, Received
from triage.priority import Targets
from triage.repositories import events, installation
from triage.repositories.placing import place_study
from triage.rules import FACTS, CaseFacts, RuleSet
from triage.states import ReadingStatus
from triage.tables import Study

WHO: Final = "site rules"
TOGETHER: Final = 500
"""Open cases judged in one transaction: senders wait for it on SQLite."""
_OF_HEADER: Final = tuple(f.name for f in fields(InstanceHeader) if f.name in FACTS and f.name != "modality")


def facts_of_arrivals(items: Sequence[Received]) -> CaseFacts:
    """What the rules may ask about a study that begins with these instances."""
    first = items[0].arrival
    said = {name: next(filter(None, (getattr(item.header, name) for item in items)), "") for name in _OF_HEADER}
    return CaseFacts(
        **said,
        modality="\\".join({item.header.modality for item in items}),
        calling_ae_title=first.calling_ae_title,
        received_at=first.received_at,
    )


def claim_by_rules(session: Session, study: Study, rules: RuleSet, *, at: datetime) -> bool:
    """Let the rules claim a class for the case as its row is now; True when the case has to be placed anew.

    What a rule has claimed stands: a process that was started without the site's settings must not lower a case.
    """
    claim = rules.claim(CaseFacts.of(study))
    before = study.rule_urgency
    if claim is None or (before is not None and claim.urgency.rank > before.rank):
        return False
    if (claim.urgency, claim.reason) == (before, study.rule_reason):
        return False
    study.rule_urgency, study.rule_reason = claim.urgency, claim.reason
    if before is not claim.urgency:
        events.record(
            session,
            "rule_claimed",
            at=at,
            study=study,
            who=WHO,
            before=None if before is None else str(before),
            after=str(claim.urgency),
            reason=claim.reason,
        )
    return True


def judge_open_cases(
    session: Session, rules: RuleSet, targets: Targets, *, behind: int, at: datetime
) -> tuple[int | None, int]:
    """Judge some cases that nobody has read, in the order of their rows.

    Returns
    -------
    tuple[int or None, int]
        The last row that was judged, None behind the last one; and how many claims changed.
    """
    unread = sa.select(Study.id).where(Study.id > behind, Study.reading_status != ReadingStatus.READ)
    ids = list(session.scalars(unread.order_by(Study.id).limit(TOGETHER)))
    locked = (  # in the order of intake, so that neither waits for the other
        sa.select(Study).where(Study.id.in_(ids)).order_by(Study.study_instance_uid).with_for_update(key_share=True)
    )
    changed = [study for study in session.scalars(locked) if claim_by_rules(session, study, rules, at=at)]
    for study in changed:
        place_study(session, study, targets, at=at, who=WHO)
    return ids[-1] if ids else None, len(changed)


def are_applied(session: Session, rules: RuleSet) -> bool:
    """True when these are the rules that the open cases were last judged by."""
    return installation.rules_digest(session) == rules.digest


def remember_judged(session: Session, rules: RuleSet, *, changed: int, at: datetime) -> None:
    """All open cases are judged by these rules now."""
    installation.of(session, at=at).rules_digest = rules.digest
    events.record(session, "rules_changed", at=at, who="settings", rules=len(rules.rules), cases=changed)
