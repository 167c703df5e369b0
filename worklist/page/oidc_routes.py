"""``/sign-in/oidc``: to the hospital's identity provider and back."""

from __future__ import annotations

import hmac
import re
from typing import Annotated, Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from triage.errors import FirstreadError
from triage.repositories import browser_sessions, users
from triage.setting_rules import token_names
from worklist.context import Context, Here
from worklist.oidc import BEGUN_LASTS, CALLBACK, Begun, Person, Provider
from worklist.oidc_requests import IdentityProviderError, SignInRefusedError
from worklist.page.rendering import render
from worklist.page.signin_routes import local_path, sign_in_page
from worklist.problems import too_many
from worklist.signin import SESSION, TooManyTriesError, address_of, browser_of, cookie_of, delete_cookie, set_cookie
from worklist.signing_in import SignIn

BEGUN: Final = "firstread_oidc"
ASKED_AT_ONCE: Final = 4
"""Requests that wait for the provider: one that hangs does not take the threads of the list."""
_ERROR: Final = re.compile(r"[a-z_]{1,40}")
Given = Annotated[str, Query(max_length=4096)]


def oidc_routes(door: SignIn, provider: Provider) -> APIRouter:
    """The way in for people of the identity provider."""
    doors = APIRouter(include_in_schema=False)
    waiting = anyio.CapacityLimiter(ASKED_AT_ONCE)

    @doors.get("/sign-in/oidc")
    async def leave(request: Request, here: Here, next: str = "/") -> Response:  # noqa: A002 - the name in the query
        begun = Begun.new(local_path(next), here.clock())
        try:
            url = await anyio.to_thread.run_sync(provider.sign_in_url, begun, request, limiter=waiting)
        except IdentityProviderError as error:
            return await _failed(request, here, error, status=502)
        answer = RedirectResponse(url, status_code=303)
        # Lax: the provider sends the browser back here, and a strict cookie would stay behind
        set_cookie(request, answer, BEGUN, begun.as_cookie(), lasts=BEGUN_LASTS, samesite="lax")
        return answer

    @doors.get(CALLBACK)
    async def come_back(
        request: Request, here: Here, code: Given = "", state: Given = "", error: Given = "", iss: Given = ""
    ) -> Response:
        begun = Begun.of_cookie(cookie_of(request, BEGUN), here.clock())
        try:
            if begun is not None:  # what was not begun here guesses nothing: any foreign page could send it
                door.admit(address_of(request))
            person = await _prove(request, here, begun, code=code, state=state, error=error, iss=iss)
            secret = await run_in_threadpool(_begin, here, person, address_of(request), browser_of(request))
        except TooManyTriesError as tired:
            return too_many(request, tired)
        except IdentityProviderError as away:
            answer: Response = await _failed(request, here, away, status=502)
        except FirstreadError as refused:
            if begun is not None:
                await door.fail(address_of(request), "the identity provider", None)
            answer = await _failed(request, here, refused, status=403)
        else:
            # a page that goes on, not a redirect: on that the browser would still hold the strict cookie back
            target = begun.target if begun else "/"
            answer = render(request, "continue.html", {"target": local_path(target)})
            set_cookie(request, answer, SESSION, secret, lasts=here.settings.session_limits.absolute)
        delete_cookie(request, answer, BEGUN)
        return answer

    async def _prove(
        request: Request, here: Context, begun: Begun | None, *, code: str, state: str, error: str, iss: str
    ) -> Person:
        if begun is None or not hmac.compare_digest(begun.state.encode(), state.encode()):
            raise SignInRefusedError("This sign-in was not begun in this browser, or too long ago.")
        if error:
            named = error if _ERROR.fullmatch(error) else "an unknown reason"
            raise SignInRefusedError(f"The identity provider did not sign you in: {named}.")
        if iss and here.settings.oidc is not None and iss != here.settings.oidc.issuer:  # RFC 9207
            raise SignInRefusedError("Another identity provider has answered.")
        if not code:
            raise SignInRefusedError("The identity provider sent no code.")
        return await anyio.to_thread.run_sync(provider.finish, begun, code, request, limiter=waiting)

    return doors


def _begin(here: Context, person: Person, address: str, browser: str) -> str:
    now = here.clock()
    with here.database.write() as session:
        user = users.know(
            session, person.issuer, person.subject, person.name, person.role, at=now, shown_as=person.display_name,
            taken=token_names(here.settings.http_tokens),
        )  # fmt: skip
        if user.disabled:
            raise SignInRefusedError("Your account in firstread is disabled.", next_step="Ask an administrator.")
        browser_sessions.forget_ended(session, at=now, limits=here.settings.session_limits)
        return browser_sessions.begin(
            session, at=now, user=user, id_token=person.id_token, address=address, browser=browser
        )


async def _failed(request: Request, here: Context, error: FirstreadError, *, status: int) -> HTMLResponse:
    return await run_in_threadpool(sign_in_page, request, here, "/", failed=error.advice(), status=status)
