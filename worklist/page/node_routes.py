"""``/node``: the disk and the quarantine, for the person who watches the node."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from triage.errors import NotFoundError
from worklist.api.room import read_quarantine
from worklist.context import Context, Here
from worklist.page.rendering import render
from worklist.room import read_space

router = APIRouter(include_in_schema=False)


@router.get("/node")
def node_page(request: Request, here: Here) -> HTMLResponse:
    """Disk and quarantine."""
    return render(request, "node.html", _node(here))


@router.get("/fragment/node")
def node_fragment(request: Request, here: Here) -> HTMLResponse:
    """The part of it that changes."""
    return render(request, "node_facts.html", _node(here))


def _node(here: Context) -> dict[str, Any]:
    try:
        space, lost = read_space(here), ""
    except NotFoundError as error:
        space, lost = None, error.advice()
    page = read_quarantine(here, dismissed=False, before=None, limit=50)
    return {"space": space, "lost": lost, "quarantine": page.items, "more": page.next_before is not None}
