"""``/api/v1/admin/errands``: what came of a test or a change that a worker carries out."""

from __future__ import annotations

from fastapi import APIRouter

from triage.repositories import errands
from worklist.api.admin import RowId
from worklist.context import Here
from worklist.schemas.errands import ErrandOut, describe_errand

router = APIRouter(prefix="/admin", tags=["admin"])


@router.get("/errands/{errand_id}", summary="What came of a test or a change")
def show_errand(here: Here, errand_id: RowId) -> ErrandOut:
    """Tests of peers and destinations, changes of bundles and second tries from the quarantine."""
    with here.database.look() as session:
        return describe_errand(errands.by_id(session, errand_id))
