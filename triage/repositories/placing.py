"""Writing a case's place in the order: the only code that touches the urgency columns together."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.errors import StateError
from triage.findings import Urgency
from triage.priority import Breaker, Claims, Targets, place
from triage.repositories import events
from triage.tables import Analysis, Event, Study

_LOOKS: Final = 4
"""Analyses that are looked at for each study of the breaker's window: several bundles may read one."""


def claims_of(study: Study) -> Claims:
    """Who asks for which class, as the row says it."""
    return Claims(
        order=study.order_urgency,
        rule=study.rule_urgency,
        rule_reason=study.rule_reason,
        ai=study.ai_urgency,
        ai_reason=study.ai_reason,
        manual=study.manual_urgency,
        manual_by=study.manual_by,
        manual_reason=study.manual_reason,
    )


def place_study(session: Session, study: Study, targets: Targets, *, at: datetime, who: str) -> None:
    """Recompute the place from the claims on the row; a change of class appends an event."""
    before = study.urgency
    placement = place(claims_of(study), study.received_at, targets)
    study.urgency, study.tier = placement.urgency, placement.tier
    study.due_at, study.explanation = placement.due_at, placement.explanation
    if before is not None and before is not placement.urgency:
        events.record(
            session,
            "urgency_changed",
            at=at,
            study=study,
            who=who,
            before=str(before),
            after=str(placement.urgency),
        )


def set_manual_urgency(
    session: Session,
    study: Study,
    urgency: Urgency | None,
    *,
    reason: str,
    by: str,
    targets: Targets,
    at: datetime,
) -> None:
    """A person's class, which wins over everything; None takes it back."""
    before, before_by, before_reason = study.manual_urgency, study.manual_by, study.manual_reason
    study.manual_urgency, study.manual_reason, study.manual_by = urgency, reason, by
    events.record(
        session,
        "priority_set" if urgency is not None else "priority_withdrawn",
        at=at,
        study=study,
        who=by,
        before=None if before is None else str(before),
        after=None if urgency is None else str(urgency),
        reason=reason,
        before_by=before_by,
        before_reason=before_reason,
    )
    place_study(session, study, targets, at=at, who=by)


def undo_manual_urgency(session: Session, study: Study, *, by: str, targets: Targets, at: datetime) -> None:
    """Restore what the latest change by hand replaced: an earlier class with its reason and person, or none.

    Once more undoes the change before that one.

    Raises
    ------
    StateError
        Nobody has changed the class by hand, or all of it is undone.
    """
    change = _latest_not_undone(session, study)
    before, was = change.detail.get("before"), study.manual_urgency
    study.manual_urgency = None if before is None else Urgency(before)
    study.manual_by = change.detail.get("before_by", "")
    study.manual_reason = change.detail.get("before_reason", "")
    events.record(
        session,
        "priority_undone",
        at=at,
        study=study,
        who=by,
        undid=change.id,
        before=None if was is None else str(was),
        after=before,
    )
    place_study(session, study, targets, at=at, who=by)


def _latest_not_undone(session: Session, study: Study) -> Event:
    by_hand = sa.select(Event).where(
        Event.study_id == study.id, Event.kind.in_(("priority_set", "priority_withdrawn", "priority_undone"))
    )
    undone = set()
    for event in session.scalars(by_hand.order_by(Event.id.desc())):
        if event.kind == "priority_undone":
            undone.add(event.detail["undid"])
        elif event.id not in undone:
            return event
    raise StateError("Nobody has set the class of this case by hand; there is nothing to undo.")


def raise_by_ai(
    session: Session,
    study: Study,
    urgency: Urgency,
    reason: str,
    *,
    targets: Targets,
    breaker: Breaker,
    at: datetime,
) -> None:
    """Let the AI claim a class. It replaces the AI's own earlier claim and never touches anybody else's.

    The breaker holds back newcomers only: a case that already is STAT is not lowered for what others look like.
    """
    analysed, stat = recent_ai_classes(session, breaker.window)
    admitted = urgency
    if study.ai_urgency is not Urgency.STAT:
        admitted = breaker.admit(urgency, stat_by_ai=stat, analysed=analysed)
    if admitted is not urgency:
        reason = f"{reason} (entered as {admitted}: too many STAT by AI lately)"
        events.record(session, "breaker_tripped", at=at, study=study, who="AI", stat_by_ai=stat, analysed=analysed)
    study.ai_urgency, study.ai_reason = admitted, reason
    place_study(session, study, targets, at=at, who="AI")


def recent_ai_classes(session: Session, window: int) -> tuple[int, int]:
    """(analysed, of these STAT by AI) among the ``window`` studies that were analysed last.

    Last by the order of their analyses and not by the clock, which may be set back; and so the walk along the primary
    key ends after some rows, however many there are. A study that several bundles read counts once.
    """
    recent = (
        sa.select(Study.id, Study.ai_urgency)
        .join(Analysis, Analysis.study_id == Study.id)
        .where(Analysis.scored_at.is_not(None))
        .order_by(Analysis.id.desc())
        .limit(window * _LOOKS)
    )
    newest = list(dict(session.execute(recent).all()).values())[:window]
    return len(newest), sum(1 for urgency in newest if urgency is Urgency.STAT)
