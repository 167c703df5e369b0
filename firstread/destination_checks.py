"""What the doctor asks each destination: are you there, and do you know us?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from firstread.finding import Finding, Grade
from triage.errors import SettingsError
from triage.peers import Destination
from triage.settings import Settings
from workers.carriers import ups
from workers.carriers.kinds import carrier_kind

AT_ONCE: Final = 8
"""Destinations asked side by side: one that is silent costs its time-out only once."""


def destinations(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Each destination, asked in the way of its kind."""
    if not settings.destinations:
        yield Finding("destinations", Grade.WARNING, "none: results stay here", "Add --destination AET@HOST:PORT.")
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda destination: _asked(settings, destination, now), settings.destinations)


def task_managers(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Each system that is asked for workitems."""
    for manager in settings.task_managers:
        subject = f"task manager {manager.address}"
        try:
            found = ups.check(settings, manager, now)
        except SettingsError as error:
            yield Finding(subject, Grade.BAD, str(error), error.next_step)
        else:
            yield Finding(subject, Grade.GOOD if found.ok else Grade.BAD, found.message, found.next_step)


def _asked(settings: Settings, destination: Destination, now: datetime) -> Finding:
    subject = f"destination {destination.address}" + (" (TLS)" if destination.tls else "")
    try:
        found = carrier_kind(destination.kind).check(settings, destination, now)
    except SettingsError as error:
        return Finding(subject, Grade.BAD, str(error), error.next_step)
    return Finding(subject, Grade.GOOD if found.ok else Grade.BAD, found.message, found.next_step)
