"""The identity of this installation: made at its first start, the same ever after."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy.orm import Session

from triage.repositories import events
from triage.repositories.upsert import insert_or_ignore
from triage.tables import Installation

_ONLY = 1


def of(session: Session, *, at: datetime) -> Installation:
    """The one row, made when it is first asked for."""
    known = session.get(Installation, _ONLY)
    if known is None:
        insert_or_ignore(session, Installation, id=_ONLY, device_uid=_new_uid(), created_at=at)
        known = session.get_one(Installation, _ONLY)
    return known


def device_uid(session: Session, *, at: datetime) -> str:
    """Device UID (0018,1002) of this node: in every result object, and in every UID that it derives."""
    return of(session, at=at).device_uid


def rules_digest(session: Session) -> str:
    """Of the site rules that the open cases were last judged by; "" for none."""
    known = session.get(Installation, _ONLY)
    return "" if known is None else known.rules_digest


def renew_device_uid(session: Session, *, at: datetime) -> None:
    """A new identity for a database that an older state was put back into.

    UIDs of results are derived from it. What was made and sent after that state is forgotten here and known to others:
    under the old identity the same analysis would give other content under the same UID.
    """
    of(session, at=at).device_uid = _new_uid()
    events.record(session, "identity_renewed", at=at, who="restore")


def _new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"
