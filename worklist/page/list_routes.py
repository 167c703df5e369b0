"""The reading list at ``/`` and the fragment of it that changes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from triage.errors import DatabaseUnavailableError
from triage.findings import Urgency
from triage.repositories import stalled
from worklist.api.reading_list import ListQuery, read_page
from worklist.api.saved_views import EVERYTHING_OPEN, address, parameters, read_views
from worklist.context import Context, Here, Who
from worklist.health import beat_ages, missing_parts
from worklist.page.rendering import render
from worklist.page.row_rendering import Rows
from worklist.permissions import Caller, Need
from worklist.problems import RETRY_SECONDS
from worklist.schemas.cases import WorklistItem
from worklist.schemas.views import ViewOut
from worklist.snapshot import Kept

STATUSES: Final = {
    "": "Open",
    "UNREAD": "Unread",
    "CLAIMED": "Claimed",
    "RECEIVING": "Receiving",
    "COMPLETE": "Complete",
    "READ": "Read",
    "ALL": "All",
}
COLUMNS: Final = {
    "age": "Age, sex",
    "mod": "Modality",
    "study": "Study",
    "part": "Body part",
    "accession": "Accession number",
    "referrer": "Ward, referrer, sender",
    "why": "Why it stands here, findings",
    "status": "Status",
}
"""Columns that a reader may do without."""
COLUMNS_COOKIE: Final = "hidden_columns"
_NARROWING: Final = frozenset({"ward", "body_part", "ae", "finding", "reader", "waiting", "positive", "overdue"})
"""Parameters behind "More filters"."""

router = APIRouter(include_in_schema=False)
Listing = Annotated[ListQuery, Query()]


@router.get("/")
def list_page(request: Request, here: Here, who: Who, query: Listing) -> Response:
    """The reading list; without a query the person's default view, if they have saved one."""
    views = _views(here, who)
    if not request.url.query and views and views[0].default:
        return RedirectResponse(views[0].url, status_code=303)
    return _listed(request, here, query, "list.html", views=views)


@router.get("/fragment/worklist")
def list_fragment(request: Request, here: Here, query: Listing) -> HTMLResponse:
    """The part of the list page that changes: made once a commit for all who see the same, however many pages ask."""
    return _listed(request, here, query, "list_rows.html", shared=True)


def _listed(
    request: Request, here: Context, query: ListQuery, template: str, *, shared: bool = False, **more: Any
) -> HTMLResponse:
    """The list, or while the database is away the one last shown, which says so."""
    chosen = set(request.cookies.get(COLUMNS_COOKIE, "").split("."))
    more["hidden_columns"] = [name for name in COLUMNS if name in chosen]
    try:
        kept = read_page(here, query, counted=True)
        if not shared:
            return HTMLResponse(_current(request, here, query, template, more))
        caller: Caller = request.state.caller
        # Who asks makes a difference only to their own cases.
        more["who"] = caller.name if any(item.reader == caller.name for item in kept.page.items) else ""
        question = (template, query, more["who"], caller.may, *more["hidden_columns"])
        return HTMLResponse(
            here.fresh.answer(question, lambda: _current(request, here, query, template, more), ageing=True)
        )
    except DatabaseUnavailableError as error:
        old = here.snapshot.last(query)
        if old is None:
            raise
        headers = {"Retry-After": str(RETRY_SECONDS)}
        context = _list(request, query, old, more, now=here.clock(), missing=[], lost=str(error))
        return render(request, template, context, status=503, headers=headers)


def _current(request: Request, here: Context, query: ListQuery, template: str, more: dict[str, Any]) -> bytes:
    kept = read_page(here, query, counted=True)
    now = here.clock()
    with here.database.look() as session:
        missing = missing_parts(beat_ages(session, now))
        more = more | {"stands_since": stalled.analysing(session, now)}
    return bytes(render(request, template, _list(request, query, kept, more, now=now, missing=missing)).body)


def _list(
    request: Request, query: ListQuery, kept: Kept, more: dict[str, Any], *, now: datetime, missing: list[str],
    lost: str = "",
) -> dict[str, Any]:  # fmt: skip
    """What the templates are given; ``more`` says for whom an answer is made that several share."""
    chosen = parameters(query)
    caller: Caller = request.state.caller
    rows: Rows = request.app.state.rows
    who = more.get("who", caller.name)
    following = kept.page.next_cursor
    return {
        "rows": rows.html(kept.page.items, now=now, who=who, may_read=Need.READ in caller.may),
        "counts": kept.counts,
        "missing": missing,
        "stands_since": None,
        "lost": lost,
        "as_of": kept.at if lost else now,
        "now": now,
        "query": query,
        "chosen": chosen,
        "chosen_json": json.dumps(chosen),
        "narrowed": bool(_NARROWING & chosen.keys()),
        "query_string": urlencode(chosen | ({"cursor": query.cursor} if query.cursor else {})),
        "first_page": address(chosen),
        "csv": f"/api/v1/worklist.csv?{urlencode({n: v for n, v in chosen.items() if n != 'limit'})}".rstrip("?"),
        "next_page": "/?" + urlencode(chosen | {"cursor": following}) if following else None,
        "everything": EVERYTHING_OPEN,
        "suggestions": _suggestions(kept.page.items),
        "statuses": STATUSES,
        "columns": COLUMNS,
        "urgencies": list(Urgency),
    } | more


def _suggestions(items: Iterable[WorklistItem]) -> dict[str, list[str]]:
    """What the fields of the filter offer: what the cases on the page say."""
    found: dict[str, set[str]] = {
        "modalities": set(),
        "wards": set(),
        "parts": set(),
        "senders": set(),
        "findings": set(),
        "readers": set(),
    }
    for item in items:
        found["modalities"].update(item.modality.split("\\"))
        found["wards"].add(item.ward)
        found["parts"].add(item.body_part_examined)
        found["senders"].add(item.calling_ae_title)
        found["findings"].update(finding.meaning for finding in item.findings)
        found["readers"].add(item.reader)
    return {name: sorted(values - {""}) for name, values in found.items()}


def _views(here: Context, who: str) -> list[ViewOut]:
    """None while the database is away, which the list then says."""
    try:
        return read_views(here, who)
    except DatabaseUnavailableError:
        return []
