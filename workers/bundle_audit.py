"""Changes of bundles, from the history of ``site.json`` into the database: for the audit and for whoever watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy.orm import Session

from models.site import Change
from triage.repositories import audit, events

_POINT: Final = "operating point of "


def record_changes(session: Session, changes: Iterable[Change]) -> None:
    """Record each change in the trail of events and, with before and after, in the audit."""
    for change in changes:
        detail = change.model_dump(include={"what", "bundle", "before", "after", "reason"})
        events.record(session, "bundle_changed", at=change.at, who=change.who, **detail)
        point = change.what.startswith(_POINT)
        about = {"finding": change.what.removeprefix(_POINT)} if point else {}
        audit.record(
            session,
            at=change.at,
            who=change.who,
            action="bundle_operating_point" if point else f"bundle_{change.what.replace(' ', '_')}",
            subject=f"bundle:{change.bundle}",
            before={**about, "standing": change.before} if change.before else None,
            after={**about, "standing": change.after, "reason": change.reason},
        )
