"""Bad input at the reading list, on both databases: nothing is lost, nothing is shown as markup, one of two wins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from peers.postgres import postgres
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, score, start

from bad_inputs.cases import case, one
from triage.database import Database
from triage.repositories import analyses
from triage.settings import Settings
from worklist.app import create_app

TOKENS = {"ada": "a9Xk" * 6, "bob": "b4Qz" * 6}
STAT = {"urgency": "STAT", "reason": "called by the ward"}
PROBLEM = "application/problem+json"


class Clock:
    """Stands still until a test moves it."""

    now = NOON + timedelta(minutes=10)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Room:
    """A reading room on one database, with two readers."""

    database: Database
    settings: Settings
    clock: Clock
    app: FastAPI

    def reader(self, name: str) -> TestClient:
        return TestClient(
            self.app, base_url="http://127.0.0.1:8080", headers={"Authorization": f"Bearer {TOKENS[name]}"},
            raise_server_exceptions=False,
        )  # fmt: skip

    def case(self, name: str, **header: str) -> str:
        """A scored case; returns the path of its study."""
        with self.database.write() as session:
            study = arrive(session, name, **header)
            score(session, study, [Seen("pneumothorax", 0.9)])
            return f"/api/v1/studies/{study.study_instance_uid}"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def room(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("room")
    with ExitStack() as stack:
        url = stack.enter_context(postgres()) if request.param == "postgresql" else ""
        tokens = tuple(f"{name}:{token}" for name, token in TOKENS.items())
        settings = Settings(data=folder, database_url=url, http_tokens=tokens)
        settings.results.mkdir()
        database = Database(settings.database)
        database.migrate()
        clock = Clock()
        yield Room(database, settings, clock, create_app(settings, database, clock=clock))
        database.dispose()


def is_problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == PROBLEM
    document: dict[str, Any] = answer.json()
    assert document["detail"]
    assert "Traceback" not in answer.text
    return document


@pytest.mark.parametrize(
    ("query", "named"),
    [
        one("A15", {"cursor": "not a cursor"}, "cursor", name="cursor"),
        one("A15", {"cursor": "MS4xLjE5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"}, "cursor", name="huge row"),
        one("A15", {"cursor": "x" * 101}, "cursor", name="long cursor"),
        one("A15", {"status": "unread"}, "status", name="status"),
        one("A15", {"urgency": "NOW"}, "urgency", name="urgency"),
        one("A15", {"modality": "D'X"}, "modality", name="modality"),
        one("A15", {"q": "x" * 65}, "q", name="long q"),
        one("A15", {"limit": "201"}, "limit", name="limit"),
        one("A15", {"colour": "red"}, "colour", name="unknown filter"),
    ],
)
def test_a_malformed_query_names_what_to_mend(room: Room, query: dict[str, str], named: str) -> None:
    assert named in is_problem(room.reader("ada").get("/api/v1/worklist", params=query), 422)["detail"]


@case("A15")
@pytest.mark.parametrize("q", ["\x00", "a\x00b", "%", "_", "\\", "'; DROP TABLE studies;--", '"', "\r\n", "\U0001f9e0"])
def test_a_search_is_text_whatever_it_says(room: Room, q: str) -> None:
    for status in ("", "ALL"):
        answer = room.reader("ada").get("/api/v1/worklist", params={"q": q, "status": status})
        assert answer.status_code == 200, answer.text
    for name in ("reader", "body_part", "ae", "finding"):
        answer = room.reader("ada").get("/api/v1/worklist", params={name: q[:16]})
        assert answer.status_code in (200, 422), answer.text


@case("A15")
@pytest.mark.parametrize("uid", ["1..2", "01.2", "1.2.", "x", "1" * 65, "1.2%00", "1.2%0d%0a.3", "..%2f..%2fetc", "é"])
def test_a_malformed_uid_is_refused_or_unknown(room: Room, uid: str) -> None:
    for method, path in (("GET", ""), ("POST", "/claim"), ("GET", "/instances/1.2.3/preview")):
        is_problem(room.reader("ada").request(method, f"/api/v1/studies/{uid}{path}"), 404, 405, 422)


@case("A15")
def test_another_content_type_is_refused(room: Room) -> None:
    url = f"{room.case('typed')}/priority"
    body = '{"urgency": "STAT", "reason": "x"}'
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "json"):
        is_problem(room.reader("ada").patch(url, content=body, headers={"Content-Type": kind}), 415)
    for content in (b"", b"[]", b"null", b'"STAT"', b"{}"):
        is_problem(room.reader("ada").patch(url, content=content, headers={"Content-Type": "application/json"}), 422)


@case("A16")
def test_markup_and_statements_in_texts_stay_text(room: Room) -> None:
    hostile = {
        "patient_name": "<script>alert(1)</script>^\"'><img src=x onerror=alert(2)>",
        "patient_id": "' OR 1=1;--",
        "study_description": "{{ 7 * 7 }}\r\nSet-Cookie: a=b",
    }
    path = room.case("hostile", **hostile)
    reader = room.reader("ada")
    item = reader.get(path).json()
    assert {name: item[name] for name in hostile} == hostile
    found = reader.get("/api/v1/worklist", params={"q": "' or 1=1;--"}).json()["items"]
    assert [case_["study_instance_uid"] for case_ in found] == [item["study_instance_uid"]]
    for page in ("/", path.removeprefix("/api/v1"), "/fragment/worklist"):
        answer = reader.get(page, headers={"Accept": "text/html"})
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        for markup in ("<script>alert", "<img src=x", "onerror=alert(2)>", "49\r\n"):
            assert markup not in answer.text
    for reason in ("a\r\nb", "a\x00b", "a\x1b[31m"):
        is_problem(reader.patch(f"{path}/priority", json={"urgency": "STAT", "reason": reason}), 422)
    assert reader.patch(f"{path}/priority", json={"urgency": "STAT", "reason": "<b>'; --"}).status_code == 200
    assert "<b>'; --" not in reader.get("/", headers={"Accept": "text/html"}).text


def _at_once(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Answers to requests of several people that start at the same moment."""
    barrier = threading.Barrier(len(calls))

    def ask(call: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as people:
        return list(people.map(ask, calls))


@case("A17")
def test_of_two_who_claim_at_once_one_has_the_case(room: Room) -> None:
    readers = {name: room.reader(name) for name in TOKENS}
    path = room.case("wanted")
    for _ in range(6):
        answers = _at_once(*(partial(reader.post, f"{path}/claim") for reader in readers.values()))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        won = next(answer.json() for answer in answers if answer.status_code == 200)
        lost = next(answer for answer in answers if answer.status_code == 409)
        assert won["reader"] in is_problem(lost, 409)["detail"]
        assert readers["ada"].get(path).json()["reader"] == won["reader"]
        assert readers[won["reader"]].post(f"{path}/release").status_code == 200


@case("A17")
def test_of_two_changes_of_one_version_one_is_made(room: Room) -> None:
    ada, bob = room.reader("ada"), room.reader("bob")
    path = room.case("disputed")
    for number in range(4):
        seen = {"If-Match": ada.get(path).headers["etag"]}
        answers = _at_once(
            *(
                partial(
                    reader.patch, f"{path}/priority", json={"urgency": urgency, "reason": str(number)}, headers=seen
                )
                for reader, urgency in ((ada, "URGENT"), (bob, "ROUTINE"))
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        won = next(answer.json() for answer in answers if answer.status_code == 200)
        assert ada.get(path).json()["classes"] == won["classes"]


@case("A17")
def test_one_request_that_comes_twice_at_once_is_carried_out_once(room: Room) -> None:
    ada, path = room.reader("ada"), room.case("doubled")
    key = {"Idempotency-Key": "once-4711"}
    answers = _at_once(*[partial(ada.patch, f"{path}/priority", json=STAT, headers=key)] * 2)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert sorted(answer.headers.get("idempotency-replayed", "false") for answer in answers) == ["false", "true"]
    told = [entry["kind"] for entry in ada.get(path).json()["timeline"]]
    assert told.count("priority_set") == 1


@case("A18")
def test_a_case_that_is_read_while_it_is_analysed_again_stays_read(room: Room) -> None:
    ada, path = room.reader("ada"), room.case("reread")
    assert ada.post(f"{path}/reanalyse").status_code == 202
    with room.database.write() as session:
        study = arrive(session, "reread", at=NOON)  # the same bytes once more: nothing changes
        running = start(session, study, at=room.clock.now)
        running_id = running.id
    assert ada.post(f"{path}/read").json()["reading_status"] == "READ"
    assert room.reader("bob").post(f"{path}/claim").status_code == 409
    with room.database.write() as session:
        running = session.get_one(type(running), running_id)
        analyses.park(running)
        running.due = True
        session.flush()
        score(session, running.study, [Seen("pneumothorax", 0.2)], at=room.clock.now)
    seen = ada.get(path).json()
    assert (seen["reading_status"], seen["reader"]) == ("READ", "ada")
    assert (seen["analysis_status"], seen["findings_revision"]) == ("SUCCEEDED", 2)
    assert ada.post(f"{path}/release").json()["reading_status"] == "UNREAD"


@case("A19")
def test_a_clock_that_is_set_back_loses_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = room.reader("ada"), room.reader("bob")
    path = room.case("early")
    assert ada.post(f"{path}/claim").status_code == 200
    before = [item["study_instance_uid"] for item in ada.get("/api/v1/worklist", params={"limit": 200}).json()["items"]]
    monkeypatch.setattr(room.clock, "now", NOON - timedelta(hours=3))
    later = room.case("later", at=NOON - timedelta(hours=3))  # type: ignore[arg-type]
    for page in ("/", path.removeprefix("/api/v1"), "/api/v1/worklist?overdue=true", "/api/v1/worklist?waiting=1"):
        assert ada.get(page).status_code == 200
    items = ada.get("/api/v1/worklist", params={"limit": 200}).json()["items"]
    assert {*before, later.rpartition("/")[2]} == {item["study_instance_uid"] for item in items}
    order = [(item["urgency"] != "STAT", datetime.fromisoformat(item["due_at"])) for item in items]
    assert order == sorted(order)
    is_problem(bob.post(f"{path}/claim"), 409)
    seen = ada.get(path).headers["etag"]
    assert ada.patch(f"{path}/priority", json=STAT, headers={"If-Match": seen}).status_code == 200
    is_problem(bob.patch(f"{path}/priority", json=STAT, headers={"If-Match": seen}), 409)
    assert ada.post(f"{path}/read").json()["reading_status"] == "READ"
