"""``GET /api/v1/worklist`` and its live events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final

import anyio
from fastapi import APIRouter, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sse_starlette import EventSourceResponse, ServerSentEvent

from triage.errors import DatabaseUnavailableError
from triage.findings import Urgency
from triage.repositories import verdicts, worklist
from triage.repositories.list_query import Filters, Place
from triage.states import ReadingStatus, StudyStatus
from worklist import describe
from worklist.api import cursor as cursors
from worklist.conditions import IfNoneMatch, names_tag
from worklist.context import Context, Here
from worklist.live import RING, Feed, Notice
from worklist.openapi import STREAM
from worklist.problems import problem, unavailable
from worklist.schemas.cases import WorklistPage
from worklist.snapshot import Kept

HEARTBEAT_SECONDS: Final = 10
STOP_SECONDS: Final = 1.0
"""How long streams may take to end when the server stops."""
RETRY_MS: Final = 2000
"""After which a listener that lost the stream comes back."""
SEND_SECONDS: Final = 20.0
"""A listener that takes nothing for this long is let go."""

router = APIRouter(tags=["worklist"])


class ListQuery(BaseModel):
    """The query of the list, the same for API and page."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    status: str = Field(default="", pattern="^(|OPEN|ALL|UNREAD|CLAIMED|READ|RECEIVING|COMPLETE)$")
    """OPEN (the default): all that are not read. UNREAD, CLAIMED, READ: by reading status. RECEIVING, COMPLETE: open
    ones by study status. ALL: read ones too."""
    urgency: Urgency | None = None
    modality: str = Field(default="", max_length=16, pattern=r"^[A-Za-z0-9_ ]*$")
    """Studies that contain this modality."""
    q: str = Field(default="", max_length=64)
    """Words, each part of patient ID, name, accession number, study description or ward; or a Study Instance UID."""
    reader: str = Field(default="", max_length=100)
    """Claimed or read by this person or program."""
    ward: str = Field(default="", max_length=64)
    """Part of the ward."""
    body_part: str = Field(default="", max_length=64)
    """Part of Body Part Examined."""
    ae: str = Field(default="", max_length=16)
    """AE title that sent it."""
    finding: str = Field(default="", max_length=64)
    """Part of the key or the meaning of a finding that is over its threshold."""
    positive: bool = False
    """Only cases with something over its threshold."""
    overdue: bool = False
    """Only cases whose due time has passed."""
    waiting: int | None = Field(default=None, ge=0, le=1_000_000)
    """Only cases that arrived at least so many minutes ago."""
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str = Field(default="", max_length=100)
    """`next_cursor` of the page before."""

    @field_validator("urgency", "waiting", mode="before")
    @classmethod
    def _empty_is_any(cls, value: object) -> object:
        return value or None  # a form sends its empty fields too

    @field_validator("positive", "overdue", mode="before")
    @classmethod
    def _empty_is_no(cls, value: object) -> object:
        return value or False

    def filters(self, now: datetime) -> Filters:
        """What the query asks for at this time."""
        return Filters(
            everything=self.status == "ALL",
            reading=ReadingStatus(self.status) if self.status in ReadingStatus.__members__ else None,
            status=StudyStatus(self.status) if self.status in StudyStatus.__members__ else None,
            urgency=self.urgency,
            modality=self.modality.strip().upper(),
            q=self.q.strip(),
            reader=self.reader,
            ward=self.ward.strip(),
            body_part=self.body_part.strip(),
            calling_ae_title=self.ae.strip(),
            finding=self.finding.strip(),
            positive=self.positive,
            due_before=now if self.overdue else None,
            received_before=None if self.waiting is None else now - timedelta(minutes=self.waiting),
        )

    @property
    def after(self) -> Place | None:
        return cursors.decode(self.cursor) if self.cursor else None

    @property
    def ageing(self) -> bool:
        """The answer depends on the time."""
        return self.overdue or self.waiting is not None


def read_page(here: Context, query: ListQuery, *, counted: bool = False) -> Kept:
    """One page of the list, read once per commit; with the counts of open cases if asked.

    It is kept for the time when the database is away.
    """
    return here.fresh.answer(("list", query, counted), lambda: _read(here, query, counted), ageing=query.ageing)


def _read(here: Context, query: ListQuery, counted: bool) -> Kept:
    at = here.clock()
    with here.database.look() as session:
        page = worklist.list_page(session, query.filters(at), query.after, query.limit)
        positives = [finding.id for case in page.cases for finding in case.findings if finding.positive]
        given = verdicts.standing_on(session, positives) if positives else {}
        standing = {finding_id: describe.describe_verdict(verdict) for finding_id, verdict in given.items()}
        items = describe.items(page.cases, standing)
        counts = worklist.open_counts(session) if counted else {}
    next_cursor = cursors.encode(page.next) if page.next else None
    kept = Kept(WorklistPage(items=items, next_cursor=next_cursor), at, counts)
    here.snapshot.keep(query, kept)
    return kept


@router.get(
    "/worklist",
    summary="The reading list, most urgent first",
    response_model=WorklistPage,
    responses={304: {"description": "The page is still the one that `If-None-Match` names.", "model": None}},
)
def list_worklist(
    request: Request,
    here: Here,
    query: Annotated[ListQuery, Query()],
    if_none_match: IfNoneMatch = "",
) -> Response:
    """STAT first, then by due time (arrival + target of the class), ties by arrival in our tables.

    Pages follow the order by keyset: a case that moves up while you page appears again or not at all, none is lost
    between two pages that did not move.

    The header `ETag` names the content of the page; sent back as `If-None-Match` it saves reading the same again (304).

    While the database does not answer: 503, and where this process has read the same page before, the problem document
    carries it as `items`, with `stale: true` and `as_of`.
    """
    try:
        kept = read_page(here, query)
    except DatabaseUnavailableError as error:
        last = here.snapshot.last(query)
        if last is None:
            raise
        old = last.page.model_dump(mode="json")
        return unavailable(request, error, stale=True, as_of=last.at.isoformat().replace("+00:00", "Z"), **old)
    headers = {"ETag": kept.etag}
    if names_tag(if_none_match, kept.etag):
        return Response(status_code=304, headers=headers)
    return Response(kept.json, media_type="application/json", headers=headers)


@router.get(
    "/worklist/events",
    summary="What changes, live (server-sent events)",
    response_class=EventSourceResponse,
    responses=STREAM,
)
async def follow_worklist(
    request: Request,
    here: Here,
    last_event_id: Annotated[str, Header()] = "",
) -> Response:
    """One message per event row: `id` is the event's, `data` is JSON with `kind`, `study_instance_uid` and `at`.

    The first message has the kind `hello`. A reconnecting client sends `Last-Event-ID` and gets what it missed; the
    kind `reload` says that this is too much to tell one by one. Events named `ping` keep the connection alive and show
    that it is: a stream without one for 30 s is dead, whatever its state says.
    """
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        error = {"loc": ("header", "Last-Event-ID"), "msg": "not an event id", "type": "value_error"}
        raise RequestValidationError([error])
    if here.feed.full:
        return problem(request, 503, "Too many live listeners.", headers={"Retry-After": "30"})
    await here.feed.start()
    stopping = anyio.Event()
    return EventSourceResponse(
        _messages(here.feed, int(last_event_id) if last_event_id else None, stopping),
        shutdown_event=stopping,
        shutdown_grace_period=STOP_SECONDS,
        ping=HEARTBEAT_SECONDS,
        ping_message_factory=lambda: ServerSentEvent("{}", event="ping", sep="\n"),
        send_timeout=SEND_SECONDS,
        sep="\n",
    )


async def _messages(feed: Feed, after: int | None, stopping: anyio.Event) -> AsyncIterator[bytes]:
    last_words = asyncio.create_task(_end_with(stopping, feed))
    try:
        async with aclosing(feed.follow_together(after)) as groups:
            async for together in groups:
                yield b"".join(_encoded(notice) for notice in together)
    finally:
        last_words.cancel()


@lru_cache(maxsize=RING)
def _encoded(notice: Notice) -> bytes:
    """A notice on the wire, made once for all listeners."""
    at = notice.at.isoformat().replace("+00:00", "Z") if notice.at else None
    data = {"kind": notice.kind, "study_instance_uid": notice.study_instance_uid, "at": at}  # LiveMessage
    retry = RETRY_MS if notice.kind == "hello" else None
    return ServerSentEvent(json.dumps(data), id=str(notice.id), retry=retry, sep="\n").encode()


async def _end_with(stopping: anyio.Event, feed: Feed) -> None:
    await stopping.wait()
    await feed.end()
