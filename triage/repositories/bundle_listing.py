"""How the bundles stand, as a worker last wrote it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from triage.repositories import events
from triage.tables import BundleListing

_ONLY = 1


def put(session: Session, revision: int, bundles: Sequence[Mapping[str, Any]], *, at: datetime) -> None:
    """Take the place of what was written down before; an event tells whoever watches when that was something else."""
    row = session.get(BundleListing, _ONLY, with_for_update=True)
    if row is None:
        row = BundleListing(id=_ONLY, at=at, revision=-1, bundles=[])
        session.add(row)
    listed = [dict(bundle) for bundle in bundles]
    if (row.revision, row.bundles) != (revision, listed):
        events.record(session, "bundles_listed", at=at, who="deliver", revision=revision)
    row.at, row.revision, row.bundles = at, revision, listed


def current(session: Session) -> BundleListing | None:
    """The listing; None before any worker has looked."""
    return session.get(BundleListing, _ONLY)
