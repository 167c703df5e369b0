"""``/admin/users``: accounts of people and tokens of programs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from triage.people import Role, Scope
from worklist.api.tokens import read_tokens
from worklist.api.users import read_users
from worklist.context import Context, Here
from worklist.page.admin_routes import sections
from worklist.page.rendering import render

router = APIRouter(include_in_schema=False)
SCOPES = {
    Scope.WORKLIST_READ: "see list and cases",
    Scope.WORKLIST_WRITE: "and claim, read, re-prioritise",
    Scope.OPERATE: "queue, deliveries, quarantine, node",
    Scope.METRICS: "metrics for a monitoring system",
    Scope.ADMIN: "everything",
}


@router.get("/admin/users")
def users_page(request: Request, here: Here) -> HTMLResponse:
    """Who may use this node."""
    return render(request, "users.html", {**_people(here), "here_path": "/admin/users", "sections": sections(request)})


@router.get("/fragment/admin/users")
def users_fragment(request: Request, here: Here) -> HTMLResponse:
    """The part of it that changes."""
    return render(request, "users_facts.html", _people(here))


def _people(here: Context) -> dict[str, Any]:
    now = here.clock()
    tokens = read_tokens(here.database)
    return {
        "users": read_users(here.database),
        "tokens": tokens,
        "over": {token.name for token in tokens if token.expires_at is not None and token.expires_at <= now},
        "settings_tokens": sorted(pair.partition(":")[0] for pair in here.settings.http_tokens),
        "provider": here.settings.oidc.issuer if here.settings.oidc else "",
        "roles": list(Role),
        "scopes": SCOPES,
    }
