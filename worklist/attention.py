"""What needs a person's attention now: the same for page and API, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy.orm import Session

from triage.order_feeds import takes_orders
from triage.repositories import heartbeats, peers, placing, quarantine, queues, stalled
from triage.retention import Mode
from triage.states import AnalysisStatus
from worklist.api.models import read_models
from worklist.api.orders import read_feeds
from worklist.api.peers import REFUSED_FOR_TITLE, REFUSED_THOUGH_LISTED
from worklist.context import Context
from worklist.health import STANDS, beat_ages, silent_parts
from worklist.room import room_of

MOST_COUNTED: Final = 50
"""Failed analyses beyond which "50+" is said."""
LATELY: Final = timedelta(days=1)
"""How long a refused order message is a matter for the overview."""
_NEARLY: Final = 1.5
"""Times the mark below which new data is refused: from here on somebody should know."""


class Gravity(StrEnum):
    BAD = "bad"
    """Something is lost to its users now, or will be."""
    WARNING = "warn"
    """It may become so, or a person has to decide."""


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing to look at.

    Attributes
    ----------
    subject : str
        Constant name, for programs: "deliveries", "disk".
    what, more : str
        In words, without anything of a patient.
    page : str
        Path where it is mended; "" where that is another machine.
    """

    subject: str
    gravity: Gravity
    what: str
    more: str
    page: str = ""


def concerns(here: Context) -> list[Concern]:
    """Everything that needs attention; empty when nothing does."""
    with here.database.look() as session:
        found = [*_of_parts(here, session), *_of_breaker(here, session), *_of_work(session)]
    found += [*_of_room(here), *_of_bundles(here), *_of_orders(here)]
    return sorted(found, key=lambda concern: list(Gravity).index(concern.gravity))


def _of_parts(here: Context, session: Session) -> Iterator[Concern]:
    now, settings = here.clock(), here.settings
    wanted = ["listen", "work"]
    wanted += ["deliver"] if settings.destinations else []
    wanted += ["orders"] if takes_orders(settings.order_feeds, settings.hl7_orders) else []
    silent = silent_parts(beat_ages(session, now), wanted)
    for part in silent:
        lost = {
            "listen": "nothing can be sent to this node",
            "work": "nothing is analysed",
            "deliver": "no result is sent",
            "orders": "no order is heard",
        }[part]
        yield Concern(
            "parts", Gravity.BAD, f"No sign of life from {part}: {lost}.", "Run `firstread doctor` on its host."
        )
    for part, since, what in (
        ("work", stalled.analysing(session, now), "An analysis is due and no worker takes it"),
        ("deliver", stalled.delivering(session, now), "A delivery is due and nobody sends it"),
    ):
        if since is not None and part in wanted and part not in silent:
            yield Concern("parts", Gravity.BAD, f"{what} since {since:%Y-%m-%d %H:%M} UTC.", STANDS)
    for reason in sorted(set(heartbeats.refusing(session, now).values())):
        yield Concern("disk", Gravity.BAD, "New data is refused:", reason, "/admin/disk")


def _of_breaker(here: Context, session: Session) -> Iterator[Concern]:
    breaker = here.settings.breaker
    analysed, stat = placing.recent_ai_classes(session, breaker.window)
    if breaker.tripped(stat, analysed):
        yield Concern(
            "breaker", Gravity.BAD, f"{stat} of the last {analysed} analysed cases are STAT by the AI:",
            "until that ends, new ones enter as URGENT. Look at the bundles.", "/admin/models",
        )  # fmt: skip


def _of_work(session: Session) -> Iterator[Concern]:
    given_up = sum(count for _, _, count in queues.given_up(session))
    if given_up:
        yield Concern(
            "deliveries", Gravity.BAD, f"{_many(given_up, 'delivery')} given up.", "See why, and send again.",
            "/admin/deliveries?status=DEAD",
        )  # fmt: skip
    for retried in queues.retried(session):
        waits = f"the oldest waits since {retried.since:%Y-%m-%d %H:%M} UTC"
        yield Concern(
            "deliveries",
            Gravity.WARNING,
            f"{_many(retried.count, 'delivery')} to {retried.destination} tried in vain so far; {waits}:",
            f"{retried.reason.rstrip('.')}. It is tried again by itself.",
            "/admin/deliveries?status=PENDING",
        )
    failed = len(queues.list_analyses(session, status=AnalysisStatus.FAILED, limit=MOST_COUNTED))
    if failed:
        yield Concern(
            "analyses", Gravity.WARNING,
            f"{_many(failed, 'analysis', 'analyses', more=failed >= MOST_COUNTED)} failed;",
            "the cases keep their place. See why, and repeat.", "/admin/analyses?status=FAILED",
        )  # fmt: skip
    waiting = quarantine.waiting(session)
    if waiting:
        yield Concern(
            "quarantine", Gravity.WARNING, f"{_many(waiting, 'object')} in quarantine.", "See what to do.",
            "/admin/quarantine",
        )  # fmt: skip
    refused = peers.refused(session)
    strangers = {caller.ae_title for caller in refused if caller.reason == REFUSED_FOR_TITLE}
    if strangers:
        yield Concern(
            "peers", Gravity.WARNING, f"{_many(len(strangers), 'unknown AE title')} turned away lately:",
            f"{', '.join(sorted(title or 'without a name' for title in strangers))}. Admit, or leave out.",
            "/admin/peers",
        )  # fmt: skip
    listed = {caller.ae_title for caller in refused if caller.reason in REFUSED_THOUGH_LISTED}
    if listed:
        yield Concern(
            "peers", Gravity.WARNING, f"{_many(len(listed), 'listed AE title')} turned away lately:",
            f"{', '.join(sorted(listed))}. It has another address or certificate now, or somebody else claims it.",
            "/admin/peers",
        )  # fmt: skip


def _of_room(here: Context) -> Iterator[Concern]:
    room, policy, retention = room_of(here.settings), here.settings.room_policy, here.settings.retention_policy
    if room is None:
        yield Concern("disk", Gravity.BAD, "The file system of the archive does not answer.", "Run `firstread doctor`.")
        return
    shortage = policy.shortage(room, here.settings.archive, closed=False)
    begins, _ = retention.marks(room.total_bytes, policy.lower(room))
    free = f"{room.free_bytes // 2**20} MiB are free, below {policy.lower(room) // 2**20} MiB new data is refused."
    if shortage:
        yield Concern("disk", Gravity.BAD, "There is no room for new data:", shortage, "/admin/disk")
    elif room.free_bytes < _NEARLY * policy.lower(room):
        yield Concern("disk", Gravity.WARNING, "The disk is nearly full:", free, "/admin/disk")
    elif retention.mode is Mode.NEVER and room.free_bytes < begins:
        yield Concern("disk", Gravity.WARNING, "The disk fills, and retention removes nothing:", free, "/admin/disk")
    elif room.total_inodes and room.free_inodes < _NEARLY * policy.min_free_inodes:
        yield Concern("disk", Gravity.WARNING, "The disk is nearly out of inodes:", f"{room.free_inodes} are free.",
                      "/admin/disk")  # fmt: skip


def _of_bundles(here: Context) -> Iterator[Concern]:
    for bundle in read_models(here).items:
        if bundle.problem:
            name = bundle.name or bundle.directory
            yield Concern("bundles", Gravity.BAD, f"{name} cannot read:", bundle.problem, "/admin/models")


def _of_orders(here: Context) -> Iterator[Concern]:
    orders = read_feeds(here)
    for feed in orders.feeds:
        if feed.state == "failing":
            yield Concern("orders", Gravity.BAD, f"Orders of {feed.feed} are not heard:", feed.problem, "/admin/orders")
    since = here.clock() - LATELY
    refused: Sequence[int] = [line.times for line in orders.refused if line.last_at >= since]
    if refused:
        yield Concern(
            "orders", Gravity.WARNING, f"{_many(sum(refused), 'order message')} refused lately.", "See why.",
            "/admin/orders",
        )  # fmt: skip
    unknown = sum(sender.unknown for sender in orders.senders)
    if unknown:
        yield Concern(
            "orders", Gravity.WARNING, f"{_many(unknown, 'order')} with a priority that nobody knows:",
            "they claim nothing until the settings say what it means.", "/admin/orders",
        )  # fmt: skip


def _many(count: int, one: str, several: str = "", *, more: bool = False) -> str:
    plural = several or (f"{one[:-1]}ies" if one.endswith("y") else f"{one}s")
    return f"{count}{'+' if more else ''} {one if count == 1 else plural}"
