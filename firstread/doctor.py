"""``firstread doctor``: looks at everything a running node needs and says what to do about what is wrong."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape

from firstread import destination_checks, dicom_checks, ground, order_checks, room_checks, work_checks
from firstread.finding import Finding, Grade
from firstread.way_in import asks, ways_in, ways_of_settings
from models.registry import Registry
from triage.database import Database
from triage.errors import FirstreadError
from triage.repositories import heartbeats
from triage.settings import Settings
from workers.clock import utc_now
from worklist.asking import sign_in_needed

STARTED_BY: Final = {
    "listen": "firstread listen",
    "work": "firstread work --queue analysis",
    "deliver": "firstread work --queue delivery --queue housekeeping",
    "serve": "firstread serve",
}
"""The parts that a node needs, by the name of their heartbeat."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything; a failing check is a finding, never an exception."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _exposure,
        _sign_in,
        _identity_provider,
        _clock,
        _ground,
        _disk,
        _database,
        _broker,
        _ports,
        _certificates,
        _bundles,
        _destinations,
        _order_feeds,
    )
    for check in checks:
        try:
            yield from check(settings)
        except FirstreadError as error:
            yield Finding(check.__name__.strip("_"), Grade.BAD, str(error), error.next_step)


def report(settings: Settings, console: Console) -> bool:
    """Print the findings; True when nothing is a problem."""
    marks = {Grade.GOOD: "[green]✓[/]", Grade.WARNING: "[yellow]![/]", Grade.BAD: "[bold red]✗[/]"}
    healthy = True
    for finding in examine(settings):
        healthy &= finding.grade is not Grade.BAD
        console.print(f"{marks[finding.grade]} [bold]{finding.subject}[/]: {escape(finding.message)}", highlight=False)
        if finding.next_step:
            console.print(f"  → {escape(finding.next_step)}", highlight=False)
    return healthy


def _exposure(settings: Settings) -> Iterator[Finding]:
    if not settings.on_loopback:
        yield Finding("senders", Grade.GOOD, f"{len(settings.calling_ae_titles)} peers may send")
    elif not settings.calling_ae_titles:
        message = f"bound to {settings.bind}: any calling AE title is admitted"
        advice = "Fine for one machine; in a network set bind and calling_ae_titles."
        yield Finding("senders", Grade.WARNING, message, advice)


def _sign_in(settings: Settings) -> Iterator[Finding]:
    ways, asked = ways_of_settings(settings), sign_in_needed(settings)
    if not settings.database.startswith("sqlite") or (settings.data / "firstread.sqlite").is_file():
        database = Database(settings.database)
        found, needed = database.revision()
        if found == needed:
            ways, asked = ways_in(settings, database, utc_now()), asks(settings, database)
        database.dispose()
    if ways and asked:
        yield Finding("sign-in", Grade.GOOD, ", ".join(ways))
    elif settings.on_loopback:
        message = f"bound to {settings.bind} and there is no account: nobody signs in"
        advice = "Fine for one machine; `firstread users add NAME --role admin` makes the first account."
        yield Finding("sign-in", Grade.WARNING, message, advice)
    else:
        message = f"bound to {settings.bind}, and nobody can sign in: it does not start"
        yield Finding("sign-in", Grade.BAD, message, "`firstread users add NAME --role admin` makes the first account.")


def _identity_provider(settings: Settings) -> Iterator[Finding]:
    if settings.oidc is not None:
        from firstread.identity_checks import provider  # noqa: PLC0415 - its libraries, which few nodes need

        yield from provider(settings.oidc)


def _clock(_settings: Settings) -> Iterator[Finding]:
    now = utc_now()
    ground.require_sane_clock(now)
    yield Finding("clock", Grade.GOOD, f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _ground(settings: Settings) -> Iterator[Finding]:
    if settings.archive.is_dir():
        ground.require_one_device(settings.archive)
        ground.require_memory(settings, utc_now())
    for doubt, advice in ground.doubts(settings):
        yield Finding("data directory", Grade.WARNING, doubt, advice)


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data
    if not folder.is_dir():
        yield Finding("data directory", Grade.WARNING, f"{folder} does not exist yet", "`firstread up` makes it.")
        folder = next(parent for parent in folder.parents if parent.is_dir())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding("data directory", Grade.BAD, f"{folder}: {error.strerror}", "Make it writable for this user.")
        return
    yield from room_checks.disk(settings, folder)


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database.startswith("sqlite") and not (settings.data / "firstread.sqlite").is_file():
        yield Finding("database", Grade.WARNING, "not made yet", "`firstread up` makes it.")
        return
    database = Database(settings.database)
    database.require_sound()
    found, needed = database.revision()
    if found != needed:
        yield Finding(
            "database", Grade.BAD, f"schema {found or 'none'}, this version needs {needed}", "`firstread db upgrade`"
        )
        return
    pooled = (
        ", behind a connection pooler: backup and restore need PostgreSQL itself" if database.behind_pooler() else ""
    )
    yield Finding("database", Grade.GOOD, f"schema {found}{pooled}")
    with database.read() as session:
        alive = heartbeats.alive(session, utc_now())
        yield from dicom_checks.listeners(settings, alive)
        yield from room_checks.rows(session)
        yield from order_checks.rows(settings, session, utc_now())
        parts = frozenset[str]().union(*map(heartbeats.parts, alive))
        yield from work_checks.standing_still(session, parts, utc_now())
    database.dispose()
    missing = [part for part in STARTED_BY if part not in parts]
    if missing:
        yield Finding("parts", Grade.WARNING, f"not running: {', '.join(missing)}", starting(settings, missing))
    else:
        yield Finding("parts", Grade.GOOD, "listener, workers and page are alive")


def starting(settings: Settings, missing: Sequence[str]) -> str:
    """How parts are started, each by its own command where they are spread over hosts."""
    if settings.embedded:
        return "`firstread up`"
    return ", ".join(dict.fromkeys(f"`{STARTED_BY[part]}`" for part in missing))


def _broker(settings: Settings) -> Iterator[Finding]:
    yield from work_checks.broker(settings)


def _ports(settings: Settings) -> Iterator[Finding]:
    yield from dicom_checks.ports(settings, utc_now())
    with socket.socket() as probe:
        probe.settimeout(2)
        open_ = probe.connect_ex((settings.bind, settings.http_port)) == 0
    state = "answers" if open_ else "nothing listens there"
    advice = "" if open_ else "`firstread up`, or `firstread serve`"
    yield Finding(f"HTTP port {settings.http_port}", Grade.GOOD if open_ else Grade.WARNING, state, advice)


def _bundles(settings: Settings) -> Iterator[Finding]:
    registry = Registry.of_site(settings.site_bundles)
    if not registry.available:
        yield Finding("bundles", Grade.BAD, "none is available: every case stays in order of arrival", "See below.")
    for entry in registry.entries:
        if entry.bundle is None or entry.problem:
            yield Finding(f"bundle {entry.directory.name}", Grade.BAD, entry.problem, "`firstread models verify`")
        elif not entry.enabled:
            title = f"{entry.bundle.metadata.name} {entry.bundle.metadata.version}"
            yield Finding(f"bundle {title}", Grade.WARNING, entry.note, "`firstread models list` shows who reads.")
        else:
            metadata = entry.bundle.metadata
            label = "research only, " if metadata.research else ""
            yield Finding(f"bundle {metadata.name}", Grade.GOOD, f"{metadata.version}, {label}checksums match")


def _certificates(settings: Settings) -> Iterator[Finding]:
    yield from dicom_checks.certificates(settings, utc_now())


def _destinations(settings: Settings) -> Iterator[Finding]:
    yield from destination_checks.destinations(settings, utc_now())
    yield from destination_checks.task_managers(settings, utc_now())


def _order_feeds(settings: Settings) -> Iterator[Finding]:
    yield from order_checks.feeds(settings, utc_now())
