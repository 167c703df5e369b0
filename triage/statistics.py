"""What happened in a period, in figures: pure rules for percentiles, proportions and local days."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from typing import Final
from zoneinfo import ZoneInfo

from triage.errors import IdentifierError
from triage.findings import Urgency

MOST_DAYS: Final = 400
"""Longest period: a year and the weeks before it to compare with."""
QUARTER: Final = 15 * 60
"""Seconds of the grid that arrivals are counted on: every time zone in use differs from UTC by whole quarters."""
HOURS: Final = 24
_Z95: Final = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days of a place, both ends included.

    Attributes
    ----------
    zone : str
        Of the time zone database; "" is UTC.
    """

    first: date
    last: date
    zone: str = ""

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise IdentifierError(
                f"The period ends on {self.last}, before it begins on {self.first}.", next_step="Swap the two days."
            )
        if self.days > MOST_DAYS:
            raise IdentifierError(
                f"The period has {self.days} days, at most {MOST_DAYS} are counted at once.",
                next_step="Ask for its parts.",
            )

    @classmethod
    def until(cls, now: datetime, *, days: int, zone: str = "") -> Period:
        """The last so many days there, today included."""
        today = now.astimezone(_zone(zone)).date()
        return cls(today - timedelta(days=days - 1), today, zone)

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def begins(self) -> datetime:
        """The midnight before the first day, UTC."""
        return self._midnight(self.first)

    @property
    def ends(self) -> datetime:
        """The midnight after the last day, UTC, and not part of it."""
        return self._midnight(self.last + timedelta(days=1))

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), _zone(self.zone)).astimezone(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How a duration is spread; seconds. Percentiles are nearest ranks: durations that somebody really waited."""

    count: int
    median: int
    p90: int
    p95: int
    longest: int


def spread(counted: Mapping[int, int]) -> Spread | None:
    """The spread of durations that are counted by second; None of none."""
    total = sum(counted.values())
    if not total:
        return None
    ordered = sorted(counted.items())
    return Spread(
        count=total,
        median=_rank(ordered, total, 50),
        p90=_rank(ordered, total, 90),
        p95=_rank(ordered, total, 95),
        longest=ordered[-1][0],
    )


def _rank(ordered: Sequence[tuple[int, int]], total: int, percent: int) -> int:
    wanted = -(-total * percent // 100)  # ceiling
    passed = accumulate(count for _, count in ordered)
    return next(seconds for (seconds, _), sofar in zip(ordered, passed, strict=True) if sofar >= wanted)


@dataclass(frozen=True, slots=True)
class Proportion:
    """So many of so many, with Wilson's 95 % score interval (Wilson 1927), which is good down to few cases."""

    count: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.total:
            raise ValueError(f"{self.count} of {self.total} is not a proportion")

    @property
    def rate(self) -> float | None:
        """0 to 1; None of none."""
        return self.count / self.total if self.total else None

    @property
    def low(self) -> float | None:
        bounds = self._bounds()
        return bounds[0] if bounds else None

    @property
    def high(self) -> float | None:
        bounds = self._bounds()
        return bounds[1] if bounds else None

    def _bounds(self) -> tuple[float, float] | None:
        if not self.total:
            return None
        rate, size, squared = self.count / self.total, self.total, _Z95**2
        centre = (rate + squared / (2 * size)) / (1 + squared / size)
        half = _Z95 / (1 + squared / size) * math.sqrt(rate * (1 - rate) / size + squared / (4 * size**2))
        return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How many came, by class: on each day of a period, and in each hour of the day over all its days."""

    by_day: Mapping[date, Mapping[Urgency, int]]
    by_hour: Mapping[int, Mapping[Urgency, int]]


def arrivals(counted: Mapping[tuple[int, Urgency], int], period: Period) -> Arrivals:
    """Local days and hours of arrivals.

    Parameters
    ----------
    counted : mapping
        (number of the quarter of an hour since 1970 UTC, class) to how many. Hours that a change of the clock repeats
        are counted together.
    """
    zone = _zone(period.zone)
    days = [period.first + timedelta(days=number) for number in range(period.days)]
    by_day = {day: dict.fromkeys(Urgency, 0) for day in days}
    by_hour = {hour: dict.fromkeys(Urgency, 0) for hour in range(HOURS)}
    for (quarter, urgency), count in counted.items():
        local = datetime.fromtimestamp(quarter * QUARTER, zone)
        if local.date() in by_day:
            by_day[local.date()][urgency] += count
            by_hour[local.hour][urgency] += count
    return Arrivals(by_day, by_hour)


def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name or "UTC")
