"""Cursors: opaque to clients, exact to the microsecond for us."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.errors import IdentifierError
from triage.repositories.list_query import Place
from worklist.api import cursor

MOMENTS = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(tier=st.sampled_from([0, 1]), due_at=MOMENTS, row=st.integers(1, 2**59))
def test_a_cursor_brings_back_its_place(tier: int, due_at: datetime, row: int) -> None:
    place = Place(tier, due_at, row)
    text = cursor.encode(place)
    assert cursor.decode(text) == place
    assert len(text) <= 100
    assert text.isascii()


@given(st.text(max_size=60))
def test_any_other_text_is_refused_or_a_place(text: str) -> None:
    """Nothing but IdentifierError comes out of nonsense."""
    try:
        cursor.decode(text)
    except IdentifierError:
        return
    assert cursor.decode(text).tier in (0, 1)


def test_other_tiers_and_negative_numbers_are_refused() -> None:
    for text in ("2.1.1", "0.-1.1", "0.1", "0.1.1.1", "0.1.1\n", "٠.1.1"):
        with pytest.raises(IdentifierError):
            cursor.decode(cursor.urlsafe_b64encode(text.encode()).decode())
