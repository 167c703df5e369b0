"""People with accounts, programs with tokens: in, out, and what ends at once."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import Seen, arrive, score

from triage.passwords import Passwords
from triage.people import Role, Scope
from triage.repositories import api_tokens, audit, browser_sessions, users
from triage.repositories.audit import AuditFilter
from triage.tables import ApiToken, BrowserSession
from worklist.callers import LOOKED_UP
from worklist.signin import ACCOUNT_FAILURES, FAILURES

PASSPHRASE = "wet lamps hum softly"  # noqa: S105 - of nobody
OTHER = "nine dry umbrellas sing"
OWN = {"Origin": "http://127.0.0.1:8080"}
PAGE = {"Accept": "text/html"}


@pytest.fixture(scope="session")
def hashed() -> str:
    return Passwords().hash(PASSPHRASE)


@pytest.fixture
def people(house: Any, hashed: str) -> Any:
    """A house with three accounts of one password."""
    with house.database.write() as session:
        for name, role in (("root.lee", Role.ADMIN), ("m.lang", Role.READER), ("t.berg", Role.TECHNOLOGIST)):
            users.add(session, name, role, hashed, at=house.clock(), who="test")
    return house


def sign_in(house: Any, name: str, password: str = PASSPHRASE) -> TestClient:
    """A browser in which somebody has signed in by the form."""
    browser: TestClient = house.client()
    answer = browser.post("/sign-in", data={"name": name, "password": password}, headers=OWN, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return browser


def enter(house: Any, name: str) -> TestClient:
    """The same without the form, which costs a hash."""
    browser: TestClient = house.client()
    with house.database.write() as session:
        user = users.by_name(session, name)
        browser.cookies.set("firstread_session", browser_sessions.begin(session, at=house.clock(), user=user))
    return browser


def trail(house: Any, action: str) -> list[Any]:
    with house.database.read() as session:
        return list(audit.listed(session, AuditFilter(action=action)))


def test_without_accounts_a_loopback_node_asks_nobody_and_with_the_first_one_it_does(house: Any, hashed: str) -> None:
    client = house.client()
    assert client.get("/api/v1/worklist").status_code == 200
    assert "nobody signs in" in client.get("/", headers=PAGE).text
    with house.database.write() as session:
        users.add(session, "root.lee", Role.ADMIN, hashed, at=house.clock(), who="test")
    assert client.get("/api/v1/worklist").status_code == 401
    moved = client.get("/?q=a%26b", headers=PAGE, follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (303, "/sign-in?next=/%3Fq%3Da%2526b")
    assert client.get("/api/v1/worklist", headers={"Host": "triage.hospital.example"}).status_code == 401


def test_the_first_account_is_an_administrators(house: Any) -> None:
    """Or everybody would have to sign in, and nobody could make a second one."""
    client = house.client()
    reader = {"name": "m.lang", "role": "reader", "password": PASSPHRASE}
    assert client.post("/api/v1/admin/users", json=reader).status_code == 409
    assert client.post("/api/v1/admin/users", json=reader | {"role": "admin"}).status_code == 201


def test_a_cookie_of_another_application_does_not_hide_ours(people: Any) -> None:
    browser = enter(people, "m.lang")
    ours = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    answer = people.client().get("/api/v1/worklist", headers={"Cookie": f'other={{"a":1}}; {ours}'})
    assert answer.status_code == 200


def test_a_person_signs_in_and_out(people: Any) -> None:
    browser = people.client()
    asked = browser.post(
        "/sign-in", data={"name": " M.LANG ", "password": PASSPHRASE, "next": "/deliveries"}, headers=OWN,
        follow_redirects=False,
    )  # fmt: skip
    assert (asked.status_code, asked.headers["location"]) == (303, "/deliveries")
    cookie = asked.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert browser.get("/api/v1/worklist").status_code == 200
    assert "m.lang" in browser.get("/", headers=PAGE).text
    kept = dict(browser.cookies)
    assert browser.post("/sign-out", headers=OWN, follow_redirects=False).headers["location"] == "/sign-in"
    browser.cookies.update(kept)
    assert browser.get("/api/v1/worklist").status_code == 401, "the row is gone, whatever the browser still has"
    assert [(entry.who, entry.subject) for entry in trail(people, "signed_in")] == [("m.lang", "user:m.lang")]
    assert [entry.who for entry in trail(people, "signed_out")] == ["m.lang"]


def test_whoever_is_signed_in_and_goes_back_to_the_sign_in_page_is_not_asked_again(people: Any) -> None:
    browser = enter(people, "m.lang")
    for target, place in (("/deliveries", "/deliveries"), ("//evil.example", "/"), ("/sign-in", "/sign-in")):
        back = browser.get("/sign-in", params={"next": target}, headers=PAGE, follow_redirects=False)
        assert (back.status_code, back.headers["location"]) == (303, place)
    browser.post("/sign-out", headers=OWN)
    assert "Sign in" in browser.get("/sign-in", headers=PAGE, follow_redirects=False).text


def test_an_open_page_of_an_ended_session_gets_nothing_new_after_seconds(people: Any) -> None:
    browser = enter(people, "m.lang")
    assert browser.get("/fragment/worklist").status_code == 200
    with people.database.write() as session:
        session.query(BrowserSession).delete()
    assert browser.get("/").status_code == 401, "at once for all that a person asks for"
    people.clock.pass_by(seconds=-60)
    assert browser.get("/fragment/worklist").status_code == 401, "a clock set back makes no answer last longer"
    people.clock.pass_by(seconds=60 + LOOKED_UP.total_seconds())
    assert browser.get("/fragment/worklist").status_code == 401


def test_an_open_page_is_not_looked_up_at_each_refresh(people: Any) -> None:
    browser = enter(people, "m.lang")
    browser.get("/fragment/worklist")
    with people.database.write() as session:
        session.query(BrowserSession).delete()
    assert browser.get("/fragment/worklist").status_code == 200
    assert people.client().get("/fragment/worklist").status_code == 401, "nobody else's"


def test_the_rows_hold_no_secret(people: Any) -> None:
    browser = enter(people, "m.lang")
    secret = browser.cookies["firstread_session"]
    with people.database.read() as session:
        (row,) = session.query(BrowserSession).all()
    assert secret not in (row.digest, row.settings_token, row.id_token)
    assert len(row.digest) == 64


def test_under_https_the_cookie_is_bound_to_the_host(people: Any) -> None:
    secured = TestClient(people.client().app, base_url="https://triage.hospital.example")
    answer = secured.post(
        "/sign-in", data={"name": "m.lang", "password": PASSPHRASE}, follow_redirects=False,
        headers={"Origin": "https://triage.hospital.example"},
    )  # fmt: skip
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-firstread_session=")
    assert "Secure" in cookie
    assert "Path=/;" in cookie
    assert "Domain" not in cookie
    assert secured.get("/api/v1/worklist").status_code == 200
    plain = {"Cookie": "firstread_session=" + secured.cookies["__Host-firstread_session"]}
    secured.cookies.clear()
    assert secured.get("/api/v1/worklist", headers=plain).status_code == 401, "a cookie that http could have set"


def test_a_session_cannot_be_given_to_somebody(people: Any) -> None:
    browser = people.client()
    browser.cookies.set("firstread_session", "planted-by-a-stranger-0123456789")
    browser.post("/sign-in", data={"name": "m.lang", "password": PASSPHRASE}, headers=OWN, follow_redirects=False)
    stranger = people.client()
    stranger.cookies.set("firstread_session", "planted-by-a-stranger-0123456789")
    assert stranger.get("/api/v1/worklist").status_code == 401


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("m.lang", "wet lamps hum softlY"),
        ("nobody.here", PASSPHRASE),
        ("", ""),
        ("m.lang", ""),
        ("x" * 70_000, "y" * 70_000),
        ("m.lang\x00", PASSPHRASE),
        ("'; DROP TABLE users; --", PASSPHRASE),
        ("<script>", PASSPHRASE),
    ],
)
def test_wrong_names_and_passwords_get_the_same_answer(people: Any, name: str, password: str) -> None:
    browser = people.client()
    answer = browser.post("/sign-in", data={"name": name, "password": password}, headers=OWN)
    assert answer.status_code == 401
    assert "Name or password is wrong, or the account is disabled." in answer.text
    assert "<script>" not in answer.text.split("</head>")[1]
    assert browser.get("/api/v1/worklist").status_code == 401
    (entry,) = trail(people, "sign_in_failed")
    assert entry.subject in ("user:m.lang", "user:?"), "never what was typed: it may be a password"
    assert entry.after["with"] == "a password"


def test_too_many_fields_are_a_problem_and_no_crash(people: Any) -> None:
    many = {f"f{number}": "x" for number in range(50)}
    assert people.client().post("/sign-in", data=many, headers=OWN).status_code == 422


@pytest.mark.parametrize("change", ["disable", "role", "password", "remove"])
def test_what_changes_about_an_account_counts_at_once_and_everywhere(people: Any, hashed: str, change: str) -> None:
    browser = enter(people, "m.lang")
    other_process = people.client()
    other_process.cookies.update(browser.cookies)
    assert other_process.get("/api/v1/worklist").status_code == 200
    with people.database.write() as session:
        user, by = users.by_name(session, "m.lang"), {"at": people.clock(), "who": "test"}
        if change == "disable":
            users.set_disabled(session, user, True, **by)
        elif change == "role":
            users.set_role(session, user, Role.TECHNOLOGIST, **by)
        elif change == "password":
            users.set_password(session, user, hashed, **by)
        else:
            users.remove(session, user, **by)
    for process in (browser, other_process):
        assert process.get("/api/v1/worklist").status_code == 401


def test_a_disabled_account_gets_no_session(people: Any) -> None:
    with people.database.write() as session:
        users.set_disabled(session, users.by_name(session, "m.lang"), True, at=people.clock(), who="test")
    answer = people.client().post("/sign-in", data={"name": "m.lang", "password": PASSPHRASE}, headers=OWN)
    assert answer.status_code == 401


def test_sessions_time_out_idle_and_in_any_case(people: Any) -> None:
    browser = enter(people, "m.lang")
    for _ in range(3):
        people.clock.pass_by(minutes=50)
        assert browser.get("/api/v1/worklist").status_code == 200
    people.clock.pass_by(minutes=50)
    assert browser.get("/fragment/worklist").status_code == 200
    people.clock.pass_by(minutes=15)
    assert browser.get("/api/v1/worklist").status_code == 401, "what a page fetches by itself keeps nobody signed in"

    browser = enter(people, "m.lang")
    for _ in range(12):
        assert browser.get("/api/v1/worklist").status_code == 200
        people.clock.pass_by(minutes=59)
    people.clock.pass_by(minutes=12)
    assert browser.get("/api/v1/worklist").status_code == 401


def test_a_person_has_a_bounded_number_of_sessions(people: Any) -> None:
    with people.database.write() as session:
        user = users.by_name(session, "m.lang")
        secrets = []
        for _ in range(25):
            people.clock.pass_by(seconds=1)
            secrets.append(browser_sessions.begin(session, at=people.clock(), user=user))
    with people.database.read() as session:
        alive = [
            browser_sessions.find(session, secret, at=people.clock(), limits=people.settings.session_limits)
            for secret in secrets
        ]
    assert [row is not None for row in alive] == [False] * 5 + [True] * 20


def test_roles_are_refused_in_words(people: Any) -> None:
    with people.database.write() as session:
        study = arrive(session, "keller")
        score(session, study, [Seen("pneumothorax", 0.9)])
        claim = f"/api/v1/studies/{study.study_instance_uid}/claim"
    reader, technologist, admin = (enter(people, name) for name in ("m.lang", "t.berg", "root.lee"))
    refused = technologist.post(claim)
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["detail"] == "t.berg has the role technologist; this takes the role reader or admin."
    assert reader.post(claim).json()["reader"] == "m.lang"
    for path, may in (
        ("/api/v1/admin/quarantine", {"t.berg", "root.lee"}),
        ("/api/v1/admin/users", {"root.lee"}),
        ("/api/v1/admin/tokens", {"root.lee"}),
        ("/metrics", {"t.berg", "root.lee"}),
        ("/node", {"t.berg", "root.lee"}),
        ("/", {"m.lang", "t.berg", "root.lee"}),
        ("/account", {"m.lang", "t.berg", "root.lee"}),
    ):
        for name, browser in (("m.lang", reader), ("t.berg", technologist), ("root.lee", admin)):
            assert (browser.get(path).status_code == 200) is (name in may), (path, name)
    page = reader.get("/node", headers=PAGE)
    assert page.status_code == 403
    assert "this takes the role technologist or admin" in page.text
    assert 'href="/node"' not in page.text, "the navigation offers what one may see"
    assert 'href="/node"' in admin.get("/", headers=PAGE).text


def test_guessing_is_slowed_down_by_address(people: Any) -> None:
    browser = people.client()
    for _ in range(FAILURES):
        assert browser.post("/sign-in", data={"name": "x", "password": "y"}, headers=OWN).status_code == 401
    answer = browser.post("/sign-in", data={"name": "m.lang", "password": PASSPHRASE}, headers=OWN)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    people.clock.pass_by(seconds=61)
    assert sign_in(people, "m.lang")


async def _from(door: Any, address: str, password: str) -> Any:
    return await door.with_password("m.lang", password, address)


@pytest.mark.anyio
async def test_a_stranger_locks_nobody_out(people: Any) -> None:
    """An account that is guessed at from everywhere stays open to where its person signed in before."""
    from worklist.signin import Tokens, TooManyTriesError  # noqa: PLC0415
    from worklist.signing_in import SignIn  # noqa: PLC0415

    class Quick(Passwords):
        """The rule is about counting; Argon2 has its own tests."""

        def matches(self, password_hash: str, password: str) -> bool:
            return password == PASSPHRASE

        def is_outdated(self, password_hash: str) -> bool:
            return False

    door = SignIn(people.database, Tokens(()), people.clock, people.settings.session_limits, passwords=Quick())
    assert await _from(door, "10.0.0.7", PASSPHRASE)
    for number in range(ACCOUNT_FAILURES):
        assert await _from(door, f"192.0.2.{number}", "guess") is None
    with pytest.raises(TooManyTriesError, match="this account"):
        await _from(door, "192.0.2.200", PASSPHRASE)
    assert await _from(door, "10.0.0.7", PASSPHRASE), "the person's own place"
    people.clock.pass_by(hours=1, seconds=1)
    assert await _from(door, "192.0.2.200", PASSPHRASE)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_crowd_at_the_door_waits_in_turn(people: Any) -> None:
    """Six at once get their answers while two hash at a time."""
    browsers = [people.client() for _ in range(6)]
    statuses: list[int] = []

    def try_(browser: TestClient) -> None:
        data = {"name": "m.lang", "password": PASSPHRASE}
        statuses.append(browser.post("/sign-in", data=data, headers=OWN, follow_redirects=False).status_code)

    threads = [threading.Thread(target=try_, args=(browser,)) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [303] * 6


# --- forms ----------------------------------------------------------------------------------------------------------


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', page)
    assert found
    return found[1]


def test_an_old_browser_proves_its_form_by_the_token(people: Any) -> None:
    """One that names no origin (before 2020 not all did); another site's form has no token."""
    browser = people.client()
    data = {"name": "m.lang", "password": PASSPHRASE}
    assert browser.post("/sign-in", data=data).status_code == 403
    token = form_token(browser.get("/sign-in").text)
    for headers in ({"Origin": "null"}, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}):
        assert browser.post("/sign-in", data=data, headers=headers).status_code == 403
    assert browser.post("/sign-in", data={**data, "form_token": token[:-1] + "x"}).status_code == 403
    assert browser.post("/sign-in", data={**data, "form_token": "é"}).status_code == 403
    answer = browser.post("/sign-in", data={**data, "form_token": token}, follow_redirects=False)
    assert answer.status_code == 303
    assert browser.post("/sign-out", data={"form_token": token}).status_code == 403, "that one was before the session"
    own = form_token(browser.get("/account").text)
    elsewhere = enter(people, "m.lang")
    assert elsewhere.post("/sign-out", data={"form_token": own}).status_code == 403, "bound to its session"
    assert browser.post("/sign-out", data={"form_token": own}, follow_redirects=False).status_code == 303


def test_a_form_of_a_page_that_sends_no_referrer(people: Any) -> None:
    """What Chromium sends: the origin is "null", the site is ours."""
    own = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    data = {"name": "m.lang", "password": PASSPHRASE}
    assert people.client().post("/sign-in", data=data, headers=own, follow_redirects=False).status_code == 303
    foreign = {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
    browser = people.client()
    token = form_token(browser.get("/sign-in").text)
    assert browser.post("/sign-in", data={**data, "form_token": token}, headers=foreign).status_code == 403


def test_a_person_changes_the_own_password(people: Any) -> None:
    browser, elsewhere = enter(people, "m.lang"), enter(people, "m.lang")

    def change(**fields: str) -> Any:
        given = {"current": PASSPHRASE, "new": OTHER, "again": OTHER, **fields}
        return browser.post("/account", data=given, headers=OWN)

    for fields, why in (
        ({"current": "wrong"}, "current password is wrong"),
        ({"again": "something else"}, "typed differently"),
        ({"new": "short", "again": "short"}, "shorter than 12"),
        ({"new": PASSPHRASE, "again": PASSPHRASE}, "same as before"),
    ):
        answer = change(**fields)
        assert answer.status_code == 422
        assert why in answer.text
    assert "The password is changed" in change().text
    assert browser.get("/api/v1/worklist").status_code == 200
    assert elsewhere.get("/api/v1/worklist").status_code == 401
    assert sign_in(people, "m.lang", OTHER)
    assert trail(people, "user_password_changed")[0].after is None


def test_a_link_from_another_system_arrives_with_its_session(people: Any) -> None:
    """A strict cookie stays behind on such a navigation; the page asks once more by itself."""
    stranger = people.client()
    arriving = {**PAGE, "Sec-Fetch-Site": "cross-site"}
    answer = stranger.get('/studies/1.2.3?a="b"', headers=arriving, follow_redirects=False)
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0;url=/studies/1.2.3?a=%22b%22">' in answer.text
    for foreign in ("/%2Fevil.example/", "/%5Cevil.example/"):
        assert 'content="0;url=/"' in stranger.get(foreign, headers=arriving).text, "never to another site"
    again = stranger.get("/studies/1.2.3", headers={**PAGE, "Sec-Fetch-Site": "same-origin"}, follow_redirects=False)
    assert again.headers["location"] == "/sign-in?next=/studies/1.2.3"


# --- while the database is away -------------------------------------------------------------------------------------


def test_who_was_known_may_look_at_the_last_list_while_the_database_is_away(people: Any) -> None:
    browser, stranger = enter(people, "m.lang"), people.client()
    assert browser.get("/", headers=PAGE).status_code == 200
    stranger.app = browser.app
    people.database.dispose()
    for rest in people.settings.data.glob("firstread.sqlite*"):
        rest.unlink()
    (people.settings.data / "firstread.sqlite").mkdir()
    page = browser.get("/", headers=PAGE)
    assert page.status_code == 503
    assert "m.lang" in page.text, "the last list, and who is looking at it"
    assert browser.post("/api/v1/studies/1.2.3/claim").status_code == 503
    people.clock.pass_by(minutes=11)
    assert browser.get("/api/v1/worklist").status_code == 503
    assert stranger.get("/api/v1/worklist").status_code == 503
    assert stranger.get("/sign-in").status_code == 200


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_a_token_may_what_its_scopes_say_until_it_ends(people: Any) -> None:
    now = people.clock()
    with people.database.write() as session:
        _, reading = api_tokens.add(
            session, "ris", [Scope.WORKLIST_READ], expires_at=now + timedelta(days=1), at=now, who="test"
        )
        _, metrics = api_tokens.add(session, "prometheus", [Scope.METRICS], expires_at=None, at=now, who="test")
        study = arrive(session, "keller")
        claim = f"/api/v1/studies/{study.study_instance_uid}/claim"
    client = people.client()
    ris, prometheus = ({"Authorization": f"Bearer {secret}"} for secret in (reading, metrics))
    assert client.get("/api/v1/worklist", headers=ris).status_code == 200
    refused = client.post(claim, headers=ris)
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "This token may not do that; it takes the scope worklist:write or admin.",
    )
    assert client.get("/metrics", headers=ris).status_code == 403
    assert client.get("/metrics", headers=prometheus).status_code == 200
    assert client.get("/api/v1/worklist", headers=prometheus).status_code == 403
    with people.database.read() as session:
        used = {token.name: token.last_used_at for token in session.query(ApiToken)}
        kept = [token.digest for token in session.query(ApiToken)]
    assert used["ris"] == now
    assert reading not in kept
    people.clock.pass_by(days=1)
    assert client.get("/api/v1/worklist", headers=ris).status_code == 401
    with people.database.write() as session:
        api_tokens.revoke(session, "prometheus", at=people.clock(), who="test")
    assert client.get("/metrics", headers=prometheus).status_code == 401


def test_the_trail_tells_a_token_from_a_person(people: Any) -> None:
    with people.database.write() as session:
        _, secret = api_tokens.add(
            session, "m.lang", [Scope.WORKLIST_WRITE], expires_at=None, at=people.clock(), who="test"
        )
        study = arrive(session, "keller")
        claim = f"/api/v1/studies/{study.study_instance_uid}/claim"
    assert people.client().post(claim, headers={"Authorization": f"Bearer {secret}"}).json()["reader"] == "token:m.lang"


# --- the API of the administrator -----------------------------------------------------------------------------------


def test_an_administrator_makes_and_changes_accounts(people: Any) -> None:
    admin = enter(people, "root.lee")
    new = {"name": "Öz.kan", "role": "reader", "password": OTHER, "display_name": "Özlem Kan"}
    made = admin.post("/api/v1/admin/users", json=new)
    assert made.status_code == 201
    assert OTHER not in made.text
    assert made.json()["kept_by"] == "firstread"
    assert admin.post("/api/v1/admin/users", json={**new, "name": "ÖZ.KAN"}).status_code == 409
    browser = sign_in(people, "öz.kan", OTHER)
    assert admin.patch("/api/v1/admin/users/öz.kan", json={"role": "technologist"}).json()["role"] == "technologist"
    assert browser.get("/api/v1/worklist").status_code == 401
    assert admin.put("/api/v1/admin/users/öz.kan/password", json={"password": PASSPHRASE}).status_code == 200
    assert sign_in(people, "öz.kan")
    assert admin.patch("/api/v1/admin/users/öz.kan", json={"disabled": True}).json()["disabled"] is True
    assert admin.delete("/api/v1/admin/users/öz.kan").status_code == 204
    assert admin.delete("/api/v1/admin/users/öz.kan").status_code == 404
    names = [item["name"] for item in admin.get("/api/v1/admin/users").json()["items"]]
    assert names == ["m.lang", "root.lee", "t.berg"]
    (entry,) = trail(people, "user_role_changed")
    assert (entry.who, entry.before["role"], entry.after["role"]) == ("root.lee", "reader", "technologist")
    assert "hash" not in str(entry.before)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "a.b", "role": "reader", "password": "short"}, 422),
        ({"name": "a.b", "role": "king", "password": OTHER}, 422),
        ({"name": "<b>", "role": "reader", "password": OTHER}, 422),
        ({"name": "a.b", "role": "reader", "password": OTHER, "more": 1}, 422),
        ({"name": "a.b", "role": "reader"}, 422),
        ({"name": "a.b", "role": "reader", "password": "z" * 5000}, 422),
        ([], 422),
    ],
)
def test_accounts_that_are_not_made(people: Any, body: Any, status: int) -> None:
    answer = enter(people, "root.lee").post("/api/v1/admin/users", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "zzzz" not in answer.text


def test_somebody_can_always_administer(people: Any) -> None:
    admin = enter(people, "root.lee")
    for refused in (
        admin.patch("/api/v1/admin/users/root.lee", json={"role": "reader"}),
        admin.patch("/api/v1/admin/users/root.lee", json={"disabled": True}),
        admin.delete("/api/v1/admin/users/root.lee"),
    ):
        assert refused.status_code == 409
        assert "last local administrator" in refused.json()["detail"]
    assert admin.patch("/api/v1/admin/users/m.lang", json={"role": "admin"}).status_code == 200
    assert admin.delete("/api/v1/admin/users/root.lee").status_code == 204
    assert admin.get("/api/v1/worklist").status_code == 401


def test_an_administrator_makes_and_revokes_tokens(people: Any) -> None:
    admin = enter(people, "root.lee")
    ends = (people.clock() + timedelta(days=90)).isoformat()
    asked = {"name": "pacs-export", "scopes": ["worklist:read", "worklist:read"], "expires_at": ends}
    made = admin.post("/api/v1/admin/tokens", json=asked).json()
    assert made["token"].startswith(made["prefix"])
    assert made["scopes"] == ["worklist:read"]
    listed = admin.get("/api/v1/admin/tokens")
    assert made["token"] not in listed.text
    assert listed.json()["items"][0]["created_by"] == "root.lee"
    assert admin.post("/api/v1/admin/tokens", json=asked).status_code == 409
    for wrong in (
        {**asked, "name": "x y"},
        {**asked, "name": "late", "expires_at": "2001-01-01T00:00:00Z"},
        {**asked, "name": "naive", "expires_at": "2100-01-01T00:00:00"},
        {**asked, "name": "none", "scopes": []},
        {**asked, "name": "other", "scopes": ["everything"]},
    ):
        assert admin.post("/api/v1/admin/tokens", json=wrong).status_code == 422
    assert admin.delete("/api/v1/admin/tokens/pacs-export").status_code == 204
    assert admin.delete("/api/v1/admin/tokens/pacs-export").status_code == 404
    assert [entry.action for entry in trail(people, "token_revoked")] == ["token_revoked"]
