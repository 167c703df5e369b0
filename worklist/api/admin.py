"""``/api/v1/admin``: what is owed and what was tried, for the person who watches the node."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from triage.repositories import deliveries, queues
from triage.states import AnalysisStatus, DeliveryStatus
from triage.tables import Analysis, Delivery
from worklist.context import Here, Who
from worklist.describe import describe_analysis
from worklist.schemas import (
    AnalysisPage,
    AttemptOut,
    DeliveryPage,
    QueuedAnalysis,
    QueuedDelivery,
)

router = APIRouter(prefix="/admin", tags=["admin"])

Limit = Annotated[int, Query(ge=1, le=200)]
RowId = Annotated[int, Path(ge=1, le=2**62)]
Before = Annotated[int | None, Query(ge=1, le=2**62, description="`next_before` of the page before.")]


@router.get("/analyses", summary="Analyses, newest first")
def list_analyses(
    here: Here, status: AnalysisStatus | None = None, before: Before = None, limit: Limit = 50
) -> AnalysisPage:
    """Where each stands, how often it was tried and why it waits or ended."""
    with here.database.read() as session:
        rows = queues.list_analyses(session, status=status, before=before, limit=limit)
        return AnalysisPage(items=[_analysis(row) for row in rows], next_before=_next([r.id for r in rows], limit))


@router.get("/deliveries", summary="Deliveries, newest first")
def list_deliveries(
    here: Here,
    status: DeliveryStatus | None = None,
    destination: Annotated[str, Query(max_length=300)] = "",
    before: Before = None,
    limit: Limit = 50,
) -> DeliveryPage:
    """What every destination was offered and what it answered, attempt by attempt."""
    with here.database.read() as session:
        rows = queues.list_deliveries(session, status=status, destination=destination, before=before, limit=limit)
        return DeliveryPage(items=[_delivery(row) for row in rows], next_before=_next([r.id for r in rows], limit))


@router.post("/deliveries/{delivery_id}/resend", summary="Try a dead delivery again")
def resend(here: Here, who: Who, delivery_id: RowId) -> QueuedDelivery:
    """The same object with the same SOP Instance UID. 409 when the delivery is not DEAD."""
    with here.database.write() as session:
        row = queues.delivery_by_id(session, delivery_id)
        deliveries.resend(session, row, at=here.clock(), who=who)
        session.flush()
        return _delivery(row)


def _next(ids: list[int], limit: int) -> int | None:
    return ids[-1] if len(ids) == limit else None


def _analysis(row: Analysis) -> QueuedAnalysis:
    described = describe_analysis(row).model_dump()
    return QueuedAnalysis(id=row.id, study_instance_uid=row.study.study_instance_uid, **described)


def _delivery(row: Delivery) -> QueuedDelivery:
    result = row.result_object
    return QueuedDelivery(
        id=row.id,
        study_instance_uid=result.analysis.study.study_instance_uid,
        sop_instance_uid=result.sop_instance_uid,
        kind=result.kind,
        created_at=row.created_at,
        destination=row.destination,
        status=row.status,
        reason=row.reason,
        attempts=row.attempt_count,
        not_before=row.not_before,
        sent_at=row.sent_at,
        tried=[
            AttemptOut(
                started_at=attempt.started_at,
                finished_at=attempt.finished_at,
                dicom_status=None if attempt.dicom_status is None else f"0x{attempt.dicom_status:04X}",
                error=attempt.error,
            )
            for attempt in row.attempts
        ],
    )
