"""``/api/v1/admin/workitems``: what task managers have scheduled for this node, and how these managers answer."""

from __future__ import annotations

from fastapi import APIRouter

from triage.repositories import workitems
from triage.states import WorkitemStatus
from triage.tables import Workitem
from worklist.api.admin import Before, Limit
from worklist.context import Here
from worklist.schemas.workitems import TaskManagerOut, WorkitemOut, WorkitemPage

router = APIRouter(prefix="/admin/workitems", tags=["admin"])


@router.get("", summary="Workitems, newest first")
def list_workitems(
    here: Here, status: WorkitemStatus | None = None, before: Before = None, limit: Limit = 50
) -> WorkitemPage:
    """Unified Procedure Steps that were scheduled for this node: where each stands and why."""
    with here.database.look() as session:
        rows = workitems.list_workitems(session, status=status, before=before, limit=limit)
        managers = [
            TaskManagerOut(address=row.address, answered_at=row.answered_at, problem=row.problem)
            for row in workitems.managers(session)
        ]
        return WorkitemPage(
            items=[_described(row) for row in rows],
            next_before=rows[-1].id if len(rows) == limit else None,
            managers=managers,
        )


def _described(row: Workitem) -> WorkitemOut:
    return WorkitemOut(
        id=row.id,
        manager=row.manager,
        workitem_uid=row.workitem_uid,
        study_instance_uid=row.study.study_instance_uid if row.study else None,
        status=row.status,
        reason=row.reason,
        priority=row.priority,
        progress=row.progress,
        found_at=row.found_at,
        claimed_at=row.claimed_at,
        finished_at=row.finished_at,
    )
