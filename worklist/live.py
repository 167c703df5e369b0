"""Live changes: one watcher of the database for all listeners, bounded however many and however slow they are.

A listener keeps no queue: it holds the id of the last event it passed on and reads the next ones from a ring that all
share. One that falls behind the ring, or comes back after a long time, is told to reload instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.concurrency import run_in_threadpool

from triage.database import ChangeWatch, Database
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.repositories import events, worklist

INTERVAL: Final = 0.15  # seconds between two looks; SQLite answers one in microseconds
LISTENERS: Final = 200
RING: Final = 1000

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
        self._ring: deque[Notice] = deque()
        self._forgotten = 0
        """Highest id that is in no ring any more."""
        self._latest = 0
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
        """Notices after event id ``after`` (None: from now on). The first one is "hello", with the id it starts from.

        Ends when the database is lost: the listener reconnects and hears why.
        """
        self._listeners += 1
        try:
            await self.start()
            if after is not None and after > self._latest:  # the house was set up anew
                after = None
            last = self._latest if after is None else after
            yield Notice(last, "hello", None, None)
            if after is not None:
                for notice in await run_in_threadpool(self._catch_up, after):
                    yield notice
                    last = notice.id
            while not self._lost:
                async with self._news:
                    while self._latest <= last and not self._lost:
                        await self._news.wait()
                    missed = last < self._forgotten
                    notices = [Notice(self._latest, "reload", None, None)] if missed else list(self._ring)
                for notice in notices:
                    if notice.id > last:
                        yield notice
                        last = notice.id
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
            self._latest = self._forgotten = await run_in_threadpool(self._begin, watch)
            self._watcher = asyncio.create_task(self._run(watch), name="worklist-feed")

    async def _run(self, watch: ChangeWatch) -> None:
        try:
            while True:
                await asyncio.sleep(INTERVAL)
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
        self._latest = fresh[-1].id
        self._behind = len(fresh) > RING
        while len(self._ring) > RING:
            self._forgotten = self._ring.popleft().id

    def _begin(self, watch: ChangeWatch) -> int:
        watch.changed()  # from here on; what is committed between this and the next line is in the id
        with self._database.read() as session:
            return events.latest_id(session)

    def _look(self, watch: ChangeWatch) -> list[Notice]:
        return self._notices(self._latest) if watch.changed() or self._behind else []

    def _catch_up(self, after: int) -> list[Notice]:
        notices = self._notices(after)
        return [Notice(notices[-1].id, "reload", None, None)] if len(notices) > RING else notices

    def _notices(self, after: int) -> list[Notice]:
        with self._database.read() as session:
            rows = worklist.events_after(session, after, RING + 1)
            return [Notice(event.id, event.kind, uid, event.at) for event, uid in rows]
