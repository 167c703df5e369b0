"""``/statistics``: a period in figures, for whoever answers for the list."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from triage.findings import Urgency
from worklist.context import Here
from worklist.page.charts import Bars, stacked, wait_scale
from worklist.page.rendering import render
from worklist.schemas.statistics import DayRow, HourRow, StatisticsOut
from worklist.statistics import StatisticsQuery, read_statistics

SHORTCUTS: Final = (1, 7, 30, 90, 365)
"""Days, as links."""
SHOWN: Final = 60
"""Rows of one table on the page; its CSV has all."""

router = APIRouter(include_in_schema=False)


@router.get("/statistics")
def statistics_page(request: Request, here: Here, query: Annotated[StatisticsQuery, Query()]) -> HTMLResponse:
    """Tables and charts of a period."""
    told = read_statistics(here, query)
    asked = query.model_dump(exclude_defaults=True, mode="json")
    filters = {name: value for name, value in asked.items() if name not in ("days", "since", "until")}
    context = {
        "told": told,
        "query": query,
        "query_string": urlencode(asked),
        "shortcuts": [(days, urlencode({"days": days} | filters)) for days in SHORTCUTS],
        "urgencies": list(Urgency),
        "days": _days(told.days),
        "hours": _hours(told.hours),
        "waits": wait_scale(
            [(r.median_minutes, r.p90_minutes, r.p95_minutes, r.target_minutes) for r in told.turnaround]
        ),
        "shown": SHOWN,
        **_sums(told),
    }
    return render(request, "statistics.html", context)


def _days(rows: tuple[DayRow, ...]) -> Bars:
    return stacked([(f"{r.day:%d %b}", _words(f"{r.day:%a %d %b}", r), (r.stat, r.urgent, r.routine)) for r in rows])


def _hours(rows: tuple[HourRow, ...]) -> Bars:
    return stacked([(f"{r.hour:02}", _words(f"{r.hour:02}:00", r), (r.stat, r.urgent, r.routine)) for r in rows])


def _words(when: str, row: DayRow | HourRow) -> str:
    return f"{when}: {row.arrived} arrived; {row.stat} STAT, {row.urgent} URGENT, {row.routine} ROUTINE"


def _sums(told: StatisticsOut) -> dict[str, Any]:
    return {
        "arrived": sum(row.arrived for row in told.days),
        "read": sum(row.read for row in told.turnaround),
        "in_time": sum(row.in_time for row in told.turnaround),
        "overdue": sum(row.overdue for row in told.turnaround),
        "after": sum(row.after for row in told.lead_time),
        "with_result": sum(row.before + row.after for row in told.lead_time),
        "positives": [row for row in told.models if row.positive or row.missed],
        "silent": [row for row in told.models if not row.positive and not row.missed],
        "scanners": [row for row in told.scanners if row.positive or row.missed],
        "ended": [row for row in told.analyses if row.reason],
    }
