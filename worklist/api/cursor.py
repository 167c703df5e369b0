"""Where the next page begins, as text that clients hand back without looking into it."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime, timedelta
from typing import Final

from triage.errors import IdentifierError
from triage.repositories.list_query import Place

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FORM: Final = re.compile(r"([01])\.(\d{1,17})\.(\d{1,18})", re.ASCII)


def encode(place: Place) -> str:
    """The cursor of the page behind ``place``."""
    due = (place.due_at - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(f"{place.tier}.{due}.{place.id}".encode()).decode().rstrip("=")


def decode(cursor: str) -> Place:
    """The place behind which the page begins.

    Raises
    ------
    IdentifierError
        Not a cursor of ours.
    """
    try:
        text = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("other form")
        tier, due, row = (int(number) for number in match.groups())
        return Place(tier, _EPOCH + timedelta(microseconds=due), row)
    except (ValueError, OverflowError, Base64Error) as error:
        raise IdentifierError(
            "cursor: not one that a page of this list gave.", next_step="Start without a cursor."
        ) from error
