"""Ages as the list shows them."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worklist.page.ages import shown_age

TODAY = date(2026, 3, 1)


@pytest.mark.parametrize(
    ("born", "study", "said", "shown"),
    [
        ("19610314", "20260301", "", "64 y"),
        ("19610301", "20260301", "", "65 y"),
        ("19610301", "20160301", "", "55 y"),
        ("19610301", "", "", "65 y"),
        ("20250101", "20260301", "", "14 mo"),
        ("20251215", "20260301", "", "10 wk"),
        ("20260220", "20260301", "", "9 d"),
        ("20260301", "20260301", "", "0 d"),
        ("20240229", "20250228", "", "11 mo"),
        ("", "20260301", "045Y", "45 y"),
        ("", "", "003M", "3 mo"),
        ("19610230", "20260301", "009W", "9 wk"),
        ("20270101", "20260301", "012D", "12 d"),
        ("", "", "45", ""),
        ("", "", "", ""),
    ],
)
def test_age(born: str, study: str, said: str, shown: str) -> None:
    assert shown_age(born, study, said, TODAY) == shown


@given(st.text(max_size=10), st.text(max_size=10), st.text(max_size=6))
def test_anything_is_shown_somehow(born: str, study: str, said: str) -> None:
    assert isinstance(shown_age(born, study, said, TODAY), str)
