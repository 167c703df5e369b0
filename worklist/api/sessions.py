"""Signed-in browsers: ``/api/v1/account/sessions`` for everybody's own, ``/api/v1/admin/sessions`` for all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from triage.repositories import browser_sessions
from triage.tables import BrowserSession
from worklist.context import Context, Here, Who
from worklist.signin import SESSION, Tokens, cookie_of

SessionId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="`id` of the list.")]


class SessionOut(BaseModel):
    """A browser that somebody is signed in with."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: str
    """Names it here; says nothing of its cookie."""
    name: str
    """Whose it is, as in the audit trail."""
    began_at: datetime
    seen_at: datetime
    """When its person did something last, to the minute."""
    address: str
    """Where it signed in from; empty for one of before this was kept."""
    browser: str
    """What it is, as it says itself: "Firefox on Windows"."""
    this_one: bool
    """It is the browser that asks."""


class SessionsOut(BaseModel):
    """Sessions that count, the one used last first."""

    items: list[SessionOut]


class SessionsEnded(BaseModel):
    ended: int


def session_routes(tokens: Tokens) -> APIRouter:
    """``tokens``: those of the settings, by which administrators may be signed in."""
    router = APIRouter()

    @router.get("/account/sessions", summary="Your sessions", tags=["account"])
    def list_own(request: Request, here: Here) -> SessionsOut:
        """Browsers that you are signed in with. Empty for a program with a token, and where nobody signs in."""
        return SessionsOut(items=read_own(request, here, tokens))

    @router.delete(
        "/account/sessions/{session_id}", summary="End a session of yours", status_code=204, tags=["account"]
    )
    def end_own(request: Request, here: Here, who: Who, session_id: SessionId) -> None:
        """That browser is signed out at once. 404 for one that is not yours, or has ended."""
        with here.database.write() as session:
            row = browser_sessions.chosen(_own(session, request, here), session_id)
            browser_sessions.end_one(session, row, of=owner_of(row, tokens), at=here.clock(), who=who)

    @router.delete("/account/sessions", summary="End your other sessions", tags=["account"])
    def end_others(request: Request, here: Here, who: Who) -> SessionsEnded:
        """Signs you out everywhere but in the browser that asks."""
        with here.database.write() as session:
            asking = browser_sessions.digest(cookie_of(request, SESSION))
            others = [row for row in _own(session, request, here) if row.digest != asking]
            for row in others:
                browser_sessions.end_one(session, row, of=owner_of(row, tokens), at=here.clock(), who=who)
        return SessionsEnded(ended=len(others))

    @router.get("/admin/sessions", summary="Everybody's sessions", tags=["admin"])
    def list_all(request: Request, here: Here) -> SessionsOut:
        """Who is signed in now, since when, from where."""
        return SessionsOut(items=read_all(request, here, tokens))

    @router.delete("/admin/sessions/{session_id}", summary="End a session", status_code=204, tags=["admin"])
    def end_any(here: Here, who: Who, session_id: SessionId) -> None:
        """The browser is signed out at once; its person may sign in again, unless the account is disabled."""
        with here.database.write() as session:
            rows = browser_sessions.listed(session, at=here.clock(), limits=here.settings.session_limits)
            row = browser_sessions.chosen(rows, session_id)
            browser_sessions.end_one(session, row, of=owner_of(row, tokens), at=here.clock(), who=who)

    return router


def read_own(request: Request, here: Context, tokens: Tokens) -> list[SessionOut]:
    """Sessions of whoever asks with a browser."""
    with here.database.look() as session:
        return [_described(row, request, tokens) for row in _own(session, request, here)]


def read_all(request: Request, here: Context, tokens: Tokens) -> list[SessionOut]:
    """Sessions of all."""
    with here.database.look() as session:
        rows = browser_sessions.listed(session, at=here.clock(), limits=here.settings.session_limits)
        return [_described(row, request, tokens) for row in rows]


def owner_of(row: BrowserSession, tokens: Tokens) -> str:
    """Whose it is; a token that has left the settings has no name any more, and signs nobody in."""
    return row.user.name if row.user is not None else tokens.owner_of_digest(row.settings_token) or "?"


def _own(session: Session, request: Request, here: Context) -> Sequence[BrowserSession]:
    """Of the person whose browser asks: by the account, not by a name that two could have."""
    now, limits = here.clock(), here.settings.session_limits
    row = browser_sessions.find(session, cookie_of(request, SESSION), at=now, limits=limits)
    return () if row is None else browser_sessions.listed(session, at=now, limits=limits, like=row)


def _described(row: BrowserSession, request: Request, tokens: Tokens) -> SessionOut:
    return SessionOut(
        id=browser_sessions.public_id(row),
        name=owner_of(row, tokens),
        began_at=row.began_at,
        seen_at=row.seen_at,
        address=row.address,
        browser=row.browser,
        this_one=row.digest == browser_sessions.digest(cookie_of(request, SESSION)),
    )
