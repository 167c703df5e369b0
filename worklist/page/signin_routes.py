"""``/sign-in``, ``/sign-out`` and ``/account``: the only routes that take a form."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from triage.errors import DatabaseUnavailableError, FirstreadError
from triage.repositories import browser_sessions, users
from worklist.api.sessions import read_own
from worklist.callers import LOCAL, Callers
from worklist.context import Context, Here, Who
from worklist.oidc import Provider
from worklist.page.rendering import render
from worklist.problems import too_many
from worklist.signin import (
    FORM,
    SESSION,
    TooManyTriesError,
    address_of,
    browser_of,
    cookie_of,
    delete_cookie,
    form_token,
    new_form_secret,
    set_cookie,
)
from worklist.signing_in import SignIn


def sign_in_routes(door: SignIn, provider: Provider | None, callers: Callers) -> APIRouter:
    """The way in and out for people."""
    doors = APIRouter(include_in_schema=False)

    @doors.get("/sign-in")
    def form(request: Request, here: Here, next: str = "/") -> Response:  # noqa: A002 - the name in the query
        if _signed_in(request):  # gone back to it, or in another tab
            return RedirectResponse(local_path(next), status_code=303)
        return sign_in_page(request, here, local_path(next))

    def _signed_in(request: Request) -> bool:
        try:
            return callers.ask(request) not in (None, LOCAL)
        except DatabaseUnavailableError:
            return False

    @doors.post("/sign-in")
    async def sign_in(request: Request, here: Here) -> Response:
        fields: dict[str, str] = request.state.form
        target, address = local_path(fields.get("next", "/")), address_of(request)
        browser = browser_of(request)
        try:
            if "token" in fields:
                secret = await door.with_token(fields["token"].strip(), address, browser)
                failed = "This token is not known."
            else:
                name, password = fields.get("name", ""), fields.get("password", "")
                secret = await door.with_password(name, password, address, browser)
                failed = "Name or password is wrong, or the account is disabled."
        except TooManyTriesError as error:
            return too_many(request, error)
        if secret is None:
            return await run_in_threadpool(sign_in_page, request, here, target, failed=failed, status=401)
        answer = RedirectResponse(target, status_code=303)
        set_cookie(request, answer, SESSION, secret, lasts=here.settings.session_limits.absolute)
        return answer

    @doors.post("/sign-out")
    def sign_out(request: Request, here: Here, who: Who) -> Response:
        with here.database.write() as session:
            id_token = browser_sessions.end(session, cookie_of(request, SESSION), at=here.clock(), who=who)
        elsewhere = provider.sign_out_url(id_token, request) if provider is not None and id_token else None
        answer: Response = RedirectResponse("/sign-in", status_code=303)
        if elsewhere is not None:  # not a redirect: our forms lead to no other host (CSP form-action)
            answer = render(request, "continue.html", {"target": elsewhere})
        delete_cookie(request, answer, SESSION)
        return answer

    def account_page(request: Request, here: Context, who: str, **said: Any) -> HTMLResponse:
        with here.database.look() as session:
            user = users.find(session, who)
        status = said.pop("status", 200)
        facts = {"user": user, "sessions": read_own(request, here, door.tokens), "failed": "", "done": "", **said}
        return render(request, "account.html", facts, status=status)

    @doors.get("/account")
    def account(request: Request, here: Here, who: Who) -> HTMLResponse:
        """Who one is here, and one's password."""
        return account_page(request, here, who)

    @doors.post("/account")
    async def change_password(request: Request, here: Here, who: Who) -> Response:
        fields: dict[str, str] = request.state.form
        if fields.get("new", "") != fields.get("again", ""):
            return await run_in_threadpool(
                account_page, request, here, who, failed="The new password was typed differently twice.", status=422
            )
        try:
            changed = await door.change_password(
                who, fields.get("current", ""), fields.get("new", ""), address=address_of(request),
                session_secret=cookie_of(request, SESSION),
            )  # fmt: skip
        except TooManyTriesError as error:
            return too_many(request, error)
        except DatabaseUnavailableError:
            raise
        except FirstreadError as error:
            return await run_in_threadpool(account_page, request, here, who, failed=error.advice(), status=422)
        if not changed:
            return await run_in_threadpool(
                account_page, request, here, who, failed="The current password is wrong.", status=422
            )
        return await run_in_threadpool(
            account_page, request, here, who, done="The password is changed; other browsers are signed out."
        )

    return doors


def sign_in_page(request: Request, here: Context, target: str, *, failed: str = "", status: int = 200) -> HTMLResponse:
    """The sign-in page with every way that is open, and what went wrong. Blocks."""
    with_password = True
    try:
        with here.database.look() as session:
            with_password = users.exist(session)
    except DatabaseUnavailableError:
        failed = failed or "The database does not answer at the moment; nobody can sign in."
    secret = cookie_of(request, FORM) or new_form_secret()
    context = {
        "next": target,
        "failed": failed,
        "with_password": with_password,
        "with_token": bool(here.settings.http_tokens),
        "provider": here.settings.oidc.label if here.settings.oidc else "",
        "form_token": form_token(cookie_of(request, SESSION) or secret),
    }
    page = render(request, "sign_in.html", context, status=status)
    set_cookie(request, page, FORM, secret, lasts=here.settings.session_limits.absolute)
    return page


def local_path(target: str) -> str:
    """A path of our own, never another site ("//host", "/\\\\host")."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() else "/"
