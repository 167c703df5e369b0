"""``GET /dicom-web/workitems``: the reading list as workitems (UPS-RS, PS3.18 11.8 and 11.5), read-only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from triage.catalogue import Narrowing, StudyFacts
from triage.errors import NotFoundError
from triage.identifiers import dicom_uid, reading_task_uid
from triage.matching import KeyRefusedError, Matcher, matcher_of
from triage.repositories import installation
from triage.repositories.catalogue import matching_studies
from triage.tables import Installation, Study
from worklist.context import Context, Here
from worklist.dicom_web.workitem import Attribute, named, workitem
from worklist.problems import problem

DICOM_JSON: Final = "application/dicom+json"
_TAKEN: Final = frozenset({"*/*", "application/*", DICOM_JSON, "application/json"})
_SEARCHED: Final = 100_000
"""Cases, the newest, among which a workitem is looked for by its UID."""
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {DICOM_JSON: {"schema": {"type": "array", "items": {"type": "object"}}}}, "description": "Found"}
}

router = APIRouter(prefix="/dicom-web/workitems", tags=["dicom-web"])


class SearchQuery(BaseModel):
    """What a search says beside the attributes that it matches, each named by keyword or tag."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=20_000)
    includefield: list[str] = []
    """Keywords or tags of further attributes, or `all`."""
    fuzzymatching: str = ""
    """Not offered: names match without regard to case, and with wildcards."""


@router.get("", summary="Reading tasks in reading order (UPS-RS search)", response_class=Response,
            responses={**_ANSWER, 204: {"description": "None matches"}})  # fmt: skip
def search_workitems(request: Request, here: Here, query: Annotated[SearchQuery, Query()]) -> Response:
    """Open cases as workitems, most urgent first; Scheduled Procedure Step Priority is HIGH, MEDIUM or LOW.

    Attributes are matched as PS3.4 C.2.2.2 says, by `Keyword=value` or `ggggeeee=value`. Cases that have been read are
    found by `ProcedureStepState=COMPLETED`. A `Warning` header says what was not understood, and that there are more.
    """
    if (refused := _not_acceptable(request)) is not None:
        return refused
    asked = {name: value for name, value in request.query_params.multi_items() if name not in SearchQuery.model_fields}
    ways = {name: named(name) for name in asked}
    device_uid = _device_uid(here)
    try:
        accept = _accepting({way: asked[name] for name, way in ways.items() if way is not None}, device_uid)
    except KeyRefusedError as error:
        return problem(request, 400, f"A key cannot have this value: {error}.")
    every = any(way is not None and way[-1].keyword == "ProcedureStepState" for way in ways.values())
    with here.database.read() as session:
        found = matching_studies(session, Narrowing(unread=not every), accept)
        items = list(islice(found, query.offset, query.offset + query.limit + 1))
    unknown = sorted(name for name, way in ways.items() if way is None)
    warnings = _warnings(unknown, query, more=len(items) > query.limit)
    included = [_keyword(name) for one in query.includefield for name in one.split(",")]
    headers = {"Warning": ", ".join(warnings)} if warnings else {}
    if not items:
        return Response(status_code=204, headers=headers)
    body = [workitem(facts, device_uid, included=included) for facts in items[: query.limit]]
    return Response(json.dumps(body, ensure_ascii=False), media_type=DICOM_JSON, headers=headers)


@router.get("/{workitem_uid}", summary="One reading task (UPS-RS retrieve)", response_class=Response,
            responses=_ANSWER)  # fmt: skip
def retrieve_workitem(request: Request, here: Here, workitem_uid: str) -> Response:
    """The workitem with every attribute that is known of it."""
    if (refused := _not_acceptable(request)) is not None:
        return refused
    wanted = dicom_uid(workitem_uid, attribute="SOPInstanceUID")
    device_uid = _device_uid(here)
    with here.database.read() as session:
        newest = sa.select(Study.study_instance_uid).order_by(Study.id.desc()).limit(_SEARCHED)
        uid = next((uid for uid in session.scalars(newest) if reading_task_uid(uid, device_uid) == wanted), None)
        if uid is None:
            raise NotFoundError("No workitem of this node has this SOP Instance UID.")
        (facts,) = matching_studies(session, Narrowing(study_uids=(uid,)), lambda _: True)
    return Response(
        json.dumps([workitem(facts, device_uid, included=["all"])], ensure_ascii=False), media_type=DICOM_JSON
    )


def _device_uid(here: Context) -> str:
    with here.database.read() as session:
        known = session.scalar(sa.select(Installation.device_uid))
    if known is None:
        with here.database.write() as session:
            known = installation.device_uid(session, at=here.clock())
    return known


def _keyword(name: str) -> str:
    way = named(name.strip())
    return way[0].keyword if way else name.strip()


def _not_acceptable(request: Request) -> Response | None:
    accepted = request.headers.get("accept", "*/*").lower().split(",")
    if any(one.partition(";")[0].strip() in _TAKEN for one in accepted):
        return None
    return problem(request, 406, f"Workitems are given as {DICOM_JSON}.")


def _accepting(asked: Mapping[tuple[Attribute, ...], str], device_uid: str) -> Callable[[StudyFacts], bool]:
    tests: list[tuple[Callable[[StudyFacts, str], str], Matcher]] = []
    for way, value in asked.items():
        last = way[-1]
        matcher = matcher_of(last.vr, value.replace(",", "\\") if last.vr == "UI" else value)
        if matcher is not None and callable(last.of):
            tests.append((last.of, matcher))

    def accepts(facts: StudyFacts) -> bool:
        return all(matches(of(facts, device_uid)) for of, matches in tests)

    return accepts


def _warnings(unknown: list[str], query: SearchQuery, *, more: bool) -> list[str]:
    """PS3.18 8.3.4 and 11.8: what was left out, in the words of the standard."""
    said = []
    if unknown or query.fuzzymatching.lower() == "true":
        said.append('299 firstread: "The fuzzymatching parameter or an attribute is not supported. It was ignored."')
    if more:
        said.append('299 firstread: "There are additional results that can be requested."')
    return said
