"""Claims that run out: who has left without a word keeps no case from the others.

A claim lasts some time from its reader's last sign: claiming, any other step through the case, the open page of the
case. Nobody's clock is trusted further: signs from the future, after the clock was set back, count from now.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.errors import StateError
from triage.repositories import events
from triage.states import ReadingStatus, advance
from triage.tables import Study

CLAIMED: Final = sa.text("studies.reading_status = 'CLAIMED'")
"""Literal, because SQLite takes a partial index only for the very text it was made with."""
_TOGETHER: Final = 100


def renew(study: Study, *, who: str, at: datetime) -> None:
    """``who`` is still at the case. No event: it changes nothing that anybody is shown.

    Raises
    ------
    StateError
        ``who`` does not have it (any more).
    """
    if study.reading_status is not ReadingStatus.CLAIMED or study.reader != who:
        now_with = f"{study.reader} has it now" if study.reader else "nobody has it now"
        raise StateError(f"You no longer have claimed this case; {now_with}.", next_step="Claim it again.")
    study.claim_seen_at = at


def settle(session: Session, study: Study, *, who: str, lasts: timedelta | None, at: datetime) -> None:
    """Before a step of ``who``: a claim of theirs is renewed, one of somebody else that has run out ends now."""
    if study.reading_status is not ReadingStatus.CLAIMED:
        return
    if study.reader == who:
        study.claim_seen_at = at
    elif lasts is not None and study.claim_seen_at is not None and study.claim_seen_at + lasts <= at:
        _end(session, study, at=at)


def end_silent(session: Session, *, lasts: timedelta, at: datetime) -> int:
    """Give back the cases whose claims have run out; returns how many."""
    session.execute(
        sa.update(Study)
        .where(CLAIMED, Study.claim_seen_at > at)
        .values(claim_seen_at=at)
        .execution_options(synchronize_session=False)
    )
    silent = (
        sa.select(Study)
        .where(CLAIMED, Study.claim_seen_at <= at - lasts)
        .order_by(Study.claim_seen_at)
        .limit(_TOGETHER)
        .with_for_update(key_share=True, skip_locked=True)
    )
    studies = session.scalars(silent).all()
    for study in studies:
        _end(session, study, at=at)
    return len(studies)


def any_to_end(session: Session, *, lasts: timedelta, at: datetime) -> bool:
    """True when :func:`end_silent` has something to do."""
    silent_or_odd = sa.or_(Study.claim_seen_at <= at - lasts, Study.claim_seen_at > at)
    return session.scalar(sa.select(sa.exists().where(CLAIMED, silent_or_odd))) or False


def _end(session: Session, study: Study, *, at: datetime) -> None:
    reader, seen = study.reader, study.claim_seen_at
    study.reading_status = advance(study.reading_status, ReadingStatus.UNREAD)
    study.reader, study.claimed_at, study.claim_seen_at = "", None, None
    silent = int((at - seen).total_seconds() // 60) if seen else None
    events.record(session, "claim_ran_out", at=at, study=study, who="sweep", reader=reader, silent_minutes=silent)
