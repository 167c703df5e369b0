"""What came and could not become an instance: kept aside, listed, until a person has dealt with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.errors import NotFoundError, StateError
from triage.instances import QuarantinedObject
from triage.repositories import events
from triage.repositories.upsert import insert_or_ignore
from triage.tables import Quarantined


def record(session: Session, kept: QuarantinedObject) -> Quarantined:
    """Record bytes that lie in quarantine. The same ones again stand on the list once, and come back to it."""
    path = kept.relative_path.as_posix()
    insert_or_ignore(
        session, Quarantined, at=kept.arrival.received_at, reason=kept.reason, dicom_status=kept.dicom_status,
        relative_path=path, digest=kept.digest, size=kept.size, transfer_syntax_uid=kept.transfer_syntax_uid,
        calling_ae_title=kept.arrival.calling_ae_title, peer_address=kept.arrival.peer_address,
        association_uid=kept.arrival.association_uid,
    )  # fmt: skip
    row = session.scalars(sa.select(Quarantined).where(Quarantined.relative_path == path).with_for_update()).one()
    row.dismissed_at, row.dismissed_by = None, ""
    events.record(
        session, "instance_quarantined", at=kept.arrival.received_at, who=kept.arrival.calling_ae_title,
        reason=kept.reason, dicom_status=f"{kept.dicom_status:#06x}", relative_path=path,
    )  # fmt: skip
    return row


def listed(
    session: Session, *, dismissed: bool | None = False, before: int | None = None, limit: int = 50
) -> Sequence[Quarantined]:
    """What lies in quarantine, newest first.

    Parameters
    ----------
    dismissed : bool or None
        False: only what nobody has dealt with; True: only the rest; None: all.
    before : int, optional
        Only ids below it, for the next page.
    """
    query = sa.select(Quarantined).order_by(Quarantined.id.desc()).limit(limit)
    if dismissed is not None:
        query = query.where(Quarantined.dismissed_at.is_not(None) if dismissed else Quarantined.dismissed_at.is_(None))
    if before is not None:
        query = query.where(Quarantined.id < before)
    return session.scalars(query).all()


def by_id(session: Session, quarantined_id: int) -> Quarantined:
    """One entry, locked.

    Raises
    ------
    NotFoundError
        No such entry.
    """
    row = session.scalar(sa.select(Quarantined).where(Quarantined.id == quarantined_id).with_for_update())
    if row is None:
        raise NotFoundError("No entry of the quarantine has this id.", next_step="See `firstread quarantine list`.")
    return row


def dismiss(session: Session, row: Quarantined, *, at: datetime, who: str, reason: str = "") -> None:
    """A person has dealt with it; it leaves the list of what waits. Its bytes stay where they are.

    Raises
    ------
    StateError
        Somebody did so before.
    """
    if row.dismissed_at is not None:
        raise StateError(f"{row.dismissed_by or 'Somebody'} has dealt with this entry already.")
    row.dismissed_at, row.dismissed_by = at, who
    events.record(session, "quarantine_dismissed", at=at, who=who, relative_path=row.relative_path, reason=reason)


def waiting(session: Session) -> int:
    """How many entries nobody has dealt with."""
    query = sa.select(sa.func.count()).select_from(Quarantined).where(Quarantined.dismissed_at.is_(None))
    return session.scalar(query) or 0
