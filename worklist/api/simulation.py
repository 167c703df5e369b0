"""``/api/v1/simulation``: what the order of the list would be worth here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from triage.errors import SettingsError
from worklist.context import Here
from worklist.problems import problem
from worklist.schemas.simulator import SimulationOut, SimulatorQuery

router = APIRouter(tags=["statistics"])


@router.get(
    "/simulation",
    summary="The same days read in three orders",
    response_model=SimulationOut,
    responses={503: {"description": "Others are being played, or this one takes too long."}},
)
def simulation(request: Request, here: Here, query: Annotated[SimulatorQuery, Query()]) -> SimulationOut | Response:
    """First in first out, by class alone, and in the order of this list: mean, 95 % and longest wait of each group.

    One play at a time runs in a process of its own behind all others. 422 where it cannot be played: more work than
    readers, too few cases in the past, more cases than are played at once.
    """
    from worklist.simulator import simulate  # noqa: PLC0415 - imports numpy, which the list does not need

    try:
        return simulate(here, query)
    except SettingsError as error:
        return problem(request, 422, str(error), next_step=error.next_step)
