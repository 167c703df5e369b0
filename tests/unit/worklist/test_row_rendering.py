"""Rows of the list are made once and are never another case's, another reader's or another minute's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from worklist_rows import NOON, Seen, arrive, score

from triage.repositories import worklist
from triage.states import ReadingStatus
from worklist import describe
from worklist.page.rendering import environment
from worklist.page.row_rendering import ROWS, Rows
from worklist.schemas.cases import WorklistItem


@pytest.fixture
def item(house: Any) -> WorklistItem:
    with house.database.write() as session:
        study = arrive(session, "anna")
        score(session, study, [Seen("pneumothorax", 0.9)])
        return describe.item(worklist.listed_case(session, study))


@pytest.fixture
def rows() -> Rows:
    return Rows(environment())


def _row(rows: Rows, item: WorklistItem, minutes: float = 5, who: str = "dr", may_read: bool = True) -> str:
    (row,) = rows.html([item], now=NOON + timedelta(minutes=minutes), who=who, may_read=may_read)
    return row


def test_what_says_the_same_is_made_once(rows: Rows, item: WorklistItem) -> None:
    assert _row(rows, item) is _row(rows, item.model_copy(), who="another")


def test_time_goes_on(rows: Rows, item: WorklistItem) -> None:
    assert "waiting 5 min" in _row(rows, item)
    assert "waiting 6 min" in _row(rows, item, minutes=6)
    assert "late" in _row(rows, item, minutes=600)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patient_name": "<b>EVIL^\"'</b>"}, "&lt;b&gt;EVIL"),
        ({"version": 999}, 'data-version="999"'),
        ({"instance_count": 7}, "7 images"),
        ({"findings": []}, 'class="scores"'),
    ],
)
def test_whatever_changes_is_in_the_row(rows: Rows, item: WorklistItem, change: dict[str, Any], says: str) -> None:
    before, after = _row(rows, item), _row(rows, item.model_copy(update=change))
    assert (says.lower() in before.lower()) != (says.lower() in after.lower())


def test_only_who_has_claimed_a_case_may_give_it_back(rows: Rows, item: WorklistItem) -> None:
    claimed = item.model_copy(update={"reading_status": ReadingStatus.CLAIMED, "reader": "dr"})
    assert "Release" in _row(rows, claimed)
    assert "Release" not in _row(rows, claimed, who="another")
    assert "Release" not in _row(rows, claimed, who="")
    assert "data-do" not in _row(rows, claimed, may_read=False)


def test_memory_is_bounded(rows: Rows, item: WorklistItem) -> None:
    first = _row(rows, item)
    for number in range(ROWS):
        _row(rows, item.model_copy(update={"version": number + 10_000}))
    assert _row(rows, item) is not first
    assert _row(rows, item) == first
