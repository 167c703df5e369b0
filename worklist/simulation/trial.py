"""A question to the simulator as plain data, so that it can be put to another process, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

import numpy as np

from triage.errors import SettingsError
from triage.findings import Urgency
from triage.priority import Targets
from worklist.simulation.cases import HOURS, MINUTES_PER_HOUR, Cases, Condition, Scenario, draw
from worklist.simulation.measures import Waiting, compare

WARM_UP: Final = HOURS * MINUTES_PER_HOUR
"""The first day fills the list and is not counted."""
MOST_CASES: Final = 20_000
"""More are not played at once: some three seconds of one core."""
_ARRAYS: Final = ("arrived", "reading", "condition", "true_urgency", "order_urgency", "ai_urgency", "result_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Either a department over so many days with a seed, or the cases of a site's own past with its readers."""

    targets: Targets
    scenario: Scenario | None = None
    days: int = 0
    seed: int = 0
    cases: Cases | None = None
    readers: Sequence[int] = ()

    def as_json(self) -> dict[str, Any]:
        """As :meth:`from_json` takes it; infinity, which JSON has not, is None."""
        return {
            "targets": asdict(self.targets),
            "scenario": None if self.scenario is None else asdict(self.scenario),
            "days": self.days,
            "seed": self.seed,
            "cases": None if self.cases is None else _cases_out(self.cases),
            "readers": list(self.readers),
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What :meth:`as_json` gave."""
        scenario = said["scenario"]
        if scenario is not None:
            said_of_each = scenario["conditions"]
            conditions = tuple(Condition(**one | {"urgency": Urgency(one["urgency"])}) for one in said_of_each)
            hours = {name: tuple(scenario[name]) for name in ("arrivals_per_hour", "readers")}
            scenario = Scenario(**scenario | hours | {"conditions": conditions})
        cases = None if said["cases"] is None else _cases_in(said["cases"])
        return cls(**dict(said) | {"targets": Targets(**said["targets"]), "scenario": scenario, "cases": cases})


def play(trial: Trial) -> list[Waiting]:
    """Waits by policy and group.

    Raises
    ------
    SettingsError
        There are more cases than :data:`MOST_CASES`.
    """
    if trial.cases is not None:
        return compare(trial.cases, trial.readers, trial.targets)
    if trial.scenario is None:
        raise SettingsError("A trial has a scenario or cases.")
    require_affordable(sum(trial.scenario.arrivals_per_hour) * (trial.days + 1))
    cases = draw(trial.scenario, days=trial.days + 1, seed=trial.seed)
    return compare(cases, trial.scenario.readers, trial.targets, warm_up=WARM_UP)


def require_affordable(cases: float) -> None:
    """Refuse what takes too long.

    Raises
    ------
    SettingsError
        There are more cases than :data:`MOST_CASES`.
    """
    if cases > MOST_CASES:
        raise SettingsError(
            f"That are {cases:.0f} cases; {MOST_CASES} at most are played at once.", next_step="Take fewer days."
        )


def with_prevalence(scenario: Scenario, prevalence: float) -> Scenario:
    """The same department where this share of cases has any finding, each as often among them as before."""
    before = sum(condition.prevalence for condition in scenario.conditions)
    return replace(
        scenario,
        conditions=tuple(
            replace(condition, prevalence=condition.prevalence * prevalence / before)
            for condition in scenario.conditions
        ),
    )


def _cases_out(cases: Cases) -> dict[str, Any]:
    return {name: [None if value == float("inf") else value for value in getattr(cases, name).tolist()]
            for name in _ARRAYS} | {"names": list(cases.names)}  # fmt: skip


def _cases_in(said: Mapping[str, Any]) -> Cases:
    whole = {"condition", "true_urgency", "order_urgency", "ai_urgency"}
    arrays: dict[str, Any] = {
        name: np.array(
            [np.inf if value is None else value for value in said[name]], np.int64 if name in whole else np.float64
        )
        for name in _ARRAYS
    }
    return Cases(names=said["names"], **arrays)
