"""Errors as RFC 9457 problem documents; as a plain page where a person looks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from triage.errors import (
    BusyError,
    DatabaseUnavailableError,
    FirstreadError,
    IdentifierError,
    NotFoundError,
    StateError,
)
from worklist.page.rendering import render
from worklist.signin import WINDOW, TooManyTriesError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
_CHOICE: Final = re.compile(r"\^\(([\w|]+)\)\$")
_OF_SIGNS: Final = re.compile(r"\^\[([^\]^]+)\]\*\$")
_SIGNS: Final = {
    "A-Za-z": "letters A to Z", "A-Z": "capital letters", "a-z": "small letters", "0-9": "digits", " ": "spaces",
}  # fmt: skip
"""Of a pattern: one of these words."""

_STATUS: Final[tuple[tuple[type[FirstreadError], int], ...]] = (
    (NotFoundError, 404),
    (TooManyTriesError, 429),
    (StateError, 409),
    (IdentifierError, 422),
    (DatabaseUnavailableError, 503),
    (BusyError, 503),
)


def document(status: int, detail: str, *, request_id: str = "", **more: Any) -> dict[str, Any]:
    """Members of a problem document; ``type`` is about:blank, so ``title`` is the status phrase (RFC 9457, 4.2.1)."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
        **more,
    }


def problem(
    request: Request, status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """A problem as the asker wants it: JSON for programs, a page for a browser outside ``/api``."""
    body = document(status, detail, request_id=getattr(request.state, "request_id", ""), **more)
    if wants_page(request):
        return render(request, "problem.html", {"problem": body}, status=status, headers=headers)
    return JSONResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def unavailable(request: Request, error: FirstreadError, **more: Any) -> Response:
    """503 with the time after which to ask again."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return problem(request, 503, str(error), headers=headers, next_step=error.next_step, **more)


def too_many(request: Request, error: FirstreadError | None = None) -> Response:
    """429 for an address that signs in, or fails to, too often."""
    headers = {"Retry-After": str(int(WINDOW.total_seconds()))}
    said = str(error) if error else "Too many sign-ins from this address; wait a minute."
    next_step = error.next_step if error else "Wait a minute."
    return problem(request, 429, said, headers=headers, next_step=next_step)


def wants_page(request: Request) -> bool:
    """True for a browser that navigates."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")


def mount(app: FastAPI, path: str, other: Starlette) -> None:
    """What has routes of its own, below a path of ours, refuses as everything else does."""
    other.state = app.state  # which pages are made from
    other.add_exception_handler(HTTPException, _http)
    app.mount(path, other)


def install(app: FastAPI) -> None:
    """Register the handlers. Unhandled exceptions are answered by :class:`worklist.guard.Guard`, outside of these."""
    app.add_exception_handler(FirstreadError, _firstread)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DataError, _not_to_be_kept)


async def _firstread(request: Request, error: Exception) -> Response:
    assert isinstance(error, FirstreadError)  # noqa: S101 - what install() registered it for
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    if status == 503:
        return unavailable(request, error)
    if status == 429:
        return too_many(request, error)
    return problem(request, status, str(error), next_step=error.next_step)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    # pydantic's "input" and "ctx" repeat what was sent, which may be a patient's name in the wrong field
    errors = [{"field": ".".join(map(str, item["loc"][1:])), "message": in_words(item)} for item in error.errors()]
    named = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in errors)
    return problem(request, 422, named, errors=errors)


def in_words(item: Mapping[str, Any]) -> str:
    """What is wrong, by one of pydantic's errors, for people who know neither it nor regular expressions."""
    if item["type"] == "string_pattern_mismatch":
        pattern = item["ctx"]["pattern"]
        if pattern.startswith("^[^\\x00-\\x1f"):
            return "Has to be one line, without control characters"
        if choice := _CHOICE.fullmatch(pattern):
            return f"Has to be one of {', '.join(filter(None, choice[1].split('|')))}"
        if signs := _OF_SIGNS.fullmatch(pattern):
            kinds = re.findall(rf"{'|'.join(_SIGNS)}|.", signs[1])
            return f"May have {', '.join(_SIGNS.get(kind, kind) for kind in kinds)}, and nothing else"
    if item["type"] == "extra_forbidden":
        return "Nothing of this name is known here"
    return str(item["msg"]).removeprefix("Value error, ")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    detail, more = error.detail, {}
    if detail == HTTPStatus(error.status_code).phrase:  # the framework's own, of an address or a method
        if error.status_code == 404:
            detail = "There is nothing at this address."
            more["next_step"] = "/docs lists what programs can ask for; the list is at /."
        elif error.status_code == 405:
            detail = f"{request.method} is not taken at this address."
    return problem(request, error.status_code, detail, headers=dict(error.headers or {}), **more)


async def _not_to_be_kept(request: Request, error: Exception) -> Response:
    """PostgreSQL takes no NUL in a text; whichever field it was in, nothing was changed."""
    assert isinstance(error, DataError)  # noqa: S101
    detail = "A text holds a character that cannot be kept, such as NUL."
    return problem(request, 422, detail, next_step="Send it without control characters.")
