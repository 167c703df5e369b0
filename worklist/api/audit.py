"""``/api/v1/admin/audit``: who changed what of the house. There is no route that changes or removes an entry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from triage.repositories import audit
from worklist.context import Context, Here
from worklist.schemas.audit import AuditEntryOut, AuditPage, AuditQuery

router = APIRouter(prefix="/admin", tags=["admin"])


def read_audit(here: Context, query: AuditQuery) -> AuditPage:
    """One page, newest first."""
    with here.database.look() as session:
        rows = audit.listed(session, query.wanted, before=query.before, limit=query.limit)
        items = [AuditEntryOut.model_validate(row, from_attributes=True) for row in rows]
    return AuditPage(items=items, next_before=items[-1].id if len(items) == query.limit else None)


@router.get("/audit", summary="Changes of the house, newest first")
def list_audit(here: Here, query: Annotated[AuditQuery, Query()]) -> AuditPage:
    """Users, tokens, peers, destinations, bundles, rules and quarantine: who changed what, before and after.

    Steps of a case are in its time line.
    """
    return read_audit(here, query)
