"""The orders part as a process: the HL7 port and the worklists that are asked, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from dicom_node.alerts import Alert, SecurityAlerts
from dicom_node.tls import acceptor_context
from firstread.ending import Ending
from firstread.ground import require_database
from triage.database import Database
from triage.errors import FirstreadError, SettingsError
from triage.logging import configure, get_logger
from triage.order_feeds import Hl7Orders, feed_names, takes_orders
from triage.repositories import order_listing, orders
from triage.settings import Settings
from workers.clock import utc_now
from workers.orders.feed_log import FeedLog, next_step_of
from workers.orders.mllp_receiver import MllpReceiver
from workers.orders.order_desk import OrderDesk
from workers.orders.worklist_feed import WorklistFeed
from workers.pulse import Pulse
from workers.transport import tls_files

RECENT: Final = timedelta(minutes=2)
"""Orders that are looked at again: one and its study may have been written side by side."""
LOOK_AGAIN: Final = 5.0
MATCHING: Final = "orders and their studies"
"""Stands with the feeds: what looks at those again."""

log = get_logger(__name__)


def run_orders(settings: Settings) -> None:
    """Take orders until told to stop.

    Raises
    ------
    SettingsError
        No feed is set, the HL7 port or a certificate cannot be used, the clock is wrong, or the database has another
        schema or is not the archive's.
    """
    configure(part="orders", as_json=settings.log_json)
    if not takes_orders(settings.order_feeds, settings.hl7_orders):
        raise SettingsError("No order feed is set.", next_step="Set order_feeds or hl7_orders (docs/orders.md).")
    database = require_database(settings, utc_now())
    ending, stopping = Ending(), threading.Event()

    def refused(told: Sequence[Alert]) -> None:
        with database.write() as session:
            for one in told:
                order_listing.record_refusal(
                    session, reason=one.reason, sender=one.calling_ae_title, count=one.count, at=utc_now()
                )

    refusals = SecurityAlerts(refused)  # few words for many: a sender may repeat a wrong message for ever
    feed_log = FeedLog(utc_now, on_refused=lambda reason, sender: refusals.refused(reason, sender, ""))
    for name in feed_names(settings.order_feeds, settings.hl7_orders):
        feed_log.opened(name)
    receiver = None if settings.hl7_orders is None else _receiver(settings, settings.hl7_orders, database, feed_log)

    def detail() -> dict[str, Any]:
        return {"hl7_port": receiver.port if receiver else None, "feeds": feed_log.told()}

    feeds = [WorklistFeed(database, settings, feed, utc_now) for feed in settings.order_feeds]
    loops = [_loop(feed.look, feed.feed.poll_seconds, stopping, feed_log, feed.feed.address) for feed in feeds]
    loops.append(_loop(lambda: _again(settings, database), LOOK_AGAIN, stopping, feed_log, MATCHING))
    pulse = Pulse(database, "orders", utc_now, detail)
    pulse.start()
    with refusals:
        if receiver is not None:
            receiver.start()
            log.info("hl7_port_open", bind=settings.bind, port=receiver.port)
        for loop in loops:
            loop.start()
        ending.wait()
        stopping.set()
        if receiver is not None:
            receiver.stop()
        for loop in loops:
            loop.join(timeout=30.0)
    pulse.stop()
    database.dispose()


def _receiver(settings: Settings, options: Hl7Orders, database: Database, feed_log: FeedLog) -> MllpReceiver:
    files = tls_files(settings)
    return MllpReceiver(
        OrderDesk(database, options, settings.targets, utc_now, feed_log, settings.site_rules),
        bind=settings.bind,
        port=options.port,
        peers=options.peers,
        tls=acceptor_context(files, utc_now()) if options.tls and files is not None else None,
        maximum=options.max_kilobytes * 1024,
        stall_seconds=options.stall_seconds,
    )


def _again(settings: Settings, database: Database) -> int:
    now = utc_now()
    with database.read() as session:
        numbers = orders.recent(session, now - RECENT)
    for number in numbers:  # each for itself: nobody waits for long, and nobody for two
        with database.write() as session:
            orders.apply_to_studies(session, [number], settings.targets, at=now, rules=settings.site_rules)
    return 0


def _loop(
    look: Callable[[], int], pause: float, stopping: threading.Event, feed_log: FeedLog, name: str
) -> threading.Thread:
    """A thread that looks again and again; what goes wrong is said once, and again when it changes."""

    def run() -> None:
        while True:
            heard, problem = 0, ""
            try:
                heard = look()
            except FirstreadError as error:
                problem = f"{error} {next_step_of(error)}"
            except Exception as error:  # the boundary of the thread: a defect must not end the feed unsaid
                problem = f"A defect of this software ({type(error).__name__}); the log has it."
                log.error("order_feed_defect", feed=name, error=type(error).__name__, exc_info=error)
            if feed_log.looked(name, heard, problem) and problem:
                log.warning("order_feed_failed", feed=name, problem=problem)
            if stopping.wait(pause):
                return

    return threading.Thread(target=run, name=f"orders-{name}", daemon=True)
