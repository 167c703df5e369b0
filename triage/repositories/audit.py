"""The audit of the house: every change of users, tokens, peers, bundles, rules and the like, before and after.

Steps of a case are kept in :mod:`triage.repositories.events`. Entries are only ever added; a trigger refuses the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.repositories import events
from triage.tables import AuditEntry


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What an entry has to be; empty fields ask nothing.

    Attributes
    ----------
    subject : str
        A whole subject ("peer:CT1"), or a kind with its colon ("peer:") for all of that kind.
    since, until : datetime, optional
        From this moment on; before this moment.
    """

    who: str = ""
    action: str = ""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None


def record(
    session: Session,
    *,
    at: datetime,
    who: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> AuditEntry:
    """Append an entry, in the transaction of the change itself; an event tells whoever watches.

    Parameters
    ----------
    who : str
        Name of the person or program that made the change.
    action : str
        Constant snake-case name, such as "peer_added".
    subject : str
        Kind and name of what was changed, such as "peer:CT1".
    before, after : mapping or None
        What JSON can say, without secrets and without anything of a patient; None where there was, or is, nothing.
    """
    entry = AuditEntry(
        at=at,
        who=who,
        action=action,
        subject=subject,
        before=None if before is None else dict(before),
        after=None if after is None else dict(after),
    )
    session.add(entry)
    events.record(session, "house_changed", at=at, who=who, action=action, subject=subject)
    return entry


def listed(
    session: Session, wanted: AuditFilter, *, before: int | None = None, limit: int = 50
) -> Sequence[AuditEntry]:
    """Entries with an id below ``before``, newest first."""
    query = sa.select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if wanted.who:
        query = query.where(AuditEntry.who == wanted.who)
    if wanted.action:
        query = query.where(AuditEntry.action == wanted.action)
    if wanted.subject.endswith(":"):
        query = query.where(AuditEntry.subject.startswith(wanted.subject, autoescape=True))
    elif wanted.subject:
        query = query.where(AuditEntry.subject == wanted.subject)
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEntry.at < wanted.until)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return session.scalars(query).all()
