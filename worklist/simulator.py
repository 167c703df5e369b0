"""A play that was asked for: from the query to a trial, and from its waits to figures and words.

Imports what plays, and so numpy: who only serves the list does not import this.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from triage.findings import Urgency
from worklist.context import Context
from worklist.schemas.simulator import GroupOut, PolicyOut, SimulationOut, SimulatorQuery, Source
from worklist.simulation.cases import HOURS, Scenario
from worklist.simulation.history import read_cases
from worklist.simulation.measures import Waiting
from worklist.simulation.scenarios import SCENARIOS, scenario
from worklist.simulation.trial import MOST_CASES, Trial, require_affordable, with_prevalence

READERS: Final = 1
READING_MINUTES: Final = 5.0
"""For a site's own past, where nothing is given."""


def simulate(here: Context, query: SimulatorQuery) -> SimulationOut:
    """Play what is asked.

    Raises
    ------
    SettingsError
        It cannot be played: more work than readers, too few cases in the past, too many cases.
    BusyError
        Others are being played.
    """
    trial, inputs = _trial(here, query)
    answer = here.players.play(json.dumps(trial.as_json()), keep=trial.cases is None)
    groups = _groups([Waiting(**row) for row in json.loads(answer)])
    gains, harms = _words(groups, gain=True), _words(groups, gain=False)
    return SimulationOut(inputs=inputs, groups=groups, gains=gains, harms=harms)


def _trial(here: Context, query: SimulatorQuery) -> tuple[Trial, SimulatorQuery]:
    targets = here.settings.targets
    if query.source is Source.HISTORY:
        readers, minutes = query.readers or READERS, query.reading_minutes or READING_MINUTES
        since = here.clock() - timedelta(days=query.days)
        with here.database.read() as session:
            cases = read_cases(session, since=since, reading_minutes=minutes, most=MOST_CASES)
        inputs = query.model_copy(update={"readers": readers, "reading_minutes": minutes})
        return Trial(targets=targets, cases=cases, readers=(readers,) * HOURS), inputs
    chosen = scenario(query.source, sensitivity=query.sensitivity, specificity=query.specificity)
    if query.prevalence is not None:
        chosen = with_prevalence(chosen, query.prevalence)
    changes: dict[str, Any] = {}
    if query.readers is not None:
        changes["readers"] = tuple(query.readers if there else 0 for there in chosen.readers)
    if query.reading_minutes is not None:
        changes["reading_minutes"] = query.reading_minutes
    if query.stat_share is not None:
        changes["ordered_stat"] = query.stat_share
        changes["ordered_urgent"] = min(chosen.ordered_urgent, 1 - query.stat_share)
    chosen = replace(chosen, **changes)
    require_affordable(sum(chosen.arrivals_per_hour) * (query.days + 1))
    inputs = query.model_copy(update=_inputs(chosen))
    return Trial(targets=targets, scenario=chosen, days=query.days, seed=query.seed), inputs


def _groups(rows: Sequence[Waiting]) -> tuple[GroupOut, ...]:
    groups = []
    for name in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == name]
        policies = tuple(
            PolicyOut(
                policy=row.policy, mean_minutes=round(row.mean, 2), p95_minutes=round(row.p95, 2),
                longest_minutes=round(row.maximum, 2), late=round(row.late * row.count),
                change_minutes=round(row.mean - members[0].mean, 2),
            )
            for row in members
        )  # fmt: skip
        groups.append(GroupOut(group=name, cases=members[0].count, policies=policies))
    return tuple(groups)


def _words(groups: Sequence[GroupOut], *, gain: bool) -> tuple[str, ...]:
    """Of our order, in the order of the groups; less than half a minute is no difference."""
    said = []
    for group in groups:
        before, ours = group.policies[0], group.policies[-1]
        if group.group == "all" or abs(ours.change_minutes) < 0.5 or (ours.change_minutes < 0) is not gain:
            continue
        name = f"{group.group} case" if group.group in Urgency.__members__ else group.group
        much, way = f"{abs(ours.change_minutes):.0f} min", "less" if gain else "more"
        said.append(
            f"{name} ({group.cases}): {much} {way} on average, {before.mean_minutes:.0f} → {ours.mean_minutes:.0f} min;"
            f" longest {before.longest_minutes:.0f} → {ours.longest_minutes:.0f} min"
        )
    return tuple(said)


def _inputs(chosen: Scenario) -> dict[str, float]:
    return {
        "prevalence": round(sum(c.prevalence for c in chosen.conditions), 4),
        "stat_share": chosen.ordered_stat,
        "readers": max(chosen.readers),
        "reading_minutes": chosen.reading_minutes,
    }


def usual(source: Source) -> dict[str, float]:
    """Where the sliders stand before they are moved: what a source has, of the model its first finding's figures."""
    if source is Source.HISTORY:
        return {"readers": READERS, "reading_minutes": READING_MINUTES}
    chosen = SCENARIOS[source]
    first = chosen.conditions[0]
    return _inputs(chosen) | {"sensitivity": first.sensitivity, "specificity": first.specificity}
