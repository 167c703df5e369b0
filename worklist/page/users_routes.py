"""``/admin/users``: accounts of people and tokens of programs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from triage.people import Role, Scope
from worklist.api.sessions import read_all
from worklist.api.tokens import read_tokens
from worklist.api.users import read_users
from worklist.context import Context, Here
from worklist.page.admin_routes import sections
from worklist.page.rendering import render
from worklist.signin import Tokens

SCOPES = {
    Scope.WORKLIST_READ: "see list and cases",
    Scope.WORKLIST_WRITE: "and claim, read, re-prioritise",
    Scope.OPERATE: "queue, deliveries, quarantine, node",
    Scope.METRICS: "metrics for a monitoring system",
    Scope.ADMIN: "everything",
}


def users_routes(settings_tokens: Tokens) -> APIRouter:
    """The page and the part of it that changes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/admin/users")
    def users_page(request: Request, here: Here) -> HTMLResponse:
        """Who may use this node, and who is at it."""
        frame = {"here_path": "/admin/users", "sections": sections(request)}
        return render(request, "users.html", {**_people(request, here, settings_tokens), **frame})

    @router.get("/fragment/admin/users")
    def users_fragment(request: Request, here: Here) -> HTMLResponse:
        """The part of it that changes."""
        return render(request, "users_facts.html", _people(request, here, settings_tokens))

    return router


def _people(request: Request, here: Context, settings_tokens: Tokens) -> dict[str, Any]:
    now = here.clock()
    tokens = read_tokens(here.database)
    return {
        "users": read_users(here.database),
        "sessions": read_all(request, here, settings_tokens),
        "tokens": tokens,
        "over": {token.name for token in tokens if token.expires_at is not None and token.expires_at <= now},
        "settings_tokens": sorted(pair.partition(":")[0] for pair in here.settings.http_tokens),
        "provider": here.settings.oidc.issuer if here.settings.oidc else "",
        "roles": list(Role),
        "scopes": SCOPES,
    }
