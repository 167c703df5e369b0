"""Answers that hold until somebody commits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from worklist_rows import NOON, arrive

from triage.errors import DatabaseUnavailableError
from triage.repositories import events, worklist
from worklist import fresh
from worklist.fresh import Fresh
from worklist.page import list_routes


def _commit(house: Any) -> None:
    with house.database.write() as session:
        events.record(session, "something", at=NOON)


def test_an_answer_is_made_once_a_commit_and_question(house: Any) -> None:
    answers, number = Fresh(house.database), count()

    def ask(question: str) -> int:
        return answers.answer(question, lambda: next(number))

    assert [ask("a"), ask("a"), ask("b"), ask("a")] == [0, 0, 1, 0]
    _commit(house)
    assert [ask("a"), ask("a"), ask("b")] == [2, 2, 3]


def test_what_is_committed_while_an_answer_is_made_makes_the_next_one_new(house: Any) -> None:
    answers, number = Fresh(house.database), count()

    def slow() -> int:
        _commit(house)
        return next(number)

    assert answers.answer("a", slow) == 0
    assert answers.answer("a", lambda: next(number)) == 1
    assert answers.answer("a", lambda: next(number)) == 1


def test_many_who_ask_at_once_get_one_answer(house: Any) -> None:
    answers, number, asking = Fresh(house.database), count(), threading.Barrier(8)

    def ask(_: int) -> int:
        asking.wait(10)
        return answers.answer("a", lambda: next(number))

    with ThreadPoolExecutor(8) as people:
        assert set(people.map(ask, range(8))) == {0}


def test_whoever_waits_gets_an_answer_begun_since_even_if_commits_go_on(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred pages that ask at once cost two answers, not two hundred, however busy the house is."""
    answers, number, looks, all_wait = Fresh(house.database), count(), count(1), threading.Event()

    def clock() -> float:
        look = next(looks)
        if look == 2 + 7:  # the first caller looks twice before it makes its answer, the others once before they wait
            all_wait.set()
        return float(look)

    monkeypatch.setattr(fresh, "monotonic", clock)

    def slow() -> int:
        assert all_wait.wait(30)
        _commit(house)
        return next(number)

    with ThreadPoolExecutor(8) as people:
        seen = list(people.map(lambda _: answers.answer("a", slow), range(8)))
    assert set(seen) <= {0, 1}


def test_an_answer_that_ages_is_made_anew(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, number, now = Fresh(house.database), count(), [100.0]
    monkeypatch.setattr(fresh, "monotonic", lambda: now[0])
    seen = []
    for later in (0.0, 0.5, 0.6, 0.5):
        now[0] += later
        seen.append(answers.answer("a", lambda: next(number), ageing=True))
    assert seen == [0, 0, 1, 1]


def test_nothing_is_answered_from_memory_while_the_database_is_away(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Fresh(house.database)
    answers.answer("a", lambda: 1)

    def lost() -> bool:
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as outage:
        outage.setattr(answers._watch, "changed", lost)
        with pytest.raises(DatabaseUnavailableError):
            answers.answer("a", lambda: 2)
    assert answers.answer("a", lambda: 2) == 1


def test_an_answer_that_failed_is_not_kept(house: Any) -> None:
    answers = Fresh(house.database)

    def fail() -> int:
        raise DatabaseUnavailableError("gone")

    with pytest.raises(DatabaseUnavailableError):
        answers.answer("a", fail)
    assert answers.answer("a", lambda: 3) == 3


def test_memory_is_bounded(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "ANSWERS", 3)
    answers = Fresh(house.database)
    for number in range(10):
        answers.answer(number, lambda: 0)
    assert len(answers._slots) == 3


def test_a_page_is_the_same_for_all_who_ask_and_names_itself(house: Any) -> None:
    with house.database.write() as session:
        arrive(session, "keller")
    client = house.client()
    page = client.get("/api/v1/worklist")
    assert client.get("/api/v1/worklist", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    assert client.get("/api/v1/worklist", headers={"If-None-Match": "*"}).status_code == 304
    assert client.get("/api/v1/worklist", headers={"If-None-Match": '"other"'}).json() == page.json()
    other = house.client().get("/api/v1/worklist")
    assert other.headers["etag"] == page.headers["etag"], "another process says the same"
    first, again = (client.get("/fragment/worklist") for _ in range(2))
    assert first.text == again.text
    assert first.headers["x-request-id"] != again.headers["x-request-id"]


def test_what_several_share_has_nobodys_own_buttons(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks claims a case after it was looked up for whom the answer is made, and before it is made."""
    with house.database.write() as session:
        study = arrive(session, "keller")
    read, asked = list_routes.read_page, count()

    def read_then_claim(*arguments: Any, **keywords: Any) -> Any:
        kept = read(*arguments, **keywords)
        if next(asked) == 0:
            with house.database.write() as session:
                worklist.claim(session, session.merge(study), who="local", at=NOON)
        return kept

    client = house.client()
    monkeypatch.setattr(list_routes, "read_page", read_then_claim)
    shared, own = (client.get("/fragment/worklist").text for _ in range(2))
    assert "claimed by local" in shared
    assert "Release" not in shared
    assert "Release" in own
