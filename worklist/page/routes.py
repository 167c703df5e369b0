"""The fragments that live updates fetch, what destinations get, the API in words, and sign-in."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from triage.repositories import queues
from triage.states import DeliveryStatus
from worklist.api.deliveries import describe_delivery
from worklist.api.destinations import read_destinations, read_preview
from worklist.context import Context, Here, StudyUid
from worklist.page.rendering import render
from worklist.problems import too_many
from worklist.signin import COOKIE, FAILURES, LIFETIME, SIGN_INS, Patience, Tokens

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
    with here.database.read() as session:
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


def sign_in_routes(tokens: Tokens) -> APIRouter:
    """``/sign-in`` and ``/sign-out``, the only routes that take a form."""
    doors = APIRouter(include_in_schema=False)
    failures, sign_ins = Patience(FAILURES), Patience(SIGN_INS)

    @doors.get("/sign-in")
    def form(request: Request, next: str = "/") -> HTMLResponse:  # noqa: A002 - the name in the query
        return render(request, "sign_in.html", {"next": _local(next), "failed": False})

    @doors.post("/sign-in")
    async def sign_in(request: Request, here: Here) -> Response:
        now = here.clock()
        address = request.client.host if request.client else ""
        if failures.exhausted(address, now) or sign_ins.exhausted(address, now):
            return too_many(request)
        sign_ins.count(address, now)
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
        target = _local(fields.get("next", ["/"])[0])
        owner = tokens.owner(fields.get("token", [""])[0].strip())
        if owner is None:
            failures.count(address, now)
            return render(request, "sign_in.html", {"next": target, "failed": True}, status=401)
        answer = RedirectResponse(target, status_code=303)
        answer.set_cookie(
            COOKIE,
            tokens.cookie(owner, now),
            max_age=int(LIFETIME.total_seconds()),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @doors.post("/sign-out")
    def sign_out() -> Response:
        answer = RedirectResponse("/sign-in", status_code=303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return doors


def _local(target: str) -> str:
    """A path of our own, never another site ("//host", "/\\host")."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"
