"""A change of something that administrators keep: only for the version that they saw (If-Match)."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Depends, Header, HTTPException

from triage.errors import StateError

_TAG: Final = re.compile(r'"(\d{1,18})"', re.ASCII)


def _seen(
    if_match: Annotated[
        str,
        Header(
            max_length=100,
            description='`version` of what you saw, in quotes ("3"). 428 without it, 409 when it has changed.',
        ),
    ] = "",
) -> int:
    if not if_match:
        raise HTTPException(428, 'Say which version you saw: If-Match: "3".')
    match = _TAG.fullmatch(if_match.strip())
    if match is None:
        raise HTTPException(422, 'If-Match: one version in quotes, such as "3".')
    return int(match[1])


Seen = Annotated[int, Depends(_seen)]
"""The version that a change is meant for."""


def require_unchanged(version: int, seen: int) -> None:
    """Refuse a change that is meant for another version: somebody else made one meanwhile.

    Raises
    ------
    StateError
        It is another version now.
    """
    if version != seen:
        raise StateError("Somebody else has changed it since you looked.", next_step="Reload, then decide again.")
