"""``/api/v1/admin/attention``: what the overview says, for a system that watches the node."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from worklist.attention import Gravity, concerns
from worklist.context import Here

router = APIRouter(prefix="/admin/attention", tags=["admin"])


class ConcernOut(BaseModel):
    """One thing that needs a person's attention."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    subject: str
    """What it is about: `parts`, `disk`, `deliveries`, `analyses`, `quarantine`, `peers`, `bundles`, `breaker` (an AI
    that calls too many cases STAT), `orders`."""
    gravity: Gravity
    """`bad`: something is lost to its users now, or will be; `warn`: a person has to look."""
    what: str
    more: str
    page: str
    """Where it is mended; empty where that is another machine."""


class AttentionOut(BaseModel):
    items: list[ConcernOut]
    """The worst first; empty when nothing needs attention."""


@router.get("", summary="What needs attention")
def attention(here: Here) -> AttentionOut:
    """Parts without a sign of life, refused data, disk, deliveries that are tried in vain or given up, failed analyses,
    quarantine, bundles that cannot read, order feeds, unknown AE titles.
    """
    return AttentionOut(items=[ConcernOut.model_validate(each, from_attributes=True) for each in concerns(here)])
