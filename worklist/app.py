"""The application: routes, page, guard, put together from settings and a database and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.applications import Starlette

from triage.crash_points import kill_at
from triage.database import Database
from triage.settings import Settings
from worklist import health, openapi, problems
from worklist.api import (
    admin,
    attention,
    audit,
    deliveries,
    destinations,
    errands,
    fhir,
    list_csv,
    models,
    orders,
    peers,
    reading_list,
    room,
    rules,
    saved_views,
    simulation,
    statistics,
    studies,
    views,
    workitems,
)
from worklist.api import tokens as tokens_api
from worklist.api.sessions import session_routes
from worklist.api.users import user_routes
from worklist.asking import sign_in_needed
from worklist.callers import Callers
from worklist.context import Clock, Context
from worklist.dicom_web import workitems as ups_rs
from worklist.fresh import Fresh
from worklist.guard import Guard
from worklist.live import Feed
from worklist.ohif import PREFIX, Ohif
from worklist.oidc import Provider
from worklist.page import (
    admin_routes,
    case_routes,
    list_routes,
    node_routes,
    routes,
    simulator_routes,
    statistics_routes,
)
from worklist.page.oidc_routes import oidc_routes
from worklist.page.rendering import STATIC, environment
from worklist.page.row_rendering import Rows
from worklist.page.signin_routes import sign_in_routes
from worklist.page.users_routes import users_routes
from worklist.signin import Tokens
from worklist.signing_in import SignIn

API: Final = "/api/v1"
"""Where each router of the API is put by itself: one around them all would make FastAPI read every route twice."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(
    settings: Settings,
    database: Database,
    *,
    clock: Clock = utc_now,
    extra_hosts: Iterable[str] = (),
    dicom_web: Starlette | None = None,
) -> FastAPI:
    """The HTTP door of a node, as an ASGI application.

    Parameters
    ----------
    settings : Settings
        Who may come in, where pictures lie, the target turnarounds.
    database : Database
        At the current schema; the caller disposes of it.
    clock : callable
        Now, aware and in UTC.
    extra_hosts : iterable of str
        Further host names that a loopback node answers to.
    dicom_web : Starlette, optional
        Our archive over DICOMweb, for ``/dicom-web``.

    Raises
    ------
    SettingsError
        ``ohif_folder`` names a folder without it.
    """
    app = FastAPI(
        title="firstread",
        summary="AI triage beside the PACS: the reading worklist.",
        description="Times are RFC 3339 in UTC, errors RFC 9457 problem documents. Scores are of an AI: no diagnosis.",
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # searched names would leave the house
        responses=openapi.REFUSALS,
    )
    openapi.describe(app)
    app.state.context = Context(settings, database, clock, Feed(database), Fresh(database), kill_at(settings.crash_at))
    app.state.templates = environment()
    app.state.rows = Rows(app.state.templates)

    for router in (
        reading_list.router, saved_views.router, list_csv.router, studies.router, views.router, fhir.router,
        admin.router, attention.router, audit.router, errands.router, peers.router, models.router, workitems.router,
        deliveries.router, destinations.router, room.router, orders.router, rules.router, statistics.router,
        simulation.router,
    ):  # fmt: skip
        app.include_router(router, prefix=API)
    _guard(app, settings, database, clock, extra_hosts)
    app.include_router(ups_rs.router)
    app.include_router(health.router)
    app.include_router(list_routes.router)
    app.include_router(routes.router)
    app.include_router(case_routes.router)
    app.include_router(node_routes.router)
    app.include_router(admin_routes.router)
    app.include_router(statistics_routes.router)
    app.include_router(simulator_routes.router)
    if dicom_web is not None:
        problems.mount(app, "/dicom-web", dicom_web)
    if settings.ohif_folder is not None:
        problems.mount(app, PREFIX, Ohif(settings.ohif_folder).application())
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    problems.install(app)
    return app


def _guard(app: FastAPI, settings: Settings, database: Database, clock: Clock, extra_hosts: Iterable[str]) -> None:
    """The ways in, who may use them, and the guard around everything."""
    tokens = Tokens(settings.http_tokens)
    door = SignIn(database, tokens, clock, settings.session_limits)
    provider = None if settings.oidc is None else Provider(settings.oidc, clock)
    for router in (tokens_api.router, user_routes(door), session_routes(tokens)):
        app.include_router(router, prefix=API)
    callers = Callers(database, tokens, clock, settings.session_limits, always=sign_in_needed(settings))
    app.include_router(sign_in_routes(door, provider, callers))
    app.include_router(users_routes(tokens))
    if provider is not None:
        app.include_router(oidc_routes(door, provider))
    app.add_middleware(Guard, settings=settings, callers=callers, clock=clock, extra_hosts=extra_hosts)
