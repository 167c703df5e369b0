"""Applying the completion rule to rows: facts out of the tables, verdict into them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.completion import CompletionPolicy, StudyFacts, judge
from triage.repositories import analyses, events
from triage.states import StudyStatus, advance
from triage.tables import Association, Instance, Study


def reconsider(session: Session, study: Study, now: datetime, policy: CompletionPolicy) -> bool:
    """Judge the study now; True if it became complete. Its analysis is due then, with or without acceptable images."""
    if study.status is StudyStatus.COMPLETE:
        return False
    verdict = judge(facts_of(session, study), now, policy)
    study.status_reason, study.look_at = verdict.reason, verdict.look_at
    if not verdict.complete:
        return False
    study.status = advance(study.status, StudyStatus.COMPLETE)
    study.completed_at, study.look_at = now, None
    events.record(session, "study_complete", at=now, study=study, who="completion rule", reason=verdict.reason)
    analyses.wake(session, study)
    return True


def sending(session: Session, study: Study) -> bool:
    """True while an association that sent to the study is open."""
    return bool(facts_of(session, study).open_associations)


def facts_of(session: Session, study: Study) -> StudyFacts:
    """What the tables know of the study, as the rule wants it."""
    session.flush()
    senders = list(session.scalars(_STILL_SENDING, {"study": study.id}))
    ended = None
    if not senders:  # while one is open nobody asks when others ended, and a large study has many rows to look through
        ended = session.scalar(_SENT_LAST, {"study": study.id})
    return StudyFacts(
        modalities=frozenset(filter(None, study.modality.split("\\"))),
        received=study.instance_count,
        expected=study.expected_instances,
        opened_at=study.opened_at,
        last_received_at=study.last_received_at,
        open_associations=senders,
        last_association_ended_at=ended,
    )


# Built once, for every association that ends and every study that is looked at.
_sent_to_it: Final = sa.exists().where(
    Instance.association_id == Association.id, Instance.study_id == sa.bindparam("study")
)
_STILL_SENDING: Final = (
    sa.select(Association.calling_ae_title).where(Association.closed_at.is_(None), _sent_to_it).order_by(Association.id)
)
_SENT_LAST: Final = sa.select(sa.func.max(Association.closed_at)).where(
    Association.id.in_(sa.select(Instance.association_id).where(Instance.study_id == sa.bindparam("study")).distinct())
)


def due_studies(session: Session, now: datetime, limit: int = 100) -> list[Study]:
    """Studies whose time to look has come, oldest first, locked; rows another sweep holds are left to it."""
    query = (
        sa.select(Study)
        .where(Study.look_at.is_not(None), Study.look_at <= now)
        .order_by(Study.look_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return list(session.scalars(query))


def any_due(session: Session, now: datetime) -> bool:
    """True when the rule must look at some study now."""
    return session.scalar(sa.select(sa.exists().where(Study.look_at.is_not(None), Study.look_at <= now))) or False
