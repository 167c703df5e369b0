"""``GET /api/v1/worklist.csv``: the reading list as a table, for spreadsheets and for programs without JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field

from triage.database import Database
from triage.repositories import list_export
from triage.repositories.list_query import Place
from worklist import describe
from worklist.api import cursor as cursors
from worklist.api.reading_list import ListQuery
from worklist.context import Here
from worklist.schemas.cases import WorklistItem
from worklist.spreadsheet import MEDIA_TYPE, Cell, csv_answer

AT_ONCE: Final = 200
"""Cases read in one transaction."""
COLUMNS: Final = (
    "place", "urgency", "due_at", "explanation", "patient_name", "patient_id", "patient_birth_date", "patient_sex",
    "accession_number", "modality", "body_part_examined", "study_description", "study_date", "ward",
    "referring_physician_name", "received_at", "study_status", "analysis_status", "findings", "reading_status",
    "reader", "study_instance_uid",
)  # fmt: skip

router = APIRouter(tags=["worklist"])


class CsvQuery(ListQuery):
    """The query of the list; a table may be longer than a page."""

    limit: int = Field(default=10_000, ge=1, le=50_000)
    """Rows at most; where there are more cases, `Link` names the rest."""


@router.get(
    "/worklist.csv",
    summary="The reading list as CSV, most urgent first",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}, "description": "The table"}},
)
def list_as_csv(here: Here, query: Annotated[CsvQuery, Query()]) -> Response:
    """The list with its filters, in reading order, as of one moment; `findings` are those over their thresholds.

    Sent as it is read. `Link: <...>; rel="next"` is there when the list is longer than `limit`.
    """
    with here.database.read() as session:
        places = list_export.places(session, query.filters(here.clock()), query.after, query.limit + 1)
    answer = csv_answer("worklist.csv", COLUMNS, _rows(here.database, places[: query.limit]))
    if len(places) > query.limit:
        answer.headers["Link"] = f'<{_rest(query, places[query.limit - 1])}>; rel="next"'
    return answer


def _rest(query: CsvQuery, last: Place) -> str:
    asked: dict[str, Any] = query.model_dump(mode="json", exclude_defaults=True)
    return f"/api/v1/worklist.csv?{urlencode(asked | {'cursor': cursors.encode(last)})}"


def _rows(database: Database, places: Sequence[Place]) -> Iterator[Sequence[Cell]]:
    number = 0
    for begin in range(0, len(places), AT_ONCE):
        with database.read() as session:
            items = describe.items(list_export.cases_at(session, places[begin : begin + AT_ONCE]))
        for item in items:
            number += 1
            yield _row(number, item)


def _row(number: int, item: WorklistItem) -> Sequence[Cell]:
    found = "; ".join(f"{finding.meaning} {finding.score:.2f}" for finding in item.findings if finding.positive)
    said: dict[str, Cell] = {"place": number, "findings": found}
    return [said[name] if name in said else getattr(item, name) for name in COLUMNS]
