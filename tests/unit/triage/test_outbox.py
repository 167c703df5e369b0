"""The rules of the outbox, over everything that can happen."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.scu import StatusClass, classify
from triage.outbox import (
    BUDGET,
    LONGEST_PAUSE,
    Next,
    Verdict,
    judge,
    judge_http,
    next_step,
    pause_after,
    said_http,
    spread_of,
)

AGE = timedelta(hours=72)
failures = st.sampled_from([v for v in Verdict if v is not Verdict.DELIVERED])


def verdict(status: int) -> Verdict:
    kind = classify(status)
    return judge(
        stored=kind in (StatusClass.SUCCESS, StatusClass.WARNING), status=status,
        retryable=kind is StatusClass.RETRY, needs_attention=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Verdict.DELIVERED),
        (0xB000, Verdict.DELIVERED),
        (0xB007, Verdict.DELIVERED),
        (0x0111, Verdict.DELIVERED),
        (0xA700, Verdict.TRANSIENT),
        (0xA7FF, Verdict.TRANSIENT),
        (0x0110, Verdict.TRANSIENT),
        (0x0213, Verdict.TRANSIENT),
        (0xA900, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0xC123, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
        (0x0117, Verdict.REFUSED),
    ],
)
def test_what_a_status_means(status: int, expected: Verdict) -> None:
    assert verdict(status) is expected


@given(st.integers(0, 0xFFFF))
def test_every_status_has_one_meaning(status: int) -> None:
    assert (verdict(status) is Verdict.DELIVERED) == (classify(status) in (StatusClass.SUCCESS, StatusClass.WARNING))


@pytest.mark.parametrize(
    ("retryable", "needs_attention", "expected"),
    [
        (True, False, Verdict.TRANSIENT),  # away, silent, aborted, rejected as transient
        (True, True, Verdict.UNWELCOME),  # rejected as permanent
        (False, True, Verdict.UNWELCOME),  # no common presentation context
        (False, False, Verdict.UNWELCOME),
    ],
)
def test_without_a_status_the_peer_is_judged(retryable: bool, needs_attention: bool, expected: Verdict) -> None:
    assert judge(stored=False, status=None, retryable=retryable, needs_attention=needs_attention) is expected


@given(failures, st.integers(1, 100), st.floats(0, 200))
def test_nothing_is_given_up_before_its_budget_or_its_time(kind: Verdict, in_a_row: int, hours: float) -> None:
    step = next_step(kind, in_a_row=in_a_row, age=timedelta(hours=hours), give_up_after=AGE)
    spent = kind in BUDGET and in_a_row >= BUDGET[kind]
    assert (step is Next.DEAD) == (spent or timedelta(hours=hours) >= AGE)


@given(st.integers(1, 10_000))
def test_what_may_go_well_later_is_tried_for_as_long_as_it_is_owed(in_a_row: int) -> None:
    step = next_step(
        Verdict.TRANSIENT, in_a_row=in_a_row, age=AGE - timedelta(seconds=1), give_up_after=AGE
    )  # fmt: skip
    assert step is Next.AGAIN


@given(st.integers(1, 10_000), st.floats(-1, 1))
def test_pauses_grow_to_an_hour_and_vary_by_a_fifth(attempts: int, spread: float) -> None:
    pause = pause_after(attempts, spread=spread)
    exact = pause_after(attempts)
    assert timedelta(seconds=4) <= pause <= LONGEST_PAUSE * 1.2
    assert exact * 0.8 - timedelta(microseconds=1) <= pause <= exact * 1.2 + timedelta(microseconds=1)
    assert pause_after(attempts + 1) >= exact


def test_the_pauses_in_numbers() -> None:
    seconds = [pause_after(n).total_seconds() for n in (1, 2, 3, 10, 11, 12, 5000)]
    assert seconds == [5, 10, 20, 2560, 3600, 3600, 3600]


@given(st.lists(st.text(max_size=8), max_size=4))
def test_the_spread_is_a_number_of_its_parts(parts: list[str]) -> None:
    assert -1 <= spread_of(*parts) <= 1
    assert spread_of(*parts) == spread_of(*parts)


def test_the_spread_is_even() -> None:
    values = sorted(spread_of("PACS@host:104", n) for n in range(1000))
    assert values[0] < -0.98 < 0.98 < values[-1]
    assert abs(sum(values)) < 60


@pytest.mark.parametrize(
    ("expected", "statuses"),
    [
        (Verdict.DELIVERED, (200, 201, 202, 204)),
        (Verdict.TRANSIENT, (408, 425, 429, 500, 502, 503, 504, 507, 599)),
        (Verdict.REFUSED, (400, 409, 413, 415, 422)),
        (Verdict.UNWELCOME, (301, 302, 307, 401, 403, 404, 405, 406, 410, 501, 505)),
    ],
)
def test_an_http_status_is_judged_by_what_has_to_change(expected: Verdict, statuses: tuple[int, ...]) -> None:
    assert {judge_http(status) for status in statuses} == {expected}


@given(st.integers(100, 999))
def test_every_http_status_has_words_and_only_2xx_delivers(status: int) -> None:
    assert (judge_http(status) is Verdict.DELIVERED) == (200 <= status < 300)
    assert f"HTTP {status}." in said_http("pacs:80", status)
