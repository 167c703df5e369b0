"""Where somebody is signed in: seen and ended by the person, and by administrators; nobody ends another's otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from triage.errors import StateError
from triage.people import Role
from triage.repositories import audit, browser_sessions, users
from triage.repositories.audit import AuditFilter
from worklist.signin import browser_of

OWN, ALL = "/api/v1/account/sessions", "/api/v1/admin/sessions"
TOKEN = "x" * 24


@pytest.fixture
def people(house: Any) -> Any:
    """A house with two accounts whose passwords nobody asks for."""
    with house.database.write() as session:
        for name, role in (("root.lee", Role.ADMIN), ("m.lang", Role.READER)):
            users.add(session, name, role, "", at=house.clock(), who="test")
    return house


def enter(house: Any, name: str, address: str, **settings: Any) -> TestClient:
    """A browser that somebody is signed in with."""
    browser: TestClient = house.client(**settings)
    house.clock.pass_by(seconds=1)
    with house.database.write() as session:
        user = users.by_name(session, name)
        secret = browser_sessions.begin(
            session, at=house.clock(), user=user, address=address, browser="Firefox on Linux"
        )
    browser.cookies.set("firstread_session", secret)
    return browser


def listed(browser: TestClient, path: str = OWN) -> list[tuple[str, str, bool]]:
    return [(item["name"], item["address"], item["this_one"]) for item in browser.get(path).json()["items"]]


def ended(house: Any) -> list[tuple[str, str, Any]]:
    with house.database.read() as session:
        found = audit.listed(session, AuditFilter(action="session_ended"))
        return [(entry.who, entry.subject, (entry.before or {}).get("address")) for entry in reversed(found)]


def test_a_person_sees_own_sessions_and_ends_one_of_them(people: Any) -> None:
    ward, office = enter(people, "m.lang", "10.0.0.1"), enter(people, "m.lang", "10.0.0.2")
    enter(people, "root.lee", "10.0.0.3")
    assert listed(ward) == [("m.lang", "10.0.0.2", False), ("m.lang", "10.0.0.1", True)]
    other = ward.get(OWN).json()["items"][0]["id"]
    assert ward.delete(f"{OWN}/{other}").status_code == 204
    assert office.get("/api/v1/worklist").status_code == 401, "at once"
    assert ward.get("/api/v1/worklist").status_code == 200
    assert ward.delete(f"{OWN}/{other}").status_code == 404
    assert ended(people) == [("m.lang", "user:m.lang", "10.0.0.2")]


def test_nobody_ends_the_session_of_another_but_an_administrator(people: Any) -> None:
    reader, admin = enter(people, "m.lang", "10.0.0.1"), enter(people, "root.lee", "10.0.0.3")
    assert listed(admin, ALL) == [("root.lee", "10.0.0.3", True), ("m.lang", "10.0.0.1", False)]
    admins, readers = (item["id"] for item in admin.get(ALL).json()["items"])
    assert reader.get(ALL).status_code == 403
    assert reader.delete(f"{ALL}/{admins}").status_code == 403
    assert reader.delete(f"{OWN}/{admins}").status_code == 404
    assert reader.delete(f"{OWN}/none").status_code == 422
    assert ended(people) == []
    assert admin.delete(f"{ALL}/{readers}").status_code == 204
    assert reader.get("/api/v1/worklist").status_code == 401
    assert ended(people) == [("root.lee", "user:m.lang", "10.0.0.1")]


def test_all_others_are_ended_together(people: Any) -> None:
    here, *others = (enter(people, "m.lang", f"10.0.0.{n}") for n in range(1, 4))
    admin = enter(people, "root.lee", "10.0.0.9")
    assert here.delete(OWN).json() == {"ended": 2}
    assert [browser.get("/api/v1/worklist").status_code for browser in (here, *others, admin)] == [200, 401, 401, 200]
    assert listed(here) == [("m.lang", "10.0.0.1", True)]


def test_what_has_timed_out_is_no_session(people: Any) -> None:
    enter(people, "m.lang", "10.0.0.1")
    people.clock.pass_by(minutes=59)
    late = enter(people, "m.lang", "10.0.0.2")
    people.clock.pass_by(minutes=2)
    assert listed(late) == [("m.lang", "10.0.0.2", True)]


def test_the_list_says_nothing_of_cookies(people: Any) -> None:
    browser = enter(people, "m.lang", "10.0.0.1")
    secret = browser.cookies["firstread_session"]
    told = browser.get(OWN).text
    assert secret not in told
    assert browser_sessions.digest(secret)[:16] not in told


def test_a_token_of_the_settings_has_sessions_of_its_own(people: Any) -> None:
    settings = {"http_tokens": (f"anna:{TOKEN}",)}
    browser = people.client(**settings)
    answer = browser.post(
        "/sign-in", data={"token": TOKEN}, follow_redirects=False,
        headers={"Origin": "http://127.0.0.1:8080", "User-Agent": "Mozilla/5.0 (Windows NT 10.0) Firefox/140.0"},
    )  # fmt: skip
    assert answer.status_code == 303
    (own,) = browser.get(OWN).json()["items"]
    assert (own["name"], own["browser"], own["address"]) == ("anna", "Firefox on Windows", "testclient")
    program = people.client(**settings)
    assert program.get(OWN, headers={"Authorization": f"Bearer {TOKEN}"}).json() == {"items": []}
    assert listed(enter(people, "root.lee", "10.0.0.9", **settings), ALL)[1] == ("anna", "testclient", False)


def test_pages_show_sessions_and_the_way_to_end_them(people: Any) -> None:
    reader, admin = enter(people, "m.lang", "10.0.0.1"), enter(people, "root.lee", "10.0.0.2")
    enter(people, "m.lang", "10.0.0.7")
    page = reader.get("/account", headers={"Accept": "text/html"}).text
    assert "Where you are signed in" in page
    assert page.count(f'data-delete="{OWN}/') == 2
    assert "from 10.0.0.7" in page
    assert "10.0.0.2" not in page
    everybody = admin.get("/admin/users", headers={"Accept": "text/html"}).text
    assert everybody.count(f'data-delete="{ALL}/') == 3


def test_where_nobody_signs_in_there_are_no_sessions(client: TestClient) -> None:
    assert client.get(OWN).json() == {"items": []}
    assert client.delete(OWN).json() == {"ended": 0}
    assert "Where you are signed in" not in client.get("/account", headers={"Accept": "text/html"}).text


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/141.0 Safari/537.36 Edg/141.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.0 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (Linux; Android 14) Chrome/141.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) CriOS/141 Safari/604.1", "Chrome on iPhone"),
        ("<script>", "another browser"),
        ("", "another browser"),
    ],
)
def test_a_browser_is_named_so_that_its_person_knows_it(agent: str, words: str) -> None:
    from fastapi import Request  # noqa: PLC0415

    request = Request({"type": "http", "headers": [(b"user-agent", agent.encode())]})
    assert browser_of(request) == words


# --- one name, one person ------------------------------------------------------------------------------------------


def test_an_account_may_not_have_the_name_of_a_token_of_the_settings(people: Any) -> None:
    admin = enter(people, "root.lee", "10.0.0.3", http_tokens=(f"Anna:{TOKEN}",))
    wanted = {"name": "anna", "role": "reader", "password": "wet lamps hum softly"}
    refused = admin.post("/api/v1/admin/users", json=wanted)
    assert (refused.status_code, "A token of the settings has this name" in refused.json()["detail"]) == (409, True)
    with people.database.write() as session, pytest.raises(StateError, match="token of the settings"):
        users.know(session, "https://idp", "7", "ANNA", Role.ADMIN, at=people.clock(), taken={"Anna"})


def test_a_token_whose_name_an_account_had_before_is_told_apart_in_the_audit(people: Any) -> None:
    robot = people.client(http_tokens=(f"M.Lang:{TOKEN}",))
    robot.headers["Authorization"] = f"Bearer {TOKEN}"
    assert robot.post("/api/v1/admin/peers", json={"ae_title": "CT1"}).json()["changed_by"] == "settings token:M.Lang"
