"""Request bodies: whole, bounded in size and time, and plain JSON, before any route sees them."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NoReturn
from urllib.parse import parse_qs

from fastapi import Request
from starlette.types import Message, Receive

LIMIT: Final = 1 << 20
"""Bytes; nothing that the API takes is longer than a few hundred."""
SECONDS: Final = 30.0
FIELDS: Final = 10
"""Of a form."""


class BodyRefusedError(Exception):
    """The body is not taken; ``status`` is the answer's."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises
    ------
    BodyRefusedError
        Too long (413), too slow (408) or cut off (400).
    """
    too_long = BodyRefusedError(413, f"The body is longer than {LIMIT} bytes.")
    if int(request.headers.get("content-length", "0") or 0) > LIMIT:
        raise too_long
    body = b""
    try:
        async with asyncio.timeout(SECONDS):
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise BodyRefusedError(400, "The connection ended before the body did.")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > LIMIT:
                    raise too_long
    except TimeoutError:
        raise BodyRefusedError(408, "The body did not arrive in time.") from None
    return body


def require_plain_json(body: bytes) -> None:
    """Refuse what JSON parsers read differently: NaN, repeated names, nesting without end.

    Raises
    ------
    BodyRefusedError
        422.
    """
    try:
        json.loads(body, parse_constant=_not_json, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise BodyRefusedError(422, "The body is not a JSON document with distinct member names.") from None


def read_form(body: bytes) -> dict[str, str]:
    """Fields of a form (application/x-www-form-urlencoded), the first where one occurs twice.

    Raises
    ------
    BodyRefusedError
        422: more fields than any form of ours has.
    """
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=FIELDS)
    except ValueError:
        raise BodyRefusedError(422, f"A form has at most {FIELDS} fields.") from None
    return {name: values[0] for name, values in fields.items()}


def replay(body: bytes, receive: Receive) -> Receive:
    """A channel that gives the body once more and then goes on with ``receive``."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name occurs twice")
    return members
