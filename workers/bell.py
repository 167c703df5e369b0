"""The bell: watches the database and rings tasks by name when rows are due.

The message carries no work, so a lost one costs a moment and a doubled one nothing. Stale rings expire in the queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Final

from kombu.exceptions import KombuError
from sqlalchemy.orm import Session

from triage.crash_points import CrashPoint, Reached, nowhere
from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.repositories import analyses, commitments, completing, deliveries, errands, renderings, verdicts
from workers.names import Queue, Task

LOOK_SQLITE: Final = 0.002  # seconds; PRAGMA data_version costs microseconds
LOOK_SERVER: Final = 0.05  # seconds; one small query
LOOK_ANYWAY: Final = 0.5  # seconds; rows become due by time alone
RING_AGAIN: Final = 0.1  # seconds between two rings of the same task while rows stay due
PROVE_EVERY: Final = 0.5  # seconds between two looks for proofs that are due
SWEEP_EVERY: Final = 30.0  # seconds
RETAIN_EVERY: Final = 60.0  # seconds
SCRUB_EVERY: Final = 30.0  # seconds
PERFORM_EVERY: Final = 1.0  # seconds between two looks at workitems; when a manager is asked is in its row
STALE: Final = 10.0  # seconds after which an unheard ring is dropped

log = get_logger(__name__)


class Bell(threading.Thread):
    """Rings until it is stopped. One per worker process; several on several hosts do no harm.

    Parameters
    ----------
    app : celery.Celery
        Sends the messages.
    queues : collection of Queue
        Only these are rung: an embedded worker can ring nobody but itself.
    reached : callable
        Told of the crash point behind each ring.
    workitems : bool
        Task managers are to be asked.
    """

    def __init__(
        self,
        app: Any,
        database: Database,
        queues: Collection[Queue],
        clock: Callable[[], datetime],
        reached: Reached = nowhere,
        *,
        workitems: bool = False,
    ) -> None:
        super().__init__(name="bell", daemon=True)
        self._app, self._database, self._queues, self._clock = app, database, queues, clock
        self._reached, self._workitems = reached, workitems
        self._silenced = threading.Event()
        self._rung: dict[tuple[Task, str], float] = {}
        self._proofs_looked_at = float("-inf")

    def stop(self) -> None:
        self._silenced.set()

    def run(self) -> None:
        watch = self._database.watch()
        pause = LOOK_SQLITE if self._database.is_sqlite else LOOK_SERVER
        looked = 0.0
        while not self._silenced.wait(pause):
            try:
                if watch.changed() or time.monotonic() - looked >= LOOK_ANYWAY or self._unanswered():
                    looked = time.monotonic()
                    self._look()
            except DatabaseUnavailableError as error:
                log.warning("bell_without_database", advice=error.advice())
                watch.close()
                self._silenced.wait(1.0)
            except (
                OSError,
                KombuError,
            ) as error:  # the broker is away or full: the rows wait, the next look rings again
                log.warning("bell_without_broker", error=type(error).__name__)
                self._silenced.wait(1.0)
            except Exception:  # the boundary: without a bell nothing that comes is ever looked at
                log.error("bell_broke", exc_info=True)
                self._silenced.wait(1.0)
        watch.close()

    def _look(self) -> None:
        now = self._clock()
        with self._database.read() as session:
            if Queue.ANALYSIS in self._queues and analyses.any_claimable(session, now):
                self._ring(Task.ANALYSE)
            if Queue.ANALYSIS in self._queues and verdicts.any_due(session, now):
                self._ring(Task.ASSESS)
            if Queue.DELIVERY in self._queues:
                self._look_at_deliveries(session, now)
            if Queue.HOUSEKEEPING in self._queues:
                self._look_at_the_house(session, now)

    def _look_at_the_house(self, session: Session, now: datetime) -> None:
        if renderings.any_due(session, now):
            self._ring(Task.RENDER)
        if completing.any_due(session, now):
            self._ring(Task.COMPLETE)
        if self._last(Task.SWEEP) + SWEEP_EVERY <= time.monotonic():
            self._ring(Task.SWEEP)
        if self._last(Task.RETAIN) + RETAIN_EVERY <= time.monotonic():
            self._ring(Task.RETAIN)
        if self._last(Task.SCRUB) + SCRUB_EVERY <= time.monotonic():
            self._ring(Task.SCRUB)

    def _look_at_deliveries(self, session: Session, now: datetime) -> None:
        for destination in deliveries.due_destinations(session, now):
            self._ring(Task.DELIVER, destination)
        if self._proofs_looked_at + PROVE_EVERY <= time.monotonic():
            self._proofs_looked_at = time.monotonic()
            for destination in commitments.due_destinations(session, now):
                self._ring(Task.PROVE, destination)
        if errands.any_due(session):
            self._ring(Task.ERRAND)
        if self._workitems and self._last(Task.PERFORM) + PERFORM_EVERY <= time.monotonic():
            self._ring(Task.PERFORM)

    def _ring(self, task: Task, argument: str = "") -> None:
        if time.monotonic() - self._last(task, argument) < RING_AGAIN:
            return
        self._app.send_task(task, args=[argument] if argument else [], expires=STALE, retry=False)
        self._reached(CrashPoint.RUNG)
        self._rung[task, argument] = time.monotonic()

    def _last(self, task: Task, argument: str = "") -> float:
        return self._rung.get((task, argument), float("-inf"))

    def _unanswered(self) -> bool:
        """A ring was held back a moment ago: look again as soon as it may ring."""
        return any(RING_AGAIN <= time.monotonic() - at < 2 * RING_AGAIN for at in self._rung.values())
