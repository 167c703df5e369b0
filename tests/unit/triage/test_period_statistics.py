"""Percentiles, proportions and local days: the rules behind the statistics."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.errors import IdentifierError
from triage.findings import Urgency
from triage.statistics import MOST_DAYS, QUARTER, Period, Proportion, arrivals, spread

DAY = date(2026, 3, 1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_percentiles_are_nearest_ranks(seconds: list[int]) -> None:
    found = spread(Counter(seconds))
    assert found is not None
    ordered = sorted(seconds)
    for percent, value in ((50, found.median), (90, found.p90), (95, found.p95), (100, found.longest)):
        below = sum(one < value for one in ordered)
        up_to = sum(one <= value for one in ordered)
        assert below * 100 < percent * len(ordered) <= up_to * 100
    assert found.count == len(seconds)


def test_of_nothing_there_is_no_percentile() -> None:
    assert spread({}) is None


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (1, 1, 0.2065, 1.0)],
)
def test_wilsons_interval_as_published(count: int, total: int, low: float, high: float) -> None:
    """81 of 263: Newcombe, Statist. Med. 17 (1998) 857, table I, method 3."""
    of = Proportion(count, total)
    assert (of.low, of.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_none_of_none_is_no_share() -> None:
    of = Proportion(0, 0)
    assert (of.rate, of.low, of.high) == (None, None, None)
    with pytest.raises(ValueError, match="3 of 2"):
        Proportion(3, 2)


def test_a_day_of_the_site_is_as_long_as_its_clock_says() -> None:
    spring = Period(date(2026, 3, 29), date(2026, 3, 29), "Europe/Berlin")
    autumn = Period(date(2026, 10, 25), date(2026, 10, 25), "Europe/Berlin")
    assert [p.ends - p.begins for p in (spring, autumn)] == [timedelta(hours=23), timedelta(hours=25)]
    assert spring.begins == datetime(2026, 3, 28, 23, tzinfo=UTC)


def test_the_last_days_end_with_today_there() -> None:
    now = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert Period.until(now, days=7).last == date(2026, 3, 1)
    assert Period.until(now, days=7, zone="Europe/Berlin") == Period(
        date(2026, 2, 24), date(2026, 3, 2), "Europe/Berlin"
    )


@pytest.mark.parametrize("last", [DAY - timedelta(days=1), DAY + timedelta(days=MOST_DAYS)])
def test_a_period_that_is_none_or_too_long_is_refused(last: date) -> None:
    with pytest.raises(IdentifierError):
        Period(DAY, last)
    assert Period(DAY, DAY + timedelta(days=MOST_DAYS - 1)).days == MOST_DAYS


moments = st.datetimes(datetime(2026, 3, 27), datetime(2026, 4, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001


@given(st.lists(st.tuples(moments, st.sampled_from(Urgency))), st.sampled_from(["", "Europe/Berlin", "Asia/Kathmandu"]))
def test_arrivals_stand_on_their_day_and_hour_of_the_site(came: list[tuple[datetime, Urgency]], zone: str) -> None:
    period = Period(date(2026, 3, 27), date(2026, 4, 1), zone)
    inside = [(at, urgency) for at, urgency in came if period.begins <= at < period.ends]
    found = arrivals(Counter((int(at.timestamp()) // QUARTER, urgency) for at, urgency in inside), period)
    local = [(at.astimezone(ZoneInfo(zone or "UTC")), urgency) for at, urgency in inside]
    days, hours = Counter((at.date(), u) for at, u in local), Counter((at.hour, u) for at, u in local)
    assert len(found.by_day) == 6
    assert list(found.by_hour) == list(range(24))
    assert {(day, u): n for day, row in found.by_day.items() for u, n in row.items() if n} == dict(days)
    assert {(hour, u): n for hour, row in found.by_hour.items() for u, n in row.items() if n} == dict(hours)
