"""The identity of this installation: made at its first start, the same ever after."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy.orm import Session

from triage.tables import Installation

_ONLY = 1


def device_uid(session: Session, *, at: datetime) -> str:
    """Device UID (0018,1002) of this node: in every result object, and in every UID that it derives."""
    row = session.get(Installation, _ONLY)
    if row is None:
        row = Installation(id=_ONLY, device_uid=f"2.25.{uuid.uuid4().int}", created_at=at)
        session.add(row)
        session.flush()
    return row.device_uid
