"""``/simulator``: what the order of the list would be worth here, tried with sliders."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from triage.errors import BusyError, SettingsError
from triage.findings import Urgency
from worklist.context import Context, Here
from worklist.page.rendering import render
from worklist.problems import RETRY_SECONDS
from worklist.schemas.simulator import SimulationOut, SimulatorQuery, Source

router = APIRouter(include_in_schema=False)
Asked = Annotated[SimulatorQuery, Query()]


@router.get("/simulator")
def simulator_page(request: Request, here: Here, query: Asked) -> HTMLResponse:
    """The sliders and what they give; all inputs stand in the address."""
    return _played(request, here, query, "simulator.html")


@router.get("/fragment/simulator")
def simulator_fragment(request: Request, here: Here, query: Asked) -> HTMLResponse:
    """What the sliders give."""
    return _played(request, here, query, "simulator_waits.html")


def _played(request: Request, here: Context, query: SimulatorQuery, template: str) -> HTMLResponse:
    from worklist.simulator import simulate, usual  # noqa: PLC0415 - imports numpy, which the list does not need

    played: SimulationOut | None = None
    refused, status = "", 200
    headers: dict[str, str] = {}
    try:
        played = simulate(here, query)
    except SettingsError as error:
        refused, status = error.advice(), 422
    except BusyError as error:
        refused, status, headers = error.advice(), 503, {"Retry-After": str(RETRY_SECONDS)}
    at = (played.inputs if played else query).model_dump(mode="json")
    context: dict[str, Any] = {
        "query": query,
        "played": played,
        "refused": refused,
        "given": query.model_fields_set,
        "at": usual(query.source) | {name: value for name, value in at.items() if value is not None},
        "sources": list(Source),
        "classes": list(Urgency),
        "highest": _highest(played),
    }
    return render(request, template, context, status=status, headers=headers)


def _highest(played: SimulationOut | None) -> float:
    """The end of the bars: the greatest P95, so that all groups share one scale."""
    waits = [policy.p95_minutes for group in (played.groups if played else ()) for policy in group.policies]
    return max(waits, default=0) or 1.0
