"""What the API says of saved views of the reading list, and takes for one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from worklist.api.reading_list import ListQuery
from worklist.schemas.texts import ONE_LINE

ViewName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=ONE_LINE)]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ViewOut(BaseModel):
    """A saved view: a query of the list under a name, of the person who asks."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: int
    name: str
    query: dict[str, Any]
    """Parameters of `GET /api/v1/worklist`; what is left out has its default."""
    url: str
    """The page with this view."""
    default: bool
    """The page opens with it."""


class ViewsOut(BaseModel):
    """One's own views, the default one first, then by name."""

    model_config = ConfigDict(frozen=True)

    items: list[ViewOut]


class NewView(_Request):
    """A view to keep."""

    name: ViewName
    query: ListQuery = Field(default_factory=ListQuery)
    """Parameters as of `GET /api/v1/worklist`; the cursor is not kept."""
    default: bool = False


class ViewChange(_Request):
    """What is to change of a view; null or left out: as it is."""

    name: ViewName | None = None
    query: ListQuery | None = None
    default: bool | None = None
