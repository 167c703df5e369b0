"""Charts: what is drawn is in proportion to what was counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worklist.page.charts import LABELS, WIDTH, nice_top, stacked, wait_scale

counts = st.tuples(*[st.integers(0, 10_000)] * 3)


@given(st.lists(counts, max_size=60))
def test_bars_stand_on_the_axis_in_proportion_and_within_the_picture(rows: list[tuple[int, int, int]]) -> None:
    chart = stacked([(f"{number}", "words", row) for number, row in enumerate(rows)])
    for row, bar in zip(rows, chart.bars, strict=True):
        heights = {piece.urgency: piece.height for piece in bar.pieces}
        assert sum(heights.values()) <= chart.base
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert set(heights) == {name for name, count in zip(("stat", "urgent", "routine"), row, strict=True) if count}
        if bar.pieces:
            assert bar.pieces[0].y + bar.pieces[0].height == pytest.approx(chart.base, abs=0.02)
    assert sum(bool(bar.label) for bar in chart.bars) <= LABELS


@given(st.integers(0, 10**7))
def test_a_scale_ends_with_a_round_number_whose_half_is_whole(highest: int) -> None:
    top = nice_top(highest)
    assert top >= highest
    assert top % 2 == 0
    assert top <= max(2, 2 * highest)


def test_waits_share_one_scale() -> None:
    first, nothing, last = wait_scale([(10, 20, 30, 15), (None, None, None, 30), (60, 100, 120, 120)])
    assert (nothing, last.target if last else 0) == (None, 100)
    assert first is not None
    assert (first.median, first.p95, first.target) == (8.33, 25, 12.5)
