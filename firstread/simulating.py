"""``firstread simulate``: what the order of the list would be worth, as a table or for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.table import Table

from triage.database import Database
from triage.priority import Targets
from triage.settings import Settings
from worklist.simulation.cases import HOURS, draw
from worklist.simulation.history import read_cases
from worklist.simulation.measures import Waiting, compare
from worklist.simulation.scenarios import scenario
from worklist.simulation.trial import WARM_UP


def synthetic(
    name: str,
    *,
    days: int,
    seed: int,
    targets: Targets,
    sensitivity: float | None,
    specificity: float | None,
    readers: int | None,
) -> list[Waiting]:
    """A department of :mod:`worklist.simulation.scenarios` over so many days after the first.

    Parameters
    ----------
    readers : int or None
        As many in each hour in which the scenario has any.
    """
    chosen = scenario(name, sensitivity=sensitivity, specificity=specificity)
    if readers is not None:
        chosen = replace(chosen, readers=tuple(readers if there else 0 for there in chosen.readers))
    return compare(draw(chosen, days=days + 1, seed=seed), chosen.readers, targets, warm_up=WARM_UP)


def own_history(settings: Settings, *, days: int, readers: int, reading_minutes: float) -> list[Waiting]:
    """The site's own last days, with so many readers round the clock."""
    database = Database(settings.database)
    database.require_current()
    with database.read() as session:
        cases = read_cases(session, since=datetime.now(UTC) - timedelta(days=days), reading_minutes=reading_minutes)
    return compare(cases, (readers,) * HOURS, settings.targets)


def as_json(rows: Sequence[Waiting]) -> list[dict[str, Any]]:
    """Minutes, not rounded."""
    return [asdict(row) for row in rows]


def draw_table(rows: Sequence[Waiting]) -> Table:
    """Groups below each other, policies side by side, gain and harm in the same columns."""
    names = list(dict.fromkeys(row.policy for row in rows))
    table = Table(
        title="Minutes from arrival until somebody begins to read: mean / 95 % / longest, and share beyond target",
        title_justify="left",
        header_style="bold",
    )
    table.add_column("what is in the case")
    table.add_column("cases", justify="right")
    for name in names:
        table.add_column(name, justify="right")
    for group in dict.fromkeys(row.group for row in rows):
        of_group = {row.policy: row for row in rows if row.group == group}
        first = of_group[names[0]]
        cells = [_cell(of_group[name], first) for name in names]
        table.add_row(group, f"{first.count}", *cells)
    return table


def _cell(row: Waiting, first: Waiting) -> str:
    text = f"{row.mean:.0f} / {row.p95:.0f} / {row.maximum:.0f}  {row.late:.0%}"
    change = row.mean - first.mean
    if row is first or abs(change) < 0.5:
        return text
    return f"[{'green' if change < 0 else 'red'}]{text}[/]"
