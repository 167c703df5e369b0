"""Changes asked for from outside: which version of a case they were meant for, and whether they were made already.

The version of a case is the id of its latest event, because every change appends one in its transaction. A request
with an idempotency key signs the events it caused, so a repeat is recognised by every process and after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.tables import Event, Study

_KEY = "request"
_CONTENT = "request_content"


def version(session: Session, study: Study) -> int:
    """Grows with everything that happens to the case."""
    session.flush()
    return session.scalar(sa.select(sa.func.max(Event.id)).where(Event.study_id == study.id)) or 0


def versions(session: Session, study_ids: Sequence[int]) -> Mapping[int | None, int]:
    """:func:`version` of several cases, by row id."""
    session.flush()
    latest = sa.select(Event.study_id, sa.func.max(Event.id)).where(Event.study_id.in_(study_ids))
    return {study_id: event_id or 0 for study_id, event_id in session.execute(latest.group_by(Event.study_id))}


def content_of(session: Session, study: Study, *, who: str, key: str) -> str | None:
    """Digest of the request that ``who`` sent under this key and that was carried out; None when there was none."""
    theirs = sa.select(Event.detail).where(Event.study_id == study.id, Event.who == who)
    return next((detail[_CONTENT] for detail in session.scalars(theirs) if detail.get(_KEY) == key), None)


def sign(session: Session, study: Study, *, after: int, who: str, key: str, content: str) -> None:
    """Note key and content on the events that ``who`` caused since version ``after``."""
    session.flush()
    caused = sa.select(Event).where(Event.study_id == study.id, Event.id > after, Event.who == who)
    for event in session.scalars(caused):
        event.detail = {**event.detail, _KEY: key, _CONTENT: content}
