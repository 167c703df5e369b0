"""The identity provider: a real one as a process, and one that lies."""

from __future__ import annotations

import hmac
import json
import re
import socket
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from peers.oidc_provider import oidc_provider
from pydantic import ValidationError
from starlette.testclient import TestClient

from firstread import identity_checks
from firstread.finding import Grade
from triage.identity_provider import IdentityProvider, claim
from triage.people import Role
from triage.repositories import users
from triage.tables import User
from worklist.app import create_app

NODE = "http://127.0.0.1:8080"
PAGE = {"Accept": "text/html"}
OWN = {"Origin": NODE}
ROLES = {"rad-readers": "reader", "rad-admins": "admin"}
PEOPLE = [
    {"sub": "s-1", "preferred_username": "m.lang", "name": "Dr Maria Lang", "groups": ["staff", "rad-readers"]},
    {"sub": "s-2", "preferred_username": "boss", "groups": ["rad-readers", "rad-admins"]},
    {"sub": "s-3", "preferred_username": "cook", "groups": ["kitchen"]},
    {"sub": "s-4", "groups": ["rad-readers"]},
    {"sub": "s-5", "preferred_username": "<b>x</b>", "groups": ["rad-readers"]},
    {"sub": "s-6", "preferred_username": "root.lee", "groups": ["rad-readers"]},
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with oidc_provider(PEOPLE, "--require-nonce") as url:
        yield url


def node(house: Any, issuer: str, **more: Any) -> TestClient:
    """A browser at a node with this provider; by the clock of the machine, which tokens are made by."""
    secret = house.settings.data / "oidc.secret"
    secret.write_text("a secret between firstread and the provider\n")
    secret.chmod(0o600)
    oidc = IdentityProvider(issuer=issuer, client_id="firstread", client_secret_file=secret, roles=ROLES, **more)
    app = create_app(house.settings.model_copy(update={"oidc": oidc}), house.database)
    return TestClient(app, base_url=NODE, follow_redirects=False)


def leave(browser: TestClient, target: str = "/") -> str:
    answer = browser.get("/sign-in/oidc", params={"next": target})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def consent(url: str, sub: str) -> str:
    """The person says yes at the provider; the path that the browser is sent back to."""
    answer = httpx.post(url, data={"sub": sub}, timeout=30)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"]).removeprefix(NODE)


def test_a_person_of_the_hospital_signs_in_and_out(house: Any, issuer: str) -> None:
    browser = node(house, issuer)
    page = browser.get("/sign-in?next=/deliveries", headers=PAGE).text
    assert 'href="/sign-in/oidc?next=/deliveries"' in page
    assert 'name="password"' not in page, "no account, no password"
    assert browser.get("/api/v1/worklist").status_code == 401
    url = leave(browser, "/account")
    asked = parse_qs(urlsplit(url).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert len(asked["code_challenge"][0]) == 43
    assert asked["response_type"] == ["code"]
    assert asked["redirect_uri"] == [NODE + "/sign-in/oidc/callback"]
    assert len(asked["state"][0]) > 40
    assert len(asked["nonce"][0]) > 40
    back = browser.get(consent(url, "s-1"))
    assert back.status_code == 200, back.text
    assert 'content="0;url=/account"' in back.text
    cookies = back.headers.get_list("set-cookie")
    assert any(cookie.startswith("firstread_session=") and "SameSite=strict" in cookie for cookie in cookies)
    shown = browser.get("/account", headers=PAGE).text
    assert "Dr Maria Lang" in shown
    assert "reader" in shown
    assert browser.get("/api/v1/admin/users").status_code == 403
    with house.database.read() as session:
        (user,) = session.query(User).all()
    assert (user.name, user.role, user.issuer, user.subject) == ("m.lang", Role.READER, issuer, "s-1")
    out = browser.post("/sign-out", headers=OWN)
    assert out.status_code == 200
    assert f"{issuer}/oauth2/end_session?id_token_hint=" in out.text
    assert browser.get("/api/v1/worklist").status_code == 401


def test_the_role_follows_the_groups_and_ends_older_sessions(house: Any, issuer: str) -> None:
    browser = node(house, issuer)
    assert browser.get(consent(leave(browser), "s-2")).status_code == 200
    assert browser.get("/api/v1/admin/users").json()["items"][0]["kept_by"] == "identity provider"
    with house.database.write() as session:
        session.query(User).one().role = Role.READER  # what the groups said yesterday
    assert browser.get("/api/v1/admin/users").status_code == 403
    elsewhere = node(house, issuer)
    assert elsewhere.get(consent(leave(elsewhere), "s-2")).status_code == 200
    assert elsewhere.get("/api/v1/admin/users").status_code == 200
    assert browser.get("/api/v1/worklist").status_code == 401


def test_a_disabled_account_stays_out_whatever_the_provider_says(house: Any, issuer: str) -> None:
    browser = node(house, issuer)
    browser.get(consent(leave(browser), "s-1"))
    with house.database.write() as session:
        users.set_disabled(session, users.by_name(session, "m.lang"), True, at=house.clock(), who="test")
    assert browser.get("/api/v1/worklist").status_code == 401
    answer = browser.get(consent(leave(browser), "s-1"))
    assert answer.status_code == 403
    assert "disabled" in answer.text


@pytest.mark.parametrize(
    ("sub", "why"),
    [
        ("s-3", "none of your groups has a role"),
        ("s-4", "does not say your name"),
        ("s-5", "not one that somebody can sign in with"),
        ("s-6", "Another account has the name"),
    ],
)
def test_people_who_may_not_in(house: Any, issuer: str, sub: str, why: str) -> None:
    with house.database.write() as session:
        users.add(session, "root.lee", Role.ADMIN, "$argon2id$none", at=house.clock(), who="test")
    browser = node(house, issuer)
    answer = browser.get(consent(leave(browser), sub))
    assert answer.status_code == 403
    assert why in answer.text
    assert "<b>x</b>" not in answer.text
    assert browser.get("/api/v1/worklist").status_code == 401


def test_answers_that_nobody_asked_for(house: Any, issuer: str) -> None:
    browser = node(house, issuer)
    stolen = consent(leave(node(house, issuer)), "s-2")
    assert browser.get(stolen).status_code == 403, "another browser's answer"
    path = consent(leave(browser), "s-1")
    wrong_state = path.replace("state=", "state=x")
    assert "not begun in this browser" in browser.get(wrong_state).text
    assert "not begun in this browser" in browser.get(path).text, "one try per departure"
    path = consent(leave(browser), "s-1")
    kept = dict(browser.cookies)
    assert browser.get(path).status_code == 200
    browser.cookies.clear()
    browser.cookies.update(kept)
    assert "did not accept its own code" in browser.get(path).text, "a code is good once"
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    denied = browser.get("/sign-in/oidc/callback", params={"state": state, "error": "access_denied"})
    assert "did not sign you in: access_denied" in denied.text
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    odd = browser.get("/sign-in/oidc/callback", params={"state": state, "error": "<script>alert(1)</script>"})
    assert "<script>alert" not in odd.text
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    mixed = browser.get("/sign-in/oidc/callback", params={"state": state, "code": "x", "iss": "https://evil.example"})
    assert "Another identity provider" in mixed.text
    browser.cookies.set("firstread_oidc", "bm9uc2Vuc2U=")
    assert browser.get("/sign-in/oidc/callback?state=x&code=y").status_code == 403


# --- a provider that lies -------------------------------------------------------------------------------------------


@dataclass
class Liar:
    """A provider whose every answer a test can turn."""

    url: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1"}))
    signing: Any = None
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "k1"})
    claims: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    raw: str | None = None
    refused: str = ""
    """Error of its token endpoint."""
    status: int = 200
    nonce: str = ""

    def id_token(self) -> str:
        if self.raw is not None:
            return self.raw
        now = int(datetime.now(UTC).timestamp())
        claims = {
            "iss": self.url, "aud": "firstread", "sub": "s-9", "exp": now + 300, "iat": now, "nonce": self.nonce,
            "preferred_username": "m.lang", "groups": "rad-readers",
        }  # fmt: skip
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        return jwt.encode(self.header, claims, self.signing or self.key, algorithms=["RS256", "HS256", "ES256"])

    def answer(self, path: str) -> Any:
        if path == "/.well-known/openid-configuration":
            endpoints = {
                "authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys",
                "userinfo_endpoint": "/userinfo",
            }  # fmt: skip
            return {"issuer": self.url} | {name: self.url + path for name, path in endpoints.items()} | self.document
        if path == "/keys":
            return {"keys": [self.key.as_dict(private=False)]}
        if path == "/userinfo":
            return self.userinfo
        if self.refused:
            return {"error": self.refused}
        return {"access_token": "a", "token_type": "Bearer", "id_token": self.id_token()}


@pytest.fixture
def liar() -> Iterator[Liar]:
    lies = Liar()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # What is left unread when a connection closes resets it, and the client loses the answer on its way.
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(lies.answer(self.path)).encode()
            self.send_response(lies.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    lies.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield lies
    server.shutdown()
    server.server_close()


def come_back(browser: TestClient, liar: Liar) -> Any:
    asked = parse_qs(urlsplit(leave(browser)).query)
    liar.nonce = liar.claims.pop("nonce", asked["nonce"][0])
    return browser.get("/sign-in/oidc/callback", params={"state": asked["state"][0], "code": "c"})


def test_a_token_as_it_should_be(house: Any, liar: Liar) -> None:
    assert come_back(node(house, liar.url), liar).status_code == 200
    liar.claims = {"aud": ["firstread", "other"], "azp": "firstread"}
    assert come_back(node(house, liar.url), liar).status_code == 200


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "another-client"}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": ["firstread", "other"]}, "authorised party"),
        ({"exp": 1_000_000_000}, "expiry"),
        ({"exp": None}, "expiry"),
        ({"exp": "tomorrow"}, "expiry"),
        ({"iat": 4_000_000_000}, "time of issue"),
        ({"nbf": 4_000_000_000}, "begin"),
        ({"nonce": "of-another-sign-in"}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"sub": ""}, "subject"),
        ({"sub": "x" * 256}, "subject"),
    ],
)
def test_tokens_that_prove_nothing(house: Any, liar: Liar, claims: dict[str, Any], why: str) -> None:
    liar.claims = claims
    browser = node(house, liar.url)
    answer = come_back(browser, liar)
    assert answer.status_code == 403
    assert f"its {why} is wrong" in answer.text
    assert browser.get("/api/v1/worklist").status_code == 401
    with house.database.read() as session:
        assert session.query(User).count() == 0


def test_signatures_that_prove_nothing(house: Any, liar: Liar) -> None:
    browser = node(house, liar.url)
    stranger = RSAKey.generate_key(2048, {"kid": "k1"})
    header, payload, _ = liar.id_token().split(".")
    shared = urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').decode().rstrip("=")
    with_public_key = hmac.new(liar.key.as_pem(private=False), f"{shared}.{payload}".encode(), "sha256").digest()
    none = "eyJhbGciOiJub25lIn0"
    for turned in (
        {"signing": stranger},
        {"raw": f"{shared}.{payload}.{urlsafe_b64encode(with_public_key).decode().rstrip('=')}"},
        {"signing": ECKey.generate_key("P-256"), "header": {"alg": "ES256", "kid": "k1"}},
        {"header": {"alg": "RS256", "kid": "unknown"}, "signing": stranger},
        {"raw": f"{none}.{payload}."},
        {"raw": f"{header}.{payload}."},
        {"raw": "no token"},
        {"raw": ""},
        {"raw": "a." * 40_000},
    ):
        liar.signing, liar.raw, liar.header = None, None, {"alg": "RS256", "kid": "k1"}
        for name, value in turned.items():
            setattr(liar, name, value)
        answer = come_back(browser, liar)
        assert answer.status_code == 403, turned
        assert browser.get("/api/v1/worklist").status_code == 401


def test_what_the_token_leaves_out_is_asked_for(house: Any, liar: Liar) -> None:
    liar.claims = {"groups": None, "preferred_username": None}
    liar.userinfo = {"sub": "s-9", "preferred_username": "m.lang", "groups": ["rad-admins"]}
    assert come_back(node(house, liar.url), liar).status_code == 200
    liar.userinfo["sub"] = "somebody-else"
    answer = come_back(node(house, liar.url), liar)
    assert answer.status_code == 403
    assert "somebody else" in answer.text


def test_a_provider_that_is_not_what_the_settings_say(house: Any, liar: Liar) -> None:
    for document, why in (
        ({"issuer": "https://evil.example"}, "another name"),
        ({"token_endpoint": "http://10.0.0.9/token"}, "no secure token_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "no secure authorization_endpoint"),
        ({"jwks_uri": None}, "no secure jwks_uri"),
    ):
        liar.document = document
        answer = node(house, liar.url).get("/sign-in/oidc")
        assert answer.status_code == 502
        assert why in answer.text


def test_a_secret_that_the_provider_does_not_know_is_no_fault_of_who_signs_in(house: Any, liar: Liar) -> None:
    liar.refused = "invalid_client"
    answer = come_back(node(house, liar.url), liar)
    assert answer.status_code == 502
    assert "client_secret_file" in answer.text
    assert "Begin again" not in answer.text
    liar.refused = "invalid_grant"
    answer = come_back(node(house, liar.url), liar)
    assert (answer.status_code, "did not accept its own code" in answer.text) == (403, True)


def test_a_token_of_another_time_says_that_the_clocks_differ(house: Any, liar: Liar) -> None:
    liar.claims = {"iat": int(datetime.now(UTC).timestamp()) + 300}
    assert "the clocks of the identity provider and of firstread differ" in come_back(node(house, liar.url), liar).text


def test_the_doctor_finds_what_a_sign_in_would_fail_at(
    tmp_path: Path, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"

    def asked() -> tuple[Grade, str]:
        wanted = IdentityProvider(issuer=liar.url, client_id="firstread", client_secret_file=secret, roles=ROLES)
        (found,) = identity_checks.provider(wanted)
        return found.grade, f"{found.message} {found.next_step}"

    assert asked()[0] is Grade.BAD
    secret.write_text("a secret between firstread and the provider")
    secret.chmod(0o600)
    liar.refused = "invalid_grant"  # the code is wrong, and we are who we say
    assert asked()[0] is Grade.GOOD
    liar.refused = "invalid_client"
    assert "client_secret_file" in asked()[1]
    liar.refused = "invalid_grant"
    monkeypatch.setattr(identity_checks, "utc_now", lambda: datetime.now(UTC) - timedelta(minutes=5))
    grade, words = asked()
    assert grade is Grade.BAD
    assert re.search(r"its clock is (29[5-9]|30[0-5]) s ahead of ours", words)
    liar.status = 503
    assert "HTTP status 503" in asked()[1]
    liar.url = "http://127.0.0.1:9"
    assert "cannot be reached" in asked()[1]


def test_local_accounts_work_while_the_provider_is_away(house: Any, liar: Liar) -> None:
    with house.database.write() as session:
        users.add(session, "root.lee", Role.ADMIN, "$argon2id$none", at=house.clock(), who="test")
    browser = node(house, liar.url)
    liar.status = 500
    answer = browser.get("/sign-in/oidc", headers=PAGE)
    assert answer.status_code == 502
    assert "does not answer as it should" in answer.text
    assert 'name="password"' in answer.text
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = node(house, f"http://127.0.0.1:{nobody.getsockname()[1]}").get("/sign-in/oidc")
    assert gone.status_code == 502


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": ""},
        {"issuer": "http://idp.hospital.example"},
        {"issuer": "https://user:secret@idp.hospital.example"},
        {"issuer": "https://idp.hospital.example/?x=1"},
        {"roles": {}},
        {"roles": {"x": "king"}},
        {"scopes": ["profile"]},
        {"client_secret": "in the file itself"},
        {"url": "http://triage.hospital.example"},
    ],
)
def test_settings_that_are_refused(wrong: dict[str, Any]) -> None:
    right = {"issuer": "https://idp.hospital.example", "client_id": "firstread", "roles": ROLES}
    IdentityProvider.model_validate(right)
    with pytest.raises(ValidationError):
        IdentityProvider.model_validate(right | wrong)


def test_claims_and_the_role_they_give() -> None:
    settings = IdentityProvider(
        issuer="https://idp", client_id="f", role_claim="realm_access.roles",
        roles={"a": "admin", "r": "reader", "t": "technologist"},
    )  # fmt: skip
    assert settings.role_of({"realm_access": {"roles": ["t", "r"]}}) is Role.READER
    assert settings.role_of({"realm_access": {"roles": ["t", "r", "a"]}}) is Role.ADMIN
    assert settings.role_of({"realm_access.roles": "t"}) is Role.TECHNOLOGIST
    for nothing in ({}, {"realm_access": None}, {"realm_access": {"roles": [["a"], 7, None]}}, {"realm_access": "a"}):
        assert settings.role_of(nothing) is None
    assert claim({"https://x.example/roles": ["a"]}, "https://x.example/roles") == ["a"]
