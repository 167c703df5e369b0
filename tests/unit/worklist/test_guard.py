"""The outermost layer: who may pass, with what, and how answers leave."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, score

from triage.peers import CallingPeer
from worklist.bodies import LIMIT
from worklist.permissions import Need, need_of
from worklist.signin import FAILURES, Patience

READER = "dr-lang:" + "r" * 24
ROBOT = "robot:" + "b" * 24
OUTSIDE = {
    "bind": "0.0.0.0",
    "dicom_plain": True,
    "http_tokens": (READER, ROBOT),
    "calling_ae_titles": (CallingPeer(ae_title="CR_ROOM1"),),
}
ORIGIN = {"Origin": "http://127.0.0.1:8080"}
TOKEN = READER.partition(":")[2]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def study_uid(house: Any) -> str:
    with house.database.write() as session:
        study = arrive(session, "keller")
        score(session, study, [Seen("pneumothorax", 0.9)])
        return study.study_instance_uid


@pytest.fixture
def outside(house: Any) -> TestClient:
    """A node that other machines reach."""
    return house.client(**OUTSIDE)


def test_headers_of_every_answer(client: TestClient) -> None:
    for path in ("/", "/healthz", "/api/v1/worklist", "/nothing", "/static/page.js", "/api/v1/studies/1.2.3"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert len(headers["x-request-id"]) == 32
        assert (headers.get("cache-control") == "no-store") is not path.startswith("/static")


def test_a_request_id_is_taken_over_when_it_is_harmless(client: TestClient) -> None:
    assert client.get("/nothing", headers={"X-Request-ID": "abc-12345"}).json()["request_id"] == "abc-12345"
    assert client.get("/nothing", headers={"X-Request-ID": "a b\tc<script>"}).json()["request_id"] != "a b\tc<script>"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::2]", "", "[", "a:b:c"]
)
def test_a_loopback_node_answers_to_its_own_names_only(client: TestClient, host: str) -> None:
    answer = client.get("/api/v1/worklist", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8080", "[::1]:8080"])
def test_names_of_this_machine(client: TestClient, host: str) -> None:
    assert client.get("/api/v1/worklist", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_changes_come_from_our_own_origin(client: TestClient, study_uid: str, headers: dict[str, str]) -> None:
    answer = client.post(f"/api/v1/studies/{study_uid}/claim", headers=headers)
    assert answer.status_code == 403
    assert client.get("/api/v1/worklist").json()["items"][0]["reading_status"] == "UNREAD"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_changes_carry_json(client: TestClient, study_uid: str, kind: str) -> None:
    body = b'{"urgency": "STAT", "reason": "x"}'
    answer = client.patch(f"/api/v1/studies/{study_uid}/priority", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 415


def test_a_change_from_the_page_itself(client: TestClient, study_uid: str) -> None:
    headers = {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}
    assert client.post(f"/api/v1/studies/{study_uid}/claim", headers=headers, json={}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000 + b"]" * 10_000,
        b'{"urgency": "STAT", "reason": "a", "reason": "b"}',
        b'{"urgency": NaN, "reason": "a"}',
        b'{"urgency": "STAT"',
        b"\xff\xfe",
        b'{"urgency": ' + b"9" * 5000 + b', "reason": "a"}',
    ],
)
def test_a_body_that_is_no_plain_json_is_refused(client: TestClient, study_uid: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.patch(f"/api/v1/studies/{study_uid}/priority", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_has_a_bound(client: TestClient, study_uid: str, announced: bool) -> None:
    body = b" " * (LIMIT + 1)
    content = body if announced else iter([body[:1000], body[1000:]])
    headers = {"Content-Type": "application/json"}
    answer = client.patch(f"/api/v1/studies/{study_uid}/priority", content=content, headers=headers)
    assert answer.status_code == 413


def test_strange_methods_and_paths(client: TestClient) -> None:
    assert client.request("TRACE", "/api/v1/worklist").status_code in (403, 405, 415)
    for path in ("/..%2fetc/passwd", "/static/..%2f..%2fapp.py", "/static/%2e%2e/routes.py", "/%00"):
        assert client.get(path).status_code == 404


def test_outside_every_route_but_those_of_the_door_needs_a_known_caller(outside: TestClient) -> None:
    """Whatever route is added tomorrow is closed until somebody opens it here."""
    tried, opened = set(), set()
    for path, methods in _routes(outside):
        for method in methods:
            answer = outside.request(method, path)
            if need_of(method, path) is Need.ANYBODY:
                assert answer.status_code not in (401, 403) or method == "POST", (method, path)
                opened.add((method, path))
                continue
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            tried.add(path)
    assert opened - {("HEAD", "/healthz")} == {("GET", "/healthz"), ("GET", "/sign-in"), ("POST", "/sign-in")}
    assert {"/", "/metrics", "/readyz", "/docs", "/api/v1/worklist", "/api/v1/worklist/events", "/sign-out"} <= tried
    assert outside.get("/openapi.json").status_code == 401
    assert outside.get("/healthz").text == "ok\n"
    assert outside.get("/static/page.css").status_code == 200


def _routes(client: TestClient) -> list[tuple[str, set[str]]]:
    app: Any = client.app
    return [
        (str(route.path).replace("{study_uid}", "1.2.3").replace("{sop_uid}", "1.2.3.4"), set(route.methods))
        for route in iter_route_contexts(app.routes)
        if route.methods
    ]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {READER}", "Bearer \u00e9"]
)
def test_wrong_tokens(outside: TestClient, header: str) -> None:
    assert outside.get("/api/v1/worklist", headers={"Authorization": header.encode()}).status_code == 401


def test_the_name_of_a_token_is_in_the_audit_trail(outside: TestClient, study_uid: str) -> None:
    assert outside.post(f"/api/v1/studies/{study_uid}/claim", headers=BEARER).json()["reader"] == "dr-lang"
    other = {"Authorization": f"bearer {ROBOT.partition(':')[2]}"}
    assert outside.post(f"/api/v1/studies/{study_uid}/claim", headers=other).status_code == 409
    timeline = outside.get(f"/api/v1/studies/{study_uid}", headers=other).json()["timeline"]
    assert (timeline[-1]["kind"], timeline[-1]["who"]) == ("case_claimed", "dr-lang")


def test_a_person_signs_in_and_out(outside: TestClient, study_uid: str) -> None:
    browser = {"Accept": "text/html"}
    page = outside.get(f"/studies/{study_uid}", headers=browser, follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, f"/sign-in?next=/studies/{study_uid}")
    answer = outside.post(
        "/sign-in", data={"token": TOKEN, "next": f"/studies/{study_uid}"}, headers=ORIGIN, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{study_uid}")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert outside.get("/", headers=browser).status_code == 200
    assert outside.post(f"/api/v1/studies/{study_uid}/claim").json()["reader"] == "dr-lang"
    foreign = outside.post(f"/api/v1/studies/{study_uid}/release", headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403
    outside.post("/sign-out", headers=ORIGIN, follow_redirects=False)
    assert outside.get("/api/v1/worklist").status_code == 401


def test_a_cookie_ends_with_time_and_with_its_token(house: Any, outside: TestClient) -> None:
    outside.post("/sign-in", data={"token": TOKEN}, headers=ORIGIN, follow_redirects=False)
    assert outside.get("/api/v1/worklist").status_code == 200
    without = house.client(**{**OUTSIDE, "http_tokens": (ROBOT,)})
    without.cookies.update(outside.cookies)
    assert without.get("/api/v1/worklist").status_code == 401
    house.clock.pass_by(hours=house.settings.session_hours)
    assert outside.get("/api/v1/worklist").status_code == 401


def test_signing_in_goes_nowhere_else(outside: TestClient) -> None:
    for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        answer = outside.post("/sign-in", data={"token": TOKEN, "next": target}, headers=ORIGIN, follow_redirects=False)
        assert answer.headers["location"] == "/"


def test_guessing_tokens_is_slowed_down(house: Any, outside: TestClient) -> None:
    for _ in range(FAILURES):
        assert outside.post("/sign-in", data={"token": "guess"}, headers=ORIGIN).status_code == 401
    refused = outside.post("/sign-in", data={"token": TOKEN}, headers=ORIGIN)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    house.clock.pass_by(seconds=61)
    assert outside.post("/sign-in", data={"token": TOKEN}, headers=ORIGIN, follow_redirects=False).status_code == 303


def test_patience_forgets_addresses_in_the_end() -> None:
    patience = Patience()
    for number in range(5000):
        patience.count(str(number), NOON)
    assert len(patience._times) == 1000
    assert not patience.exhausted("4999", NOON + timedelta(seconds=1))


def test_a_loopback_node_with_tokens_asks_too(house: Any) -> None:
    behind_proxy = house.client(http_tokens=(READER,))
    assert behind_proxy.get("/api/v1/worklist").status_code == 401
    named = behind_proxy.get("/api/v1/worklist", headers={**BEARER, "Host": "triage.hospital.example"})
    assert named.status_code == 200


def test_what_goes_wrong_inside_stays_inside(
    house: Any, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with house.database.write() as session:
        arrive(session, "canary", patient_name="ZZCANARY^SECRET")
        session.execute(sa.text("UPDATE studies SET urgency = patient_name"))  # an enumeration that is none
    answer = client.get("/api/v1/worklist", params={"q": "ZZCANARY"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    said = capsys.readouterr()
    assert "request_failed" in said.out + said.err
    for text in (answer.text, said.out, said.err):
        assert "CANARY" not in text


def test_a_database_that_is_gone_is_a_503_with_an_end(house: Any, client: TestClient) -> None:
    house.database.dispose()
    file = house.settings.data / "firstread.sqlite"
    for rest in house.settings.data.glob("firstread.sqlite*"):
        rest.unlink()
    file.mkdir()
    for path in ("/api/v1/worklist", "/api/v1/studies/1.2.3", "/api/v1/worklist/events", "/", "/readyz", "/metrics"):
        answer = client.get(path)
        assert answer.status_code == 503, path
        assert answer.json()["next_step"]
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/v1/worklist").headers["retry-after"] == "5"
    page = client.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 503
    assert page.headers["content-type"].startswith("text/html")
