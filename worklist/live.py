"""Live changes: one watcher of the database for all listeners, bounded however many and however slow they are.

A listener keeps no queue: it knows how far it has read in a ring that all share. One that falls behind the ring, or
comes back after a long time, is told to reload instead.

PostgreSQL gives an event its id before it is committed, so an event may come to light behind later ones: the last
:data:`LOOK_BACK` ids are looked at again each time. SQLite has one writer and so no such events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from starlette.concurrency import run_in_threadpool

from triage.database import ChangeWatch, Database
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.repositories import events, worklist
from triage.tables import Event

INTERVAL: Final = 0.15  # seconds between two looks; SQLite answers one in microseconds
CROWD: Final = 50
CROWD_INTERVAL: Final = 0.25
"""With so many listeners telling them costs more than looking: what happens meanwhile is told together."""
LISTENERS: Final = 400
"""Open pages of one process: a department's two hundred, and as many again while they are taken over from another."""
RING: Final = 1000
LOOK_BACK: Final = 500
"""Ids; as many events may overtake one that is being committed."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened; look again. ``kind`` "reload": too much to tell one by one."""

    id: int
    kind: str
    study_instance_uid: str | None
    at: datetime | None


class Feed:
    """Notices of new events to any number of listeners up to :data:`LISTENERS`.

    The watcher runs while somebody listens and ends with the last listener.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ring: deque[Notice] = deque(maxlen=RING)
        self._position = 0
        """How many notices there were, kept or not."""
        self._latest = 0
        """Highest event id that was told."""
        self._back = 0 if database.is_sqlite else LOOK_BACK
        self._known: set[int] = set()
        """Of the last ids the ones that were told, or committed before."""
        self._listeners = 0
        self._watcher: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._starting = asyncio.Lock()
        self._behind = False
        self._lost = False

    @property
    def full(self) -> bool:
        return self._listeners >= LISTENERS

    async def follow(self, after: int | None) -> AsyncIterator[Notice]:
        """:meth:`follow_together`, one notice at a time."""
        async with aclosing(self.follow_together(after)) as groups:
            async for together in groups:
                for notice in together:
                    yield notice

    async def follow_together(self, after: int | None) -> AsyncGenerator[Sequence[Notice], None]:
        """Notices after event id ``after`` (None: from now on), those together that came together.

        The first one is "hello", with the id it starts from. Ends when the database is lost: the listener reconnects
        and hears why.
        """
        self._listeners += 1
        try:
            await self.start()
            if after is not None and after > self._latest:  # the house was set up anew
                after = None
            position, caught_up = self._position, frozenset[int]()
            yield [Notice(self._latest if after is None else after, "hello", None, None)]
            if after is not None:
                missed = await run_in_threadpool(self._catch_up, after)
                caught_up = frozenset(notice.id for notice in missed)
                if missed:
                    yield missed
            while not self._lost:
                async with self._news:
                    while self._position == position and not self._lost:
                        await self._news.wait()
                    fresh, position = self._since(position), self._position
                if together := [notice for notice in fresh if notice.id not in caught_up]:
                    yield together
        finally:
            self._listeners -= 1

    async def end(self) -> None:
        """Let every listener go, because the server stops."""
        self._lost = True
        async with self._news:
            self._news.notify_all()

    async def start(self) -> None:
        """Watch, if nobody does yet.

        Raises
        ------
        DatabaseUnavailableError
            There is nothing to watch.
        """
        async with self._starting:
            if self._watcher is not None and not self._watcher.done():
                return
            self._lost, self._behind = False, False
            watch = self._database.watch()
            self._ring.clear()
            self._latest = await run_in_threadpool(self._begin, watch)
            self._watcher = asyncio.create_task(self._run(watch), name="worklist-feed")

    async def _run(self, watch: ChangeWatch) -> None:
        try:
            while True:
                await asyncio.sleep(INTERVAL if self._listeners < CROWD else CROWD_INTERVAL)
                if not self._listeners:
                    break
                fresh = await run_in_threadpool(self._look, watch)
                if fresh:
                    async with self._news:
                        self._keep(fresh)
                        self._news.notify_all()
        except DatabaseUnavailableError as error:
            log.warning("live_feed_lost", advice=error.advice())
        finally:
            self._lost = True  # whoever still listens, or just came, reconnects and starts the next watcher
            watch.close()
            async with self._news:
                self._news.notify_all()

    def _keep(self, fresh: list[Notice]) -> None:
        self._ring.extend(fresh)
        self._position += len(fresh)
        self._behind = len(fresh) > RING
        self._latest = max(self._latest, fresh[-1].id)
        if self._back:
            self._known.update(notice.id for notice in fresh)
            self._known = {known for known in self._known if known > self._latest - self._back}

    def _since(self, position: int) -> list[Notice]:
        count = self._position - position
        if count > len(self._ring):
            return [Notice(self._latest, "reload", None, None)]
        return list(islice(self._ring, len(self._ring) - count, None))

    def _begin(self, watch: ChangeWatch) -> int:
        watch.changed()  # from here on; what is committed between this and the next line is in the id
        with self._database.look() as session:
            latest = events.latest_id(session)
            self._known = set(events.ids_between(session, latest - self._back, latest))
        return latest

    def _look(self, watch: ChangeWatch) -> list[Notice]:
        if not (watch.changed() or self._behind):
            return []
        late: list[Notice] = []
        if self._back:
            with self._database.look() as session:
                recent = events.ids_between(session, self._latest - self._back, self._latest)
                unknown = [event_id for event_id in recent if event_id not in self._known]
                late = [_notice(row) for row in worklist.events_by_id(session, unknown)] if unknown else []
        return [*late, *self._notices(self._latest)]

    def _catch_up(self, after: int) -> list[Notice]:
        notices = self._notices(after)
        return [Notice(notices[-1].id, "reload", None, None)] if len(notices) > RING else notices

    def _notices(self, after: int) -> list[Notice]:
        with self._database.look() as session:
            return [_notice(row) for row in worklist.events_after(session, after, RING + 1)]


def _notice(row: tuple[Event, str | None]) -> Notice:
    event, uid = row
    return Notice(event.id, event.kind, uid, event.at)
