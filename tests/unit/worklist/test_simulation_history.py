"""A site's own past, replayed: what came and was read in real rows, by every policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from worklist_rows import NOON, Seen, arrive, score

from firstread import simulating
from triage.errors import SettingsError
from triage.findings import Urgency
from triage.priority import Targets
from triage.repositories import worklist
from worklist.simulation.history import LEAST, read_cases
from worklist.simulation.measures import compare


def fill(house: Any, count: int) -> None:
    """Cases every three minutes, each fifth with a pneumothorax; claimed two minutes before they are read."""
    with house.database.write() as session:
        for number in range(count):
            at = NOON + timedelta(minutes=3 * number)
            study = arrive(session, f"n{number}", at=at)
            score(session, study, [Seen("pneumothorax", 0.9 if number % 5 == 0 else 0.1)], at=at + timedelta(seconds=6))
            if number % 2:
                worklist.claim(session, study, who="dr", at=at + timedelta(minutes=30))
            worklist.mark_read(session, study, who="dr", at=at + timedelta(minutes=32))


def test_rows_become_cases(house: Any) -> None:
    fill(house, LEAST)
    with house.database.read() as session:
        cases = read_cases(session, since=NOON - timedelta(days=1), reading_minutes=4.0)
    assert len(cases) == LEAST
    assert np.allclose(np.diff(cases.arrived), 3)
    assert cases.arrived[0] == 12 * 60
    assert cases.reading.tolist() == [4.0, 2.0] * (LEAST // 2)
    assert (cases.ai_urgency == Urgency.STAT.rank).sum() == LEAST // 5
    assert np.allclose(cases.result_at - cases.arrived, 0.1)
    groups = {row.group for row in compare(cases, (1,) * 24, Targets())}
    assert groups >= {"all", "STAT", "ROUTINE"}


def test_a_day_of_a_few_cases_says_nothing(house: Any) -> None:
    fill(house, 3)
    with house.database.read() as session, pytest.raises(SettingsError, match="Only 3 cases") as told:
        read_cases(session, since=NOON - timedelta(days=1), reading_minutes=4.0)
    assert "--scenario" in told.value.advice()


def test_the_command_reads_the_sites_own_database(house: Any) -> None:
    fill(house, LEAST)
    rows = simulating.own_history(house.settings, days=365 * 100, readers=1, reading_minutes=8.0)
    stat = {row.policy: row.mean for row in rows if row.group == "STAT"}
    assert stat["firstread"] < stat["first in, first out"]
    assert set(simulating.as_json(rows)[0]) == {"policy", "group", "count", "mean", "p95", "maximum", "late"}
    assert simulating.draw_table(rows).row_count == len({row.group for row in rows})
