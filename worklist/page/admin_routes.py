"""``/admin``: what administrators look after, one page each. The words are here; the facts are those of the API."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triage.errors import NotFoundError
from triage.findings import Urgency
from triage.repositories import heartbeats, queues
from triage.rules import Rule
from triage.services import PeerService
from triage.states import AnalysisStatus, DeliveryStatus
from worklist.api.admin import PLAIN, Before, describe_queued
from worklist.api.audit import read_audit
from worklist.api.deliveries import describe_delivery, read_given_up
from worklist.api.destinations import read_destinations
from worklist.api.models import read_models
from worklist.api.orders import read_feeds, read_orders
from worklist.api.peers import REFUSED_FOR_TITLE, read_peers
from worklist.api.room import read_quarantine
from worklist.api.rules import RulesToTry, list_rules, test_rules
from worklist.attention import concerns
from worklist.context import Context, Here
from worklist.page.rendering import render
from worklist.permissions import Caller, need_of
from worklist.problems import in_words
from worklist.room import read_space
from worklist.schemas.audit import AuditQuery

PAGES: Final = (
    ("/admin", "Overview"),
    ("/admin/peers", "Peers"),
    ("/admin/destinations", "Destinations"),
    ("/admin/models", "Bundles"),
    ("/admin/analyses", "Analyses"),
    ("/admin/deliveries", "Deliveries"),
    ("/admin/quarantine", "Quarantine"),
    ("/admin/orders", "Orders"),
    ("/admin/rules", "Rules"),
    ("/admin/disk", "Disk"),
    ("/admin/audit", "Audit"),
    ("/admin/users", "Users and tokens"),
)
"""Path and name of every page of the administrator; what has no route is left out."""
SHOWN: Final = 50
"""Rows of a list on one page."""

SERVICES: Final = {
    PeerService.STORE: "send images",
    PeerService.FIND: "ask what is here",
    PeerService.WORKLIST: "ask for the reading list",
}
"""What a peer may ask for, in words."""

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Query(max_length=300, pattern=PLAIN)]
StatusName = Annotated[str, Query(max_length=40, pattern=r"^[A-Z_]*$")]


@router.get("/admin")
@router.get("/fragment/admin")
def overview(request: Request, here: Here) -> HTMLResponse:
    """What needs attention, with the way there."""
    with here.database.look() as session:
        waiting = queues.open_analyses(session)
        processes = [(beat.part, beat.name, beat.started_at) for beat in heartbeats.alive(session, here.clock())]
    facts = {
        "concerns": concerns(here),
        "may_see": {path for path, _ in sections(request)},  # who may not see a page gets no link to it
        "open": waiting,
        "processes": sorted(processes),
    }
    return _shown(request, here, "overview", facts)


@router.get("/admin/peers")
@router.get("/fragment/admin/peers")
def peers_page(
    request: Request,
    here: Here,
    change: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    title: Text = "",
    address: Text = "",
) -> HTMLResponse:
    """Who may send and who called; with a form for one peer, empty or as it stands."""
    found = read_peers(here)
    chosen = next((peer for peer in found.items if peer.id is not None and peer.id == change), None)
    facts = {
        "peers": found,
        "services": SERVICES,
        "chosen": chosen,
        "prefilled": {"ae_title": title, "network": address},
        "for_title": REFUSED_FOR_TITLE,
        "tls": here.settings.dicom_tls_port is not None,
        "port": here.settings.dicom_port,
    }
    return _shown(request, here, "peers", facts)


@router.get("/admin/destinations")
@router.get("/fragment/admin/destinations")
def destinations_page(request: Request, here: Here) -> HTMLResponse:
    """Who gets results, and whether it can be reached."""
    return _shown(request, here, "destinations", {"destinations": read_destinations(here)})


@router.get("/admin/models")
@router.get("/fragment/admin/models")
def models_page(request: Request, here: Here) -> HTMLResponse:
    """Which bundles read, at which operating points."""
    return _shown(request, here, "models", {"models": read_models(here), "urgencies": list(Urgency)})


@router.get("/admin/analyses")
@router.get("/fragment/admin/analyses")
def analyses_page(
    request: Request, here: Here, status: StatusName = "", reason: Text = "", before: Before = None
) -> HTMLResponse:
    """What runs and waits, and what came of the rest."""
    chosen = AnalysisStatus(status) if status in AnalysisStatus.__members__ else None
    with here.database.look() as session:
        running = queues.open_analyses(session)
        rows = queues.list_analyses(session, status=chosen, reason=reason.strip(), before=before, limit=SHOWN)
    filters = {"status": chosen or "", "reason": reason.strip()}
    facts = {
        "open": [describe_queued(row) for row in running],
        "recent": [describe_queued(row) for row in rows],
        "filters": filters,
        "statuses": list(AnalysisStatus),
        "next_page": _next_page("/admin/analyses", filters, rows[-1].id if len(rows) == SHOWN else None),
    }
    return _shown(request, here, "analyses", facts)


@router.get("/admin/deliveries")
@router.get("/fragment/admin/deliveries")
def deliveries_page(
    request: Request,
    here: Here,
    status: StatusName = "",
    destination: Text = "",
    reason: Annotated[str, Query(max_length=2000, pattern=PLAIN)] = "",
    before: Before = None,
) -> HTMLResponse:
    """What was given up and why, by destination and reason, and every delivery."""
    chosen = DeliveryStatus(status) if status in DeliveryStatus.__members__ else None
    with here.database.look() as session:
        rows = queues.list_deliveries(
            session, status=chosen, destination=destination, reason=reason, before=before, limit=SHOWN
        )
        listed = [describe_delivery(row) for row in rows]
    filters = {"status": chosen or "", "destination": destination, "reason": reason}
    facts = {
        "given_up": read_given_up(here).items,
        "deliveries": listed,
        "filters": filters,
        "statuses": list(DeliveryStatus),
        "addresses": [each.address for each in read_destinations(here)],
        "next_page": _next_page("/admin/deliveries", filters, rows[-1].id if len(rows) == SHOWN else None),
    }
    return _shown(request, here, "deliveries", facts)


@router.get("/admin/quarantine")
@router.get("/fragment/admin/quarantine")
def quarantine_page(request: Request, here: Here, dismissed: bool = False, before: Before = None) -> HTMLResponse:
    """What was refused at the door, why, and what to do."""
    found = read_quarantine(here, dismissed=dismissed, before=before, limit=SHOWN)
    with here.database.look() as session:
        failed = queues.list_analyses(session, status=AnalysisStatus.FAILED, limit=SHOWN)
    facts = {
        "quarantine": found.items,
        "failed": [describe_queued(row) for row in failed],
        "dismissed": dismissed,
        "next_page": _next_page("/admin/quarantine", {"dismissed": "true"} if dismissed else {}, found.next_before),
    }
    return _shown(request, here, "quarantine", facts)


@router.get("/admin/orders")
@router.get("/fragment/admin/orders")
def orders_page(request: Request, here: Here, waiting: bool = False, before: Before = None) -> HTMLResponse:
    """How the feeds of orders stand, what was refused, and what each order gave."""
    found = read_orders(here, waiting=waiting, before=before, limit=SHOWN)
    facts = {
        "orders": read_feeds(here),
        "listed": found.items,
        "waiting": waiting,
        "next_page": _next_page("/admin/orders", {"waiting": "true"} if waiting else {}, found.next_before),
    }
    return _shown(request, here, "orders", facts)


@router.get("/admin/rules")
@router.get("/fragment/admin/rules")
def rules_page(request: Request, here: Here) -> HTMLResponse:
    """The site rules as loaded."""
    loaded = list_rules(here)
    said = [(rule, _conditions(rule)) for rule in loaded.rules]
    return _shown(request, here, "rules", {"rules": loaded, "said": said})


class WrittenRules(BaseModel):
    """Rules as they would stand in ``firstread.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    toml: str = Field(max_length=100_000)
    days: int = Field(default=7, ge=1, le=90)


@router.post("/fragment/admin/rules/test")
def rules_trial(request: Request, here: Here, written: WrittenRules) -> HTMLResponse:
    """Which recent cases these would have moved, as a table; or what is wrong with them."""
    try:
        text = tomllib.loads(written.toml)
        if not text.get("rules"):  # a misspelt heading would otherwise read as rules that move nothing
            problems = ["There is no [[rules]] in it: each rule begins with that line."]
            return render(request, "admin_rules_trial.html", {"trial": None, "problems": problems, "days": 0})
        tried = RulesToTry.model_validate(
            {"rules": text.get("rules", []), "time_zone": text.get("time_zone", here.settings.time_zone),
             "days": written.days}
        )  # fmt: skip
    except tomllib.TOMLDecodeError as error:
        return render(request, "admin_rules_trial.html", {"trial": None, "problems": [str(error)], "days": 0})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, found['loc'])) or 'rules'}: {in_words(found)}" for found in error.errors()]
        return render(request, "admin_rules_trial.html", {"trial": None, "problems": problems, "days": 0})
    facts = {"trial": test_rules(here, tried), "problems": [], "days": written.days}
    return render(request, "admin_rules_trial.html", facts)


@router.get("/admin/disk")
@router.get("/fragment/admin/disk")
def disk_page(request: Request, here: Here) -> HTMLResponse:
    """Room, marks and retention."""
    try:
        space, lost = read_space(here), ""
    except NotFoundError as error:
        space, lost = None, error.advice()
    return _shown(request, here, "disk", {"space": space, "lost": lost, "policy": here.settings.retention_policy})


@router.get("/admin/audit")
@router.get("/fragment/admin/audit")
def audit_page(request: Request, here: Here, query: Annotated[AuditQuery, Query()]) -> HTMLResponse:
    """Who changed what, before and after side by side."""
    found = read_audit(here, query)
    filters = {"who": query.who, "action": query.action, "subject": query.subject}
    facts = {
        "entries": [(entry, _changes(entry.before or {}, entry.after or {})) for entry in found.items],
        "filters": filters,
        "next_page": _next_page("/admin/audit", filters, found.next_before),
    }
    return _shown(request, here, "audit", facts)


def _shown(request: Request, here: Context, name: str, facts: Mapping[str, Any]) -> HTMLResponse:
    """The page, or for ``/fragment/`` the part of it that changes."""
    facts = {**facts, "now": here.clock()}
    if request.url.path.startswith("/fragment/"):
        return render(request, f"admin_{name}.html", facts)
    query = f"?{request.url.query}" if request.url.query else ""
    frame = {
        "name": name,
        "here_path": request.url.path,
        "sections": sections(request),
        "live": f"/fragment{request.url.path}{query}",
    }
    return render(request, "admin.html", {**facts, **frame})


def sections(request: Request) -> list[tuple[str, str]]:
    """Pages that exist and that the caller may see."""
    routes = {str(route.path) for route in iter_route_contexts(request.app.routes)}
    caller: Caller | None = getattr(request.state, "caller", None)
    may = caller.may if caller else frozenset()
    return [(path, name) for path, name in PAGES if path in routes and need_of("GET", path) in may]


def _next_page(path: str, filters: Mapping[str, str], before: int | None) -> str | None:
    if before is None:
        return None
    chosen = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(chosen | {'before': before})}"


def _conditions(rule: Rule) -> str:
    """ "modality CR or DX, max age 70": all of them have to hold."""
    asked = rule.model_dump(mode="json", exclude_defaults=True, exclude={"name", "urgency"})
    return ", ".join(
        f"{name.replace('_', ' ')} {' or '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in asked.items()
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any, bool]]:
    """Name, before, after and whether it changed, of everything that either side says."""
    return [
        (name, before.get(name), after.get(name), before.get(name) != after.get(name))
        for name in sorted({*before, *after})
    ]
