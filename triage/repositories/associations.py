"""The end of associations: studies that waited only for it may be complete now."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.completion import CompletionPolicy
from triage.repositories import analyses
from triage.repositories.completing import reconsider
from triage.states import StudyStatus
from triage.tables import Association, Instance, Study


def close_association(session: Session, association_uid: str, *, at: datetime, policy: CompletionPolicy) -> None:
    """The association ended: studies that waited only for it may be complete now."""
    association = session.scalar(_BY_UID, {"uid": association_uid})
    if association is None or association.closed_at is not None:
        return  # it stored nothing
    association.closed_at = at
    _reconsider_studies_of(session, [association.id], at, policy)


def close_associations_of(session: Session, listeners: list[str], *, at: datetime, policy: CompletionPolicy) -> int:
    """End the associations of listeners that are gone (killed, restarted); returns how many."""
    lost = list(
        session.scalars(
            sa.select(Association).where(Association.listener.in_(listeners), Association.closed_at.is_(None))
        )
    )
    for association in lost:
        association.closed_at = at
    _reconsider_studies_of(session, [association.id for association in lost], at, policy)
    return len(lost)


def _reconsider_studies_of(session: Session, associations: list[int], at: datetime, policy: CompletionPolicy) -> None:
    if not associations:
        return
    session.flush()
    for study in session.scalars(_RECEIVING_FROM, {"associations": associations}):
        if not reconsider(session, study, at, policy):  # which wakes what is complete
            analyses.wake(session, study)  # what no network reads can be said at once, without waiting for quiet


# Built once: every association ends, and to put them together takes longer than to answer them.
_BY_UID: Final = sa.select(Association).where(Association.association_uid == sa.bindparam("uid"))
_RECEIVING_FROM: Final = (
    sa.select(Study)
    .where(
        Study.id.in_(
            sa.select(Instance.study_id).where(
                Instance.association_id.in_(sa.bindparam("associations", expanding=True))
            )
        ),
        Study.status == StudyStatus.RECEIVING,
    )
    .order_by(Study.study_instance_uid)
    .with_for_update(key_share=True)
)
