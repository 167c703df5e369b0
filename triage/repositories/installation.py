"""The identity of this installation: made at its first start, the same ever after."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy.orm import Session

from triage.repositories import events
from triage.repositories.upsert import insert_or_ignore
from triage.tables import Installation

_ONLY = 1


def device_uid(session: Session, *, at: datetime) -> str:
    """Device UID (0018,1002) of this node: in every result object, and in every UID that it derives."""
    known = session.get(Installation, _ONLY)
    if known is None:
        insert_or_ignore(session, Installation, id=_ONLY, device_uid=f"2.25.{uuid.uuid4().int}", created_at=at)
        known = session.get_one(Installation, _ONLY)
    return known.device_uid


def restore_device_uid(session: Session, uid: str, *, at: datetime) -> None:
    """Give the installation the identity back under which its reports are known, after the loss of a database."""
    device_uid(session, at=at)
    session.get_one(Installation, _ONLY).device_uid = uid
    events.record(session, "identity_restored", at=at, who="fsck", device_uid=uid)
