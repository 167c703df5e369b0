"""Is the process alive, is the house at work, and how much is there: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from triage.errors import DatabaseUnavailableError
from triage.repositories import heartbeats, stalled
from triage.repositories.totals import Totals, totals
from triage.tables import Heartbeat
from worklist.context import Here
from worklist.problems import problem, unavailable
from worklist.room import RoomCollector, room_of

NEEDED: Final = ("listen", "work")
"""Parts without which nothing comes in or nothing is analysed."""
STANDS: Final = "Workers live but hear of nothing: see their log, and the broker if there is one (`firstread doctor`)."
"""What to do when work is due and nobody takes it."""

router = APIRouter(tags=["operation"])


def beat_ages(session: Session, now: datetime) -> dict[str, float]:
    """Seconds since the last sign of life, per part of the house; the freshest process of each part counts."""
    ages: dict[str, float] = {}
    beats: list[Heartbeat] = [*heartbeats.alive(session, now), *heartbeats.silent(session, now)]
    for beat in beats:
        age = max(0.0, (now - beat.at).total_seconds())
        for part in heartbeats.parts(beat):
            ages[part] = min(age, ages.get(part, age))
    return ages


def missing_parts(ages: Mapping[str, float]) -> list[str]:
    """Needed parts that are silent or were never started."""
    return silent_parts(ages, NEEDED)


def silent_parts(ages: Mapping[str, float], wanted: Sequence[str]) -> list[str]:
    """Those of some parts that are silent or were never started."""
    limit = heartbeats.SILENT_AFTER.total_seconds()
    return [part for part in wanted if ages.get(part, limit + 1) > limit]


@router.get("/healthz", summary="This process lives", response_class=PlainTextResponse)
def healthz() -> str:
    """Says nothing about any other part; needs no sign-in."""
    return "ok\n"


@router.get("/readyz", summary="The house is at work")
def readyz(request: Request, here: Here) -> Response:
    """The database answers, listener and worker have shown life lately, and no analysis that is due is left lying.

    Each part with its age in seconds.
    """
    try:
        with here.database.look() as session:
            ages = beat_ages(session, here.clock())
            refusing = heartbeats.refusing(session, here.clock())
            since = stalled.analysing(session, here.clock())
    except DatabaseUnavailableError as error:
        return unavailable(request, error, parts={"database": None})
    missing = missing_parts(ages)
    parts = {"database": 0.0, **{part: ages.get(part) for part in (*NEEDED, *ages)}}
    if missing:
        names = " and ".join(missing)
        return problem(request, 503, f"No sign of life from {names}.", parts=parts, next_step="Run `firstread doctor`.")
    if since is not None:
        detail = f"An analysis is due since {since:%Y-%m-%d %H:%M} UTC and no worker takes it."
        return problem(request, 503, detail, parts=parts, next_step=STANDS)
    # A full disk is no reason to take the page away: what is refused is said, and the senders are told.
    return JSONResponse({"status": "ready", "parts": parts, "refusing": refusing})


@router.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
def metrics(here: Here) -> Response:
    """Counted from the rows at this moment, so every `serve` process says the same."""
    now = here.clock()
    with here.database.look() as session:
        registry = CollectorRegistry()
        registry.register(RowsCollector(totals(session), beat_ages(session, now), now))
        registry.register(RoomCollector(room_of(here.settings), heartbeats.refusing(session, now)))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class RowsCollector(Collector):
    """The totals as metric families."""

    def __init__(self, counted: Totals, ages: Mapping[str, float], now: datetime) -> None:
        self._counted = counted
        self._ages = ages
        self._now = now

    def collect(self) -> Iterator[Metric]:
        counted = self._counted
        yield GaugeMetricFamily("firstread_instances", "Instances held, all versions.", value=counted.instances)
        yield CounterMetricFamily(
            "firstread_quarantined", "Objects kept in quarantine, dismissed ones included.", value=counted.quarantined
        )
        yield _by("firstread_damaged_files", "Stored files found missing or altered.", "of", counted.damaged)
        yield _by("firstread_studies", "Studies by completion.", "status", counted.studies)
        yield _by("firstread_cases", "Cases by reading status.", "reading_status", counted.reading)
        yield _by("firstread_open_cases", "Cases not read yet, by class.", "urgency", counted.open_cases)
        yield _by("firstread_analyses", "Analyses by status.", "status", counted.analyses)
        yield _by("firstread_deliveries", "Deliveries by status.", "status", counted.deliveries)
        yield _by(
            "firstread_images_not_decodable",
            "Images that cost the process that decoded them.",
            "reason",
            counted.undecodable,
        )
        oldest = {
            "reading": counted.oldest_unread,
            "analysis": counted.oldest_analysis,
            "delivery": counted.oldest_delivery,
        }
        waits = {name: (self._now - since).total_seconds() if since else 0.0 for name, since in oldest.items()}
        yield _by("firstread_oldest_wait_seconds", "How long the oldest has waited; 0: none waits.", "for", waits)
        yield _by("firstread_heartbeat_age_seconds", "Since the last sign of life of a part.", "part", self._ages)


def _by(name: str, text: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family
