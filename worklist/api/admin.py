"""``/api/v1/admin``: the queue of analyses, for the person who watches the node."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from triage.repositories import queues
from triage.states import AnalysisStatus
from triage.tables import Analysis
from worklist.context import Here
from worklist.describe import describe_analysis
from worklist.schemas.operations import AnalysisPage, QueuedAnalysis

router = APIRouter(prefix="/admin", tags=["admin"])

PLAIN: Final = r"^[^\x00-\x1f\x7f]*$"
"""No control characters: PostgreSQL stores no NUL, and no person types one."""
Limit = Annotated[int, Query(ge=1, le=200)]
RowId = Annotated[int, Path(ge=1, le=2**62)]
Before = Annotated[int | None, Query(ge=1, le=2**62, description="`next_before` of the page before.")]


@router.get("/analyses", summary="Analyses, newest first")
def list_analyses(
    here: Here,
    status: AnalysisStatus | None = None,
    reason: Annotated[
        str, Query(max_length=200, pattern=PLAIN, description="Part of the reason, in upper or lower case.")
    ] = "",
    before: Before = None,
    limit: Limit = 50,
) -> AnalysisPage:
    """Where each stands, how often it was tried and why it waits or ended."""
    with here.database.look() as session:
        rows = queues.list_analyses(session, status=status, reason=reason.strip(), before=before, limit=limit)
        return AnalysisPage(
            items=[describe_queued(row) for row in rows], next_before=_next([r.id for r in rows], limit)
        )


def _next(ids: list[int], limit: int) -> int | None:
    return ids[-1] if len(ids) == limit else None


def describe_queued(row: Analysis) -> QueuedAnalysis:
    """An analysis with its study and whoever is at it."""
    return QueuedAnalysis(
        id=row.id,
        study_instance_uid=row.study.study_instance_uid,
        due=row.due,
        worker=row.holder,
        lease_until=row.lease_until,
        **describe_analysis(row).model_dump(),
    )
