"""CSV: what comes out is what went in, and nothing of it computes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.findings import Urgency
from worklist.spreadsheet import MARK, PORTION, Cell, csv_answer, csv_portions

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =cmd|' /C calc'!A0", "＝1", "＋1", "－1", "＠A1"]


def parsed(header: list[str], rows: list[list[Cell]]) -> list[list[str]]:
    text = b"".join(csv_portions(header, rows)).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_would_compute_gets_an_apostrophe(text: str) -> None:
    assert parsed([text], [[text]]) == [[f"'{text}"], [f"'{text}"]]


def test_numbers_stay_numbers() -> None:
    assert parsed(["a"] * 4, [[-5, -0.25, 1e-7, 10**20]])[1] == ["-5", "-0.25", "1e-07", "100000000000000000000"]


def test_instants_truths_classes_and_nothing() -> None:
    at = datetime(2026, 11, 28, 16, 30, tzinfo=timezone(timedelta(hours=1)))
    row: list[Cell] = [at, at.date(), True, Urgency.STAT, None]
    assert parsed(["c"] * 5, [row])[1] == ["2026-11-28T15:30:00Z", "2026-11-28", "true", "STAT", ""]


def test_the_bytes_of_rfc_4180() -> None:
    rows: list[list[Cell]] = [['he said "no", twice', "two\r\nlines"], ["Müller^Jürgen", 1]]
    expected = 'name,note\r\n"he said ""no"", twice","two\r\nlines"\r\nMüller^Jürgen,1\r\n'
    assert b"".join(csv_portions(["name", "note"], rows)) == MARK + expected.encode()


def test_a_table_without_rows_has_its_header() -> None:
    assert b"".join(csv_portions(["a", "b"], [])) == MARK + b"a,b\r\n"


@given(st.lists(st.lists(st.text(st.characters(codec="utf-16", exclude_categories=[])), min_size=2, max_size=2)))
def test_any_text_is_one_cell_that_does_not_compute(rows: list[list[Cell]]) -> None:
    out = parsed(["a", "b"], rows)[1:]
    assert [len(row) for row in out] == [2] * len(rows)
    for cells, written in zip(rows, out, strict=True):
        for cell, text in zip(cells, written, strict=True):
            assert not text.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
            assert len(text) - len(str(cell)) in (0, 1)


def test_what_cannot_be_seen_or_encoded_is_replaced() -> None:
    assert parsed(["a"], [["\x00=1"], ["a\ud800b"], ["\ufeff=1"]])[1:] == [["\ufffd=1"], ["a\ufffdb"], ["\ufffd=1"]]


@pytest.mark.parametrize("row", [[1], [1, 2, 3], [float("nan"), 1], [float("inf"), 1], [datetime(2026, 1, 1), 1]])  # noqa: DTZ001
def test_what_would_be_a_wrong_table_is_refused(row: list[Cell]) -> None:
    with pytest.raises(ValueError, match=r"."):
        b"".join(csv_portions(["a", "b"], [row]))


def test_rows_are_taken_as_they_are_sent() -> None:
    taken = 0

    def rows() -> Iterator[list[Cell]]:
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield ["x" * 100]

    portions = csv_portions(["a"], rows())
    first = next(portions)
    assert taken < 1000
    assert PORTION <= len(first) < 2 * PORTION
    assert len(b"".join([first, *portions]).split(b"\r\n")) == 10_002


async def _body(answer: object) -> bytes:
    return b"".join([portion async for portion in answer.body_iterator])  # type: ignore[attr-defined]


def test_the_answer_is_a_download() -> None:
    answer = csv_answer("worklist.csv", ["at"], [[datetime(2026, 1, 1, tzinfo=UTC)]])
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="worklist.csv"'
    assert anyio.run(_body, answer) == MARK + b"at\r\n2026-01-01T00:00:00Z\r\n"
