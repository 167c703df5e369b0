"""docs/messages.md: its examples are what is sent, and its snippet verifies what we sign."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from message_cases import statement
from message_examples import PAGE, generated, page

from triage.message_options import WebhookOptions
from workers.messages.webhook import build_document, signed_headers


def test_the_generated_parts_are_those_of_this_version() -> None:
    text = PAGE.read_text()
    assert page() == text, "run tests/unit/workers/message_examples.py"
    assert all(f"<!-- {name} -->" in text for name in generated())


def test_the_snippet_verifies_what_is_signed_and_nothing_else() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the page's own snippet is what is tested
    verified = names["verified"]
    body, key, at = build_document(statement(), WebhookOptions()), b"k" * 24, datetime(2026, 11, 28, tzinfo=UTC)
    headers = dict(signed_headers("msg_1", body, key, at))
    now = at.timestamp()
    assert verified(headers, body, key, now=now + 299)
    assert verified(headers | {"webhook-signature": f"v1,other {headers['webhook-signature']}"}, body, key, now=now)
    assert not verified(headers, body, key, now=now + 301)
    assert not verified(headers, body + b" ", key, now=now)
    assert not verified(headers, body, b"l" * 24, now=now)
    assert not verified(headers | {"webhook-id": "msg_2"}, body, key, now=now)
    assert not verified(headers | {"webhook-timestamp": str(int(now) + 1)}, body, key, now=now)
