"""How much there is and how long it has waited: the numbers behind `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from triage.findings import NotAnalysedReason, Urgency
from triage.repositories.list_query import OPEN
from triage.repositories.outcomes import UNDECODABLE
from triage.repositories.scrubbing import damaged
from triage.repositories.worklist import open_counts
from triage.states import AnalysisStatus, DeliveryStatus, ReadingStatus, StudyStatus
from triage.tables import Analysis, AnalysisImage, Delivery, Instance, Quarantined, Study

Kind = TypeVar("Kind", StudyStatus, ReadingStatus, AnalysisStatus, DeliveryStatus)


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Counts by state (every state is there), and since when the oldest row waits (None: nothing waits)."""

    instances: int
    quarantined: int
    damaged: Mapping[str, int]
    studies: Mapping[StudyStatus, int]
    reading: Mapping[ReadingStatus, int]
    open_cases: Mapping[Urgency, int]
    analyses: Mapping[AnalysisStatus, int]
    deliveries: Mapping[DeliveryStatus, int]
    undecodable: Mapping[NotAnalysedReason, int]
    oldest_unread: datetime | None
    oldest_analysis: datetime | None
    oldest_delivery: datetime | None


def totals(session: Session) -> Totals:
    """Count everything, now."""
    waiting = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)
    owed = (DeliveryStatus.PENDING, DeliveryStatus.SENDING)
    return Totals(
        instances=session.scalar(sa.select(sa.func.count()).select_from(Instance)) or 0,
        quarantined=session.scalar(sa.select(sa.func.count()).select_from(Quarantined)) or 0,
        damaged=dict(zip(("instance", "result"), damaged(session), strict=True)),
        studies=_by(session, Study.status, StudyStatus),
        reading=_by(session, Study.reading_status, ReadingStatus),
        open_cases=open_counts(session),
        analyses=_by(session, Analysis.status, AnalysisStatus),
        deliveries=_by(session, Delivery.status, DeliveryStatus),
        undecodable=_undecodable(session),
        oldest_unread=session.scalar(sa.select(sa.func.min(Study.received_at)).where(OPEN)),
        oldest_analysis=session.scalar(sa.select(sa.func.min(Analysis.queued_at)).where(Analysis.status.in_(waiting))),
        oldest_delivery=session.scalar(sa.select(sa.func.min(Delivery.created_at)).where(Delivery.status.in_(owed))),
    )


def _undecodable(session: Session) -> Mapping[NotAnalysedReason, int]:
    rows = session.execute(
        sa.select(AnalysisImage.reason, sa.func.count())
        .where(AnalysisImage.reason.in_(UNDECODABLE))
        .group_by(AnalysisImage.reason)
    )
    return dict.fromkeys(UNDECODABLE, 0) | {reason: count for reason, count in rows if reason is not None}


def _by(session: Session, column: InstrumentedAttribute[Kind], kind: type[Kind]) -> Mapping[Kind, int]:
    rows = session.execute(sa.select(column, sa.func.count()).group_by(column))
    return dict.fromkeys(kind, 0) | dict(rows.all())
