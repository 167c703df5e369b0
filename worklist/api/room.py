"""``/api/v1/admin/space`` and ``/api/v1/admin/quarantine``: how much room there is, and what lies aside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from triage.errors import NotFoundError, StateError
from triage.repositories import audit, errands, events, quarantine
from triage.states import ErrandKind
from triage.tables import Errand, Quarantined
from worklist.api.admin import Before, Limit, RowId
from worklist.context import Context, Here, Who
from worklist.room import read_space
from worklist.schemas.errands import ErrandOut, describe_errand
from worklist.schemas.operations import QuarantinedOut, QuarantinePage, SpaceOut

router = APIRouter(prefix="/admin", tags=["admin"])


def read_quarantine(here: Context, *, dismissed: bool, before: int | None, limit: int) -> QuarantinePage:
    """One page, newest first."""
    with here.database.look() as session:
        rows = quarantine.listed(session, dismissed=dismissed, before=before, limit=limit)
        tried = errands.latest(session, [f"quarantined:{row.id}" for row in rows])
    items = [_entry(here, row, tried.get(f"quarantined:{row.id}")) for row in rows]
    return QuarantinePage(items=items, next_before=rows[-1].id if len(rows) == limit else None)


@router.get("/space", summary="Room on the disk")
def space(here: Here) -> SpaceOut:
    """Free space with the marks below which new data is refused (0xA700) and files are removed."""
    return read_space(here)


@router.get("/quarantine", summary="What could not become an instance, newest first")
def list_quarantine(
    here: Here,
    dismissed: Annotated[bool, Query(description="true: what was dealt with; false: what waits.")] = False,
    before: Before = None,
    limit: Limit = 50,
) -> QuarantinePage:
    """Who sent it, what they were told and why. The bytes are kept in the archive's quarantine."""
    return read_quarantine(here, dismissed=dismissed, before=before, limit=limit)


@router.post("/quarantine/{quarantined_id}/dismiss", summary="This entry is dealt with")
def dismiss(here: Here, who: Who, quarantined_id: RowId) -> QuarantinedOut:
    """It leaves the list; its bytes stay. 409 when somebody did so before."""
    with here.database.write() as session:
        row = quarantine.by_id(session, quarantined_id)
        quarantine.dismiss(session, row, at=here.clock(), who=who)
        audit.record(
            session, at=here.clock(), who=who, action="quarantine_dismissed", subject=f"quarantined:{row.id}",
            before={"waiting": True}, after={"waiting": False},
        )  # fmt: skip
    return _entry(here, row)


@router.post("/quarantine/{quarantined_id}/retry", summary="Feed an entry through intake again", status_code=202)
def retry(here: Here, who: Who, quarantined_id: RowId) -> ErrandOut:
    """After an upgrade, or where the disk was full: a worker tries again as if it came now.

    What is taken this time is dismissed by itself. 409 when it was dealt with already, or its bytes are gone.
    """
    with here.database.write() as session:
        row = quarantine.by_id(session, quarantined_id)
        if row.dismissed_at is not None:
            raise StateError("This entry was dealt with already.", next_step="Reload the list.")
        if _bytes_of(here, row) is None:
            raise StateError("The bytes of this entry are gone.", next_step="Have its sender send it again.")
        errand = errands.ask(
            session, ErrandKind.RETRY_QUARANTINED, f"quarantined:{row.id}", {"id": row.id}, at=here.clock(), who=who
        )
        return describe_errand(errand)


@router.get("/quarantine/{quarantined_id}/file", summary="The bytes as they came", response_class=FileResponse)
def download(here: Here, who: Who, quarantined_id: RowId) -> FileResponse:
    """May hold a patient's data: who fetched it stands in the audit trail. 404 when the bytes were removed."""
    with here.database.write() as session:
        row = quarantine.by_id(session, quarantined_id)
        path = _bytes_of(here, row)
        if path is None:
            raise NotFoundError("The bytes of this entry are no longer there.", next_step="Ask who dismissed it.")
        events.record(session, "quarantine_fetched", at=here.clock(), who=who, relative_path=row.relative_path)
    name = f"quarantined-{quarantined_id}.bin"
    return FileResponse(path, media_type="application/octet-stream", filename=name)


def _entry(here: Context, row: Quarantined, tried: Errand | None = None) -> QuarantinedOut:
    return QuarantinedOut(
        id=row.id,
        at=row.at,
        reason=row.reason,
        dicom_status=f"0x{row.dicom_status:04X}",
        calling_ae_title=row.calling_ae_title,
        peer_address=row.peer_address,
        transfer_syntax_uid=row.transfer_syntax_uid,
        size=row.size,
        digest=row.digest,
        bytes_kept=_bytes_of(here, row) is not None,
        dismissed_at=row.dismissed_at,
        dismissed_by=row.dismissed_by,
        retried=describe_errand(tried) if tried else None,
    )


def _bytes_of(here: Context, row: Quarantined) -> Path | None:
    root = (here.settings.archive / "quarantine").resolve()
    path = (here.settings.archive / row.relative_path).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None
