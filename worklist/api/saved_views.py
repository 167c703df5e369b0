"""``/api/v1/worklist/views``: views of the list that a person has saved; nobody sees those of others."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi import Path as PathParameter

from triage.repositories import saved_views
from triage.tables import SavedView
from worklist.api.reading_list import ListQuery
from worklist.context import Context, Here, Who
from worklist.schemas.views import NewView, ViewChange, ViewOut, ViewsOut

router = APIRouter(prefix="/worklist/views", tags=["worklist"])

ViewId = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]
EVERYTHING_OPEN: Final = "/?status=OPEN"
"""The list without any filter, also for who has a default view."""


def parameters(query: ListQuery) -> dict[str, Any]:
    """Of a query what is not as always; where a page begins is no part of it."""
    chosen = query.model_dump(exclude_defaults=True, exclude={"cursor"}, mode="json")
    return {name: value for name, value in chosen.items() if (name, value) != ("status", "OPEN")}


def address(chosen: dict[str, Any]) -> str:
    """The page with these parameters."""
    return f"/?{urlencode(chosen)}" if chosen else EVERYTHING_OPEN


def describe_view(view: SavedView) -> ViewOut:
    return ViewOut(id=view.id, name=view.name, query=view.query, url=address(view.query), default=view.is_default)


def read_views(here: Context, who: str) -> list[ViewOut]:
    """A person's views."""
    with here.database.look() as session:
        return [describe_view(view) for view in saved_views.of_person(session, who)]


@router.get("", summary="Your saved views of the list")
def list_views(here: Here, who: Who) -> ViewsOut:
    """Each person has their own; on a node without sign-in all share one set."""
    return ViewsOut(items=read_views(here, who))


@router.post("", summary="Save a view", status_code=201)
def save_view(here: Here, who: Who, new: NewView) -> ViewOut:
    """409 for a name that you have already."""
    with here.database.write() as session:
        view = saved_views.save(
            session, who=who, name=new.name, query=parameters(new.query), is_default=new.default, at=here.clock()
        )
        return describe_view(view)


@router.patch("/{view_id}", summary="Rename a view, change its query, make it the default")
def change_view(here: Here, who: Who, view_id: ViewId, change: ViewChange) -> ViewOut:
    """409 for a name that another of your views has."""
    with here.database.write() as session:
        view = saved_views.change(
            session,
            view_id,
            who=who,
            at=here.clock(),
            name=change.name,
            query=None if change.query is None else parameters(change.query),
            is_default=change.default,
        )
        return describe_view(view)


@router.delete("/{view_id}", summary="Delete a view", status_code=204)
def delete_view(here: Here, who: Who, view_id: ViewId) -> None:
    """The cases that it showed are not touched."""
    with here.database.write() as session:
        saved_views.delete(session, view_id, who=who)
