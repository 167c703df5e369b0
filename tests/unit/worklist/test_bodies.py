"""Request bodies that do not come as they should."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from fastapi import Request

import worklist.bodies
from worklist.bodies import BodyRefusedError, read_body, replay, require_plain_json


def _request(messages: Iterable[dict[str, Any]]) -> Request:
    """A request whose messages come one by one and then never again."""
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in coming:
            return message
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def _part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_parts_are_put_together_and_can_be_received_again() -> None:
    async def story() -> None:
        request = _request([_part(b'{"a"', more=True), _part(b": 1}", more=False), {"type": "http.disconnect"}])
        body = await read_body(request)
        assert body == b'{"a": 1}'
        again = replay(body, request.receive)
        assert await again() == _part(body, more=False)
        assert (await again())["type"] == "http.disconnect"

    asyncio.run(story())


def test_half_a_request_is_none() -> None:
    request = _request([_part(b"{", more=True), {"type": "http.disconnect"}])
    with pytest.raises(BodyRefusedError) as refused:
        asyncio.run(read_body(request))
    assert refused.value.status == 400


def test_a_body_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist.bodies, "SECONDS", 0.01)
    with pytest.raises(BodyRefusedError) as refused:
        asyncio.run(read_body(_request([_part(b"{", more=True)])))
    assert refused.value.status == 408


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"a": {"a": [1, 2.5, "x"]}}', '"\u00e9"'.encode()])
def test_plain_json_passes(body: bytes) -> None:
    require_plain_json(body)
