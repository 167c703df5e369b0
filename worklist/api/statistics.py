"""``/api/v1/admin/stats``: a period in figures, as JSON and table by table as CSV."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from worklist.context import Here
from worklist.schemas.statistics import StatisticsOut, Table
from worklist.spreadsheet import csv_answer
from worklist.statistics import StatisticsQuery, question, read_statistics
from worklist.statistics_tables import TABLES

router = APIRouter(prefix="/admin/stats", tags=["statistics"])
Asked = Annotated[StatisticsQuery, Query()]
_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "RFC 4180, UTF-8 with byte order mark.", "content": {"text/csv": {}}}
}


@router.get("", summary="A period in figures")
def statistics(here: Here, query: Asked) -> StatisticsOut:
    """Arrivals, turnaround against targets, whether results came before the reading, positives and what readers said of
    them, and why there was no result. Studies count that arrived in the period; 422 for one that is turned round or
    longer than 400 days.
    """
    return read_statistics(here, query)


@router.get("/{table}.csv", summary="A table of it as CSV", response_class=StreamingResponse, responses=_CSV)
def statistics_table(here: Here, table: Table, query: Asked) -> StreamingResponse:
    """The same rows and fields. Text that a spreadsheet would take for a formula begins with an apostrophe."""
    row, rows = TABLES[table]
    with here.database.read() as session:
        asked = question(here, session, query)
        found = rows(asked)
    header, period = list(row.model_fields), asked.scope.period
    name = f"firstread-{table}-{period.first}-{period.last}.csv"
    return csv_answer(name, header, ([getattr(each, field) for field in header] for each in found))
