"""Departments to try the order on where a site has no history of its own yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from triage.errors import SettingsError
from triage.findings import Urgency
from worklist.simulation.cases import Condition, Scenario

_DAY: Final = (2, 2, 2, 2, 2, 3, 6, 9, 11, 12, 12, 11, 10, 10, 10, 9, 8, 7, 6, 5, 4, 3, 3, 2)
"""Chest radiographs an hour: a morning round of bedside images, a busy day, a quiet night."""

SCENARIOS: Final = {
    "chest": Scenario(
        conditions=(
            Condition(
                name="pneumothorax", prevalence=0.04, urgency=Urgency.STAT, sensitivity=0.80, specificity=0.97
            ),
            Condition(
                name="pleural effusion", prevalence=0.14, urgency=Urgency.URGENT, sensitivity=0.80, specificity=0.92
            ),
            Condition(
                name="consolidation", prevalence=0.12, urgency=Urgency.URGENT, sensitivity=0.75, specificity=0.90
            ),
        ),
        arrivals_per_hour=_DAY,
        readers=(0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0),
        reading_minutes=4.6,
        reading_spread=0.8,
    ),
    "head": Scenario(
        conditions=(
            Condition(
                name="intracranial haemorrhage", prevalence=0.08, urgency=Urgency.STAT, sensitivity=0.92,
                specificity=0.94,
            ),
        ),
        arrivals_per_hour=(2, 2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 4, 4, 4, 3, 3, 3, 2),
        readers=(1,) * 24,
        reading_minutes=9.0,
        reading_spread=0.6,
        ordered_stat=0.15,
        ordered_urgent=0.25,
        result_minutes=2.0,
    ),
}  # fmt: skip
"""Orders of magnitude from the literature and from practice, no measured hospital: put your own figures in."""


def scenario(name: str, *, sensitivity: float | None = None, specificity: float | None = None) -> Scenario:
    """A department by name, with another model if one is given: the same figures for every condition.

    Raises
    ------
    SettingsError
        There is none of that name.
    """
    found = SCENARIOS.get(name)
    if found is None:
        raise SettingsError(f"There is no scenario {name!r}.", next_step=f"Take one of {', '.join(SCENARIOS)}.")
    conditions = tuple(
        replace(
            condition,
            sensitivity=condition.sensitivity if sensitivity is None else sensitivity,
            specificity=condition.specificity if specificity is None else specificity,
        )
        for condition in found.conditions
    )
    return replace(found, conditions=conditions)
