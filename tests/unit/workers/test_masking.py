"""What a receiver says is kept without what it repeats of the patient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.messages.masking import LONGEST, masked

IDENTITY = ("P-4711", "Müller^Jörg^^Dr.", "19500102", "A-1")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Unknown patient P-4711", "Unknown patient …"),
        ("MÜLLER, Jörg (born 1950-01-02) not found", "…, … (born …) not found"),
        ("no order A-1 for müller", "no order … for …"),
        ("Table value P not allowed in PID.8", "Table value P not allowed in PID.8"),
        ("line one\r\n\tline two\x00", "line one line two"),
        ("timeout 20261128120000.12 at 10.0.0.17", "timeout … at …"),
    ],
)
def test_names_dates_and_numbers_are_hidden(said: str, kept: str) -> None:
    assert masked(said, IDENTITY) == kept


def test_the_same_complaint_is_the_same_text_each_time() -> None:
    first, second = (masked(f"PID.3 unknown, id {n}, at 12:00:{n % 60:02}", IDENTITY) for n in (123456, 654321))
    assert first == second


@given(st.text(max_size=400), st.sampled_from(IDENTITY), st.text(max_size=400))
def test_no_whole_value_survives_anywhere(before: str, value: str, after: str) -> None:
    line = masked(f"{before} {value} {after}", IDENTITY)
    assert value not in line
    assert len(line) <= LONGEST and line.isprintable()
