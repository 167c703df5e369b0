"""Live changes: nothing missed, nothing told twice, bounded, and ended when the database is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
from worklist_rows import NOON, arrive

import worklist.live
from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.repositories import events
from worklist.api.reading_list import _messages
from worklist.live import Feed, Notice

PATIENCE = 20.0  # seconds until a test that waits for a notice gives up


def _run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await story()

    asyncio.run(bounded())


def _event(database: Database, kind: str) -> int:
    with database.write() as session:
        event = events.record(session, kind, at=NOON)
        session.flush()
        return event.id


async def _take(notices: AsyncIterator[Notice], number: int) -> list[str]:
    return [(await anext(notices)).kind for _ in range(number)]


def test_a_listener_hears_what_others_commit_with_the_study(house: Any) -> None:
    async def story() -> None:
        notices = Feed(house.database).follow(None)
        assert (await anext(notices)).kind == "hello"
        with house.database.write() as session:
            uid = arrive(session, "keller").study_instance_uid
        stored = await anext(notices)
        complete = await anext(notices)
        assert (stored.kind, complete.kind) == ("instance_stored", "study_complete")
        assert stored.study_instance_uid == complete.study_instance_uid == uid
        assert stored.id < complete.id
        await notices.aclose()

    _run(story)


def test_every_listener_hears_everything_once_and_in_order(house: Any) -> None:
    async def story() -> None:
        feed = Feed(house.database)
        listeners = [feed.follow(None) for _ in range(20)]
        for listener in listeners:
            await anext(listener)
        expected = [f"kind_{number}" for number in range(30)]
        for kind in expected:
            await asyncio.to_thread(_event, house.database, kind)
        for listener in listeners:
            assert await _take(listener, 30) == expected
            await listener.aclose()

    _run(story)


def test_who_comes_back_hears_what_was_missed(house: Any) -> None:
    first = _event(house.database, "before")
    for kind in ("missed_1", "missed_2"):
        _event(house.database, kind)

    async def story() -> None:
        notices = Feed(house.database).follow(first)
        assert await _take(notices, 3) == ["hello", "missed_1", "missed_2"]
        _event(house.database, "fresh")
        assert await _take(notices, 1) == ["fresh"]
        await notices.aclose()

    _run(story)


def test_who_was_away_too_long_is_told_to_reload(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist.live, "RING", 3)
    first = _event(house.database, "before")
    for number in range(10):
        _event(house.database, f"missed_{number}")

    async def story() -> None:
        notices = Feed(house.database).follow(first)
        assert await _take(notices, 2) == ["hello", "reload"]
        await notices.aclose()

    _run(story)


def test_a_slow_listener_holds_nothing_and_is_told_to_reload(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist.live, "RING", 3)

    async def story() -> None:
        feed = Feed(house.database)
        slow, quick = feed.follow(None), feed.follow(None)
        await anext(slow)
        await anext(quick)
        for number in range(10):
            _event(house.database, f"kind_{number}")
            await anext(quick)
        assert len(feed._ring) == 3
        notice = await anext(slow)
        assert notice.kind == "reload"
        last = _event(house.database, "after")
        assert ((await anext(slow)).id, notice.id < last) == (last, True)
        await slow.aclose()
        await quick.aclose()

    _run(story)


def test_an_id_from_another_life_starts_anew(house: Any) -> None:
    async def story() -> None:
        notices = Feed(house.database).follow(10**9)
        assert (await anext(notices)).id == 0
        _event(house.database, "fresh")
        assert await _take(notices, 1) == ["fresh"]
        await notices.aclose()

    _run(story)


def test_the_watcher_ends_with_its_last_listener_and_starts_again(house: Any) -> None:
    async def story() -> None:
        feed = Feed(house.database)
        notices = feed.follow(None)
        await anext(notices)
        watcher = feed._watcher
        assert watcher is not None
        await notices.aclose()
        await watcher
        assert not feed.full
        again = feed.follow(None)
        await anext(again)
        _event(house.database, "fresh")
        assert await _take(again, 1) == ["fresh"]
        await again.aclose()

    _run(story)


def test_listeners_are_let_go_when_the_database_is_lost_and_may_come_back(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_watch: Any) -> list[Notice]:
        raise DatabaseUnavailableError("gone")

    async def story() -> None:
        feed = Feed(house.database)
        listeners = [feed.follow(None), feed.follow(None)]
        for listener in listeners:
            await anext(listener)
        with monkeypatch.context() as outage:
            outage.setattr(feed, "_look", lost)
            for listener in listeners:
                with pytest.raises(StopAsyncIteration):
                    await anext(listener)
        again = feed.follow(None)
        await anext(again)
        _event(house.database, "fresh")
        assert await _take(again, 1) == ["fresh"]
        await again.aclose()

    _run(story)


def test_there_is_a_bound_on_listeners(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist.live, "LISTENERS", 0)
    answer = house.client().get("/api/v1/worklist/events")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "30"


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "9" * 19, "٣"])
def test_a_last_event_id_that_is_none_is_refused_by_name(client: Any, last: str) -> None:
    answer = client.get("/api/v1/worklist/events", headers={"Last-Event-ID": last.encode()})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Last-Event-ID"


def test_messages_name_no_patient_and_end_when_the_server_stops(house: Any) -> None:
    async def story() -> None:
        stopping = anyio.Event()
        messages = _messages(Feed(house.database), None, stopping)
        hello = await anext(messages)
        assert b"retry: 2000\n" in hello
        assert _data(hello)["kind"] == "hello"
        with house.database.write() as session:
            arrive(session, "keller")
        message = await anext(messages)
        data = _data(message)
        assert data.keys() == {"kind", "study_instance_uid", "at"}
        assert data["at"] == "2026-03-01T12:00:00Z"
        assert b"KELLER" not in message
        stopping.set()
        with pytest.raises(StopAsyncIteration):
            await anext(messages)

    _run(story)


def _data(message: bytes) -> Any:
    """Of the first event in some bytes of the stream."""
    return json.loads(next(line for line in message.splitlines() if line.startswith(b"data: "))[6:])
