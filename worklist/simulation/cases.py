"""Cases of a simulated department: when each arrives, how long it takes to read, what is in it, what the AI says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triage.errors import SettingsError
from triage.findings import Urgency

HOURS: Final = 24
MINUTES_PER_HOUR: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Something a case may have, and how well the model sees it.

    Attributes
    ----------
    prevalence : float
        Share of cases that have it, 0 to 1; conditions exclude each other, so that they sum to at most 1.
    urgency : Urgency
        Class that a positive finding raises the case to.
    sensitivity, specificity : float
        Of the model for this condition at its operating point, 0 to 1.
    """

    name: str
    prevalence: float
    urgency: Urgency
    sensitivity: float
    specificity: float

    def __post_init__(self) -> None:
        for name in ("prevalence", "sensitivity", "specificity"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{self.name}: {name} is {getattr(self, name):g}, expected 0 to 1.")


NOTHING: Final = "no finding"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A department: who comes when, who reads when, what the model can do.

    Attributes
    ----------
    arrivals_per_hour : sequence of 24 floats
        Mean number of cases by hour of the day; a Poisson process (the same every day).
    readers : sequence of 24 ints
        How many people read in each hour of the day.
    reading_minutes : float
        Mean time to read and report one case.
    reading_spread : float
        Coefficient of variation of that time, of a gamma distribution: 1 is the exponential one, 0 a constant.
    ordered_urgent, ordered_stat : float
        Share of cases ordered as URGENT and as STAT, whatever is in them.
    result_minutes : float
        From arrival to the model's result; until then a case has its order's class.
    """

    conditions: Sequence[Condition]
    arrivals_per_hour: Sequence[float]
    readers: Sequence[int]
    reading_minutes: float
    reading_spread: float = 1.0
    ordered_urgent: float = 0.0
    ordered_stat: float = 0.0
    result_minutes: float = 0.5

    def __post_init__(self) -> None:
        for name in ("arrivals_per_hour", "readers"):
            if len(getattr(self, name)) != HOURS:
                raise SettingsError(f"{name} has {len(getattr(self, name))} values, expected one for each hour.")
            if min(getattr(self, name)) < 0:
                raise SettingsError(f"{name} has a negative value.")
        if self.reading_minutes <= 0 or self.reading_spread < 0 or self.result_minutes < 0:
            raise SettingsError("reading_minutes is above 0, reading_spread and result_minutes are not below it.")
        if sum(c.prevalence for c in self.conditions) > 1 + 1e-9:
            raise SettingsError("The prevalences of the conditions sum to more than 1.")
        if self.ordered_stat + self.ordered_urgent > 1:
            raise SettingsError("ordered_urgent and ordered_stat sum to more than 1.")
        if self.load >= 1:
            raise SettingsError(
                f"{sum(self.arrivals_per_hour):.0f} cases a day are {self.load:.0%} of what the readers can do.",
                next_step="Give more readers, fewer cases or less time for each: the list would grow for ever.",
            )

    @property
    def load(self) -> float:
        """Work that comes in a day as a share of what can be read in a day."""
        capacity = sum(self.readers) * MINUTES_PER_HOUR
        return sum(self.arrivals_per_hour) * self.reading_minutes / capacity if capacity else float("inf")


@dataclass(frozen=True, slots=True)
class Cases:
    """Cases in order of arrival; every array has shape (n,).

    Attributes
    ----------
    arrived : ndarray of float64
        Minutes since the first midnight.
    reading : ndarray of float64
        Minutes that reading takes.
    condition : ndarray of int64
        Index into ``names``.
    names : sequence of str
        What cases may have; the last one is :data:`NOTHING`.
    true_urgency, order_urgency, ai_urgency : ndarray of int64
        Rank of a class (:attr:`Urgency.rank`): what is in the case asks for, was ordered, the model says.
    result_at : ndarray of float64
        Minutes since the first midnight at which the model's class is known; infinite where it says nothing.
    """

    arrived: NDArray[np.float64]
    reading: NDArray[np.float64]
    condition: NDArray[np.int64]
    names: Sequence[str]
    true_urgency: NDArray[np.int64]
    order_urgency: NDArray[np.int64]
    ai_urgency: NDArray[np.int64]
    result_at: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.arrived)


def draw(scenario: Scenario, *, days: int, seed: int) -> Cases:
    """Cases of so many days; the same seed gives the same ones, whatever the model can do.

    Arrivals, what is in the cases and reading times have random streams of their own, so that moving the model's
    sensitivity changes nothing else: what is compared is the model, not luck (common random numbers).
    """
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5)]
    arrived = _arrivals(scenario, days, streams[0])
    count = len(arrived)
    names = [c.name for c in scenario.conditions] + [NOTHING]
    rest = max(0.0, 1 - sum(c.prevalence for c in scenario.conditions))
    shares = np.array([c.prevalence for c in scenario.conditions] + [rest])
    condition = streams[1].choice(len(names), size=count, p=shares / shares.sum()).astype(np.int64)
    ranks = np.array([c.urgency.rank for c in scenario.conditions] + [Urgency.ROUTINE.rank], np.int64)
    ai = np.full(count, Urgency.ROUTINE.rank, np.int64)
    for index, one in enumerate(scenario.conditions):
        chance = np.where(condition == index, one.sensitivity, 1 - one.specificity)
        positive = streams[2].random(count) < chance
        ai = np.where(positive, np.minimum(ai, one.urgency.rank), ai)
    dice = streams[3].random(count)
    order = np.full(count, Urgency.ROUTINE.rank, np.int64)
    order[dice < scenario.ordered_stat + scenario.ordered_urgent] = Urgency.URGENT.rank
    order[dice < scenario.ordered_stat] = Urgency.STAT.rank
    return Cases(
        arrived=arrived,
        reading=_readings(scenario, count, streams[4]),
        condition=condition,
        names=names,
        true_urgency=ranks[condition],
        order_urgency=order,
        ai_urgency=ai,
        result_at=arrived + scenario.result_minutes,
    )


def _arrivals(scenario: Scenario, days: int, dice: np.random.Generator) -> NDArray[np.float64]:
    counts = dice.poisson(np.tile(np.asarray(scenario.arrivals_per_hour, float), days))
    hours = np.repeat(np.arange(len(counts)), counts)
    return np.sort((hours + dice.random(len(hours))) * MINUTES_PER_HOUR)


def _readings(scenario: Scenario, count: int, dice: np.random.Generator) -> NDArray[np.float64]:
    if scenario.reading_spread == 0:
        return np.full(count, scenario.reading_minutes)
    shape = 1 / scenario.reading_spread**2
    return dice.gamma(shape, scenario.reading_minutes / shape, count)
