"""The fragments that live updates fetch, what destinations get, and the API in words."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from triage.repositories import queues
from triage.states import DeliveryStatus
from worklist.api.deliveries import describe_delivery
from worklist.api.destinations import read_destinations, read_preview
from worklist.context import Context, Here, StudyUid
from worklist.page.rendering import render

SHOWN: Final = 100
"""Deliveries of each kind on their page."""

router = APIRouter(include_in_schema=False)


@router.get("/studies/{study_uid}/preview")
def preview_page(
    request: Request, here: Here, study_uid: StudyUid, to: Annotated[str, Query(max_length=300)]
) -> HTMLResponse:
    """What one destination gets of a case."""
    return render(request, "preview.html", {"preview": read_preview(here, study_uid, to)})


@router.get("/deliveries")
def deliveries_page(request: Request, here: Here) -> HTMLResponse:
    """What is owed to whom, what was given up and why."""
    return render(request, "deliveries.html", _deliveries(here))


@router.get("/fragment/deliveries")
def deliveries_fragment(request: Request, here: Here) -> HTMLResponse:
    """The part of the deliveries page that changes."""
    return render(request, "deliveries_facts.html", _deliveries(here))


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """The API in words, from its own OpenAPI document, without loading anything from elsewhere."""
    return render(request, "docs.html", {"api": request.app.openapi()})


def _deliveries(here: Context) -> dict[str, Any]:
    with here.database.look() as session:
        listed = {
            status: [describe_delivery(row) for row in queues.list_deliveries(session, status=status, limit=SHOWN)]
            for status in (DeliveryStatus.DEAD, DeliveryStatus.PENDING)
        }
    return {
        "destinations": read_destinations(here),
        "dead": listed[DeliveryStatus.DEAD],
        "waiting": listed[DeliveryStatus.PENDING],
        "shown": SHOWN,
    }
