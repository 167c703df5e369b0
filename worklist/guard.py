"""The outermost layer of the HTTP door: who may pass, with what, and with which headers the answer leaves.

Deny by default: every path needs a known caller who may do that (:mod:`worklist.permissions`). On a loopback node
nobody signs in; there the Host header must name this machine, so that no foreign page reaches it under a name of its
own (DNS rebinding).
Requests that change something must come from our own origin and carry JSON, so that no foreign form can send them;
the few forms of our own carry a token where the browser is too old to name its origin.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.settings import Settings
from worklist.bodies import BodyRefusedError, read_body, read_form, replay, require_plain_json
from worklist.callers import LOCAL, Callers
from worklist.context import Clock
from worklist.page.rendering import render
from worklist.page.signin_routes import local_path
from worklist.permissions import Need, need_of, refusal
from worklist.problems import problem, too_many, unavailable, wants_page
from worklist.signin import Patience, address_of, is_form_token
from worklist.streams import WatchedStream

CACHED_PREFIXES: Final = ("/static/", "/viewer/")
OWN_POLICY_PREFIX: Final = "/viewer/"
"""Where a foreign viewer is served, with a Content Security Policy of its own (:mod:`worklist.ohif`)."""
FORM_PATHS: Final = frozenset({"/sign-in", "/sign-out", "/account"})
"""The only paths that take a form instead of JSON."""
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

log = get_logger(__name__)


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, callers: Callers, clock: Clock, extra_hosts: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._callers = callers
        self._clock = clock
        self._hosts = LOOPBACK_NAMES | {settings.bind.lower(), *extra_hosts}
        self._failures = Patience()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        asked = request.headers.get("x-request-id", "")
        request.state.request_id = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        request.state.caller, request.state.who = None, ""
        started, unread = False, _has_body(request)
        watched: WatchedStream | None = None

        async def send_guarded(message: Message) -> None:
            nonlocal started, watched
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                _seal(headers, request)
                if unread:  # or the server would go on reading what nobody wants, for as long as it comes
                    headers["Connection"] = "close"
                if headers.get("content-type", "").startswith("text/event-stream"):
                    watched = WatchedStream(lambda: self._still_may(request))
            if watched is None:
                await send(message)
            else:
                await watched.send(message, send)

        try:
            answer = await self._refuse(request) or self._app
            if answer is self._app and request.method not in _SAFE_METHODS:
                body = await read_body(request)
                unread = False
                if request.url.path in FORM_PATHS:
                    request.state.form = read_form(body)
                    answer = _refuse_form(request) or answer
                elif body:
                    require_plain_json(body)
                receive = replay(body, receive)
            await answer(scope, receive, send_guarded)
        except BodyRefusedError as error:
            await problem(request, error.status, str(error))(scope, receive, send_guarded)
        except DatabaseUnavailableError as error:  # who is asking is not known; routes answer for themselves
            await unavailable(request, error)(scope, receive, send_guarded)
        except Exception as error:  # noqa: BLE001 - the door: logged by class, never with its text, which may hold values
            log.error(
                "request_failed", request_id=request.state.request_id, error=type(error).__name__, exc=_where(error)
            )
            if not started:
                answer = problem(request, 500, "Something went wrong inside. The log has it under this request id.")
                await answer(scope, receive, send_guarded)

    async def _refuse(self, request: Request) -> Response | None:
        if request.method not in _SAFE_METHODS and (refused := _refuse_change(request)) is not None:
            return refused
        need = need_of(request.method, request.scope["path"])
        if need is Need.ANYBODY:
            return None
        caller = self._callers.lately(request) or await run_in_threadpool(self._callers.ask, request)
        if caller is LOCAL and _host_name(request) not in self._hosts:
            return problem(
                request, 400, "The Host header names another machine; this node answers only to its own names."
            )
        if caller is None:
            return self._refuse_stranger(request)
        request.state.caller, request.state.who = caller, caller.name
        if need not in caller.may:
            return problem(request, 403, refusal(caller, need), next_step="Ask an administrator of firstread.")
        return None

    def _refuse_stranger(self, request: Request) -> Response:
        path = request.scope["path"]
        if wants_page(request) and request.method in _SAFE_METHODS and not path.startswith("/fragment/"):
            target = local_path(path + (f"?{request.url.query}" if request.url.query else ""))
            if request.headers.get("sec-fetch-site") == "cross-site":
                # a link in another system: the browser held our cookie back and sends it when our own page asks
                return render(request, "continue.html", {"target": target})
            return RedirectResponse(f"/sign-in?next={quote(target)}", status_code=303)
        if "authorization" in request.headers and self._guesses(request):
            return too_many(request)
        return problem(request, 401, "Sign in, or send a Bearer token.", headers={"WWW-Authenticate": "Bearer"})

    def _still_may(self, request: Request) -> bool:
        """Blocks: asks again who is asking. A database that is away ends no stream."""
        try:
            caller = self._callers.ask(request)
        except DatabaseUnavailableError:
            return True
        return caller is not None and need_of(request.method, request.scope["path"]) in caller.may

    def _guesses(self, request: Request) -> bool:
        """Count a wrong token; True for an address that has sent too many.

        Right tokens pass all the same: whoever guesses at 24 random characters gets nowhere, and one forgotten script
        must not shut out everybody behind the same proxy.
        """
        address, now = address_of(request), self._clock()
        tired = self._failures.exhausted(address, now)
        self._failures.count(address, now)
        return tired


def _seal(headers: MutableHeaders, request: Request) -> None:
    own = headers.get("Content-Security-Policy") if request.url.path.startswith(OWN_POLICY_PREFIX) else None
    for name, value in _HEADERS.items():
        headers[name] = value
    if own is not None:
        headers["Content-Security-Policy"] = own
    headers["X-Request-ID"] = request.state.request_id
    if not request.url.path.startswith(CACHED_PREFIXES):
        headers["Cache-Control"] = "no-store"  # patient data stays out of every cache


def _refuse_change(request: Request) -> Response | None:
    if not _from_own_origin(request):
        return problem(request, 403, "Requests that change something are taken from this origin only.")
    if request.url.path not in FORM_PATHS and not _carries_json(request):
        return problem(request, 415, "Send application/json.")
    if request.headers.get("content-encoding", "identity") != "identity":
        return problem(request, 415, "Send the body uncompressed.", headers={"Accept-Encoding": "identity"})
    return None


def _refuse_form(request: Request) -> Response | None:
    """A form proves that our own page sent it: by the browser's word, or where that says nothing by its token."""
    if request.headers.get("origin", "null") != "null" or request.headers.get("sec-fetch-site") == "same-origin":
        return None  # compared above
    if is_form_token(request, request.state.form.get("form_token", "")):
        return None
    return problem(request, 403, "This form is not from a page of firstread, or it is old; load the page again.")


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _host_name(request: Request) -> str:
    try:
        return (urlsplit(f"//{request.headers.get('host', '')}").hostname or "").lower()
    except ValueError:
        return ""


def _from_own_origin(request: Request) -> bool:
    """Browsers always name the origin of a cross-origin change; programs without a browser name none.

    Our pages send no referrer, so their forms name the origin "null", as a stranger's sandboxed frame does too. Then
    Sec-Fetch-Site says which it is; of a browser without it the form's token is asked.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin", "none"):
        return False
    if origin == "null":
        return site == "same-origin" or (site is None and request.url.path in FORM_PATHS)
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _carries_json(request: Request) -> bool:
    kind = request.headers.get("content-type")
    if kind is None:  # an empty body needs no type
        return not _has_body(request)
    return kind.partition(";")[0].strip().lower() == "application/json"


def _where(error: BaseException) -> str:
    """File and line of the innermost frame: enough to find it, free of values."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
