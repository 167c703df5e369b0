"""How long a peer may hold its place, on a clock that the tests move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.pace import FREE_FRAGMENTS, SMALLEST_FRAGMENT, AssociationLimits, Pace
from dicom_node.upper_layer import MINIMUM_RATE, ProtocolViolation


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


LIMITS = AssociationLimits(seconds=3600, seconds_without_store=600, received_bytes=1_000_000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    pace = Pace(LIMITS, 15.0, waited=clock, clock=clock)
    pace.message_begins()
    return pace


def test_a_message_has_the_stall_time_and_a_second_per_16_kib(clock: Clock, pace: Pace) -> None:
    assert pace.deadline - clock.now == 15
    pace.received(10 * MINIMUM_RATE)
    assert pace.deadline - clock.now == 25


def test_a_byte_every_14_seconds_is_no_message(clock: Clock, pace: Pace) -> None:
    pace.received(1)
    clock.now += 14
    pace.received(1)
    clock.now += 14
    assert pace.deadline < clock.now


def test_only_waiting_for_the_peer_is_counted(clock: Clock) -> None:
    waited = Clock()
    pace = Pace(LIMITS, 15.0, waited=waited, clock=clock)
    pace.message_begins()
    clock.now += 100  # this node works, or is stopped
    pace.received(1)
    assert pace.deadline - waited.now == pytest.approx(15, abs=0.01)


def test_the_next_message_starts_anew(clock: Clock, pace: Pace) -> None:
    clock.now += 1000
    pace.message_begins()
    assert pace.deadline - clock.now == 15


@pytest.mark.parametrize("size", [0, 1, SMALLEST_FRAGMENT // 2])
def test_a_message_in_crumbs_ends(pace: Pace, size: int) -> None:
    with pytest.raises(ProtocolViolation):
        for _ in range(10 * FREE_FRAGMENTS):
            pace.received(size)


@given(st.lists(st.integers(SMALLEST_FRAGMENT, 10**6), max_size=3000))
def test_fragments_with_content_never_end_a_message(sizes: list[int]) -> None:
    clock = Clock()
    pace = Pace(LIMITS, 15.0, waited=clock, clock=clock)
    pace.message_begins()
    for size in sizes:
        pace.received(size)
    assert pace.deadline - clock.now >= 15


def test_saying_hello_for_ever_is_not_enough(clock: Clock, pace: Pace) -> None:
    clock.now += 599
    assert pace.limit_passed(0) == ""
    pace.stored()
    clock.now += 599
    assert pace.limit_passed(0) == ""
    clock.now += 2
    assert pace.limit_passed(0) == "seconds_without_store"


def test_an_association_has_an_age_and_a_size(clock: Clock, pace: Pace) -> None:
    assert pace.limit_passed(1_000_000) == ""
    assert pace.limit_passed(1_000_001) == "received_bytes"
    clock.now += 3601
    pace.stored()
    assert pace.limit_passed(0) == "seconds"
