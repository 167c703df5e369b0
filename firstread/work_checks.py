"""What the doctor looks at between rows and workers: the broker, and work that is due and not taken."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from kombu.exceptions import KombuError
from sqlalchemy.orm import Session

from firstread.finding import Finding, Grade
from triage.repositories import stalled
from triage.settings import Settings
from workers.celery_app import create_celery


def broker(settings: Settings) -> Iterator[Finding]:
    """The broker, where there is one: asked as the workers ask it."""
    if settings.embedded:
        return
    try:
        with create_celery(settings).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            where = connection.as_uri()  # without its password
    except (OSError, KombuError) as error:
        advice = "Start it, or correct broker_url. What is due waits; nothing is lost."
        message = f"does not answer: {str(error).rstrip('.')}. Nothing is analysed or sent."
        yield Finding("broker", Grade.BAD, message, advice)
        return
    yield Finding("broker", Grade.GOOD, f"{where} answers")


def standing_still(session: Session, alive: Collection[str], now: datetime) -> Iterator[Finding]:
    """Work that is due and that nobody takes, although workers show life."""
    advice = "See the log of `firstread work` on each host; restart it where it is silent."
    for part, since, what in (
        ("work", stalled.analysing(session, now), "an analysis is due and no worker takes it"),
        ("deliver", stalled.delivering(session, now), "a delivery is due and nobody sends it"),
    ):
        if since is not None and part in alive:
            yield Finding("work", Grade.BAD, f"{what} since {since:%Y-%m-%d %H:%M} UTC", advice)
