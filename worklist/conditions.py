"""If-None-Match (RFC 9110 13.1.2): answers that the client has already."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

IfNoneMatch = Annotated[
    str, Header(max_length=1000, description="`ETag` of the answer that you have; 304 while it would be the same.")
]


def names_tag(header: str, etag: str) -> bool:
    """Weak comparison of a list of entity tags, or "*", with a strong tag of ours."""
    return header.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in header.split(","))
