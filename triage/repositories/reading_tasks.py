"""Reading tasks at other systems' task managers: which of them no longer say the class that their study is in."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.findings import Urgency
from triage.priority import UPS_PRIORITY
from triage.repositories import events
from triage.states import DeliveryStatus, advance
from triage.tables import Analysis, Delivery, ResultObject, Study

KIND: Final = "UPS"
"""Of the message that is a reading task."""
_SAYS: Final = "reading task has priority "
_UNREAD: Final = sa.text("studies.reading_status != 'READ'")
"""Literal, because SQLite takes a partial index only for the very text it was made with."""


def remark(urgency: Urgency) -> str:
    """The note of a delivery whose task manager was told a class; :func:`owe_changed` reads it back."""
    return _SAYS + UPS_PRIORITY[urgency]


def any_changed(session: Session) -> bool:
    """True when :func:`owe_changed` would find something."""
    return bool(session.scalar(sa.select(_outdated().exists())))


def owe_changed(session: Session, now: datetime) -> int:
    """Owe reading tasks anew whose study is in another class than their manager was told last; returns how many.

    The newest delivery of each study to each destination speaks for all before it. A study that has been read, and a
    task that somebody had begun, are left alone.
    """
    query = (
        _outdated()
        .options(selectinload(Delivery.result_object).selectinload(ResultObject.analysis).selectinload(Analysis.study))
        .with_for_update(skip_locked=True, of=Delivery)
    )
    outdated = session.scalars(query).all()
    for delivery in outdated:
        delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
        delivery.attempt_count, delivery.not_before, delivery.created_at = 0, None, now
        delivery.proof = delivery.proven_at = None
        study = delivery.result_object.analysis.study
        delivery.reason = f"the study is {study.urgency} now"
        events.record(
            session, "reading_task_outdated", at=now, study=study, who="workitems", delivery=delivery.id,
            destination=delivery.destination, reason=delivery.reason,
        )  # fmt: skip
    return len(outdated)


def _outdated() -> sa.Select[Delivery]:
    newest = (
        sa.select(sa.func.max(Delivery.id))
        .join(Delivery.result_object)
        .join(ResultObject.analysis)
        .join(Analysis.study)
        .where(_UNREAD, ResultObject.kind == KIND)
        .group_by(Analysis.study_id, Delivery.destination)
    )
    due = sa.case({urgency.value: remark(urgency) for urgency in Urgency}, value=sa.cast(Study.urgency, sa.String))
    return (
        sa.select(Delivery)
        .join(Delivery.result_object)
        .join(ResultObject.analysis)
        .join(Analysis.study)
        .where(
            Delivery.id.in_(newest),
            Delivery.status == DeliveryStatus.SENT,
            Delivery.note.startswith(_SAYS),
            Delivery.note != due,
        )
    )
