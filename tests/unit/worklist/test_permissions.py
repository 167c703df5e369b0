"""One table says what each request needs; no route is without a rule."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from triage.people import Role, Scope
from worklist.permissions import ROLE_MAY, RULES, SCOPE_MAY, Caller, Need, listed_need, need_of, refusal

SAFE = {"GET", "HEAD", "OPTIONS"}


def test_every_change_has_a_line_of_its_own(client: TestClient) -> None:
    """Whoever adds a route that changes something says in the table who may."""
    app: Any = client.app
    routes = [(str(route.path), set(route.methods)) for route in iter_route_contexts(app.routes) if route.methods]
    assert len(routes) > 30
    missing = []
    for path, methods in routes:
        for method in sorted(methods):
            rule = listed_need(method, path)
            below_admin = "/admin" in path
            if method not in SAFE and rule is None and not below_admin:
                missing.append((method, path))
            if rule is None:
                expected = Need.ADMINISTER if below_admin or method not in SAFE else Need.VIEW
                assert need_of(method, path) is expected
    assert missing == [], "add a line to worklist/permissions.py"


def test_every_line_belongs_to_a_route(client: TestClient) -> None:
    """A line without a route would open tomorrow what nobody looked at."""
    app: Any = client.app
    routes = {
        (method, str(route.path)) for route in iter_route_contexts(app.routes) for method in route.methods or {"GET"}
    } | {("GET", "/static/page.css")}
    for method, template, need in RULES:
        found = [path for kind, path in routes if kind == method and listed_need(method, path) is need]
        assert found, (method, template)


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("GET", "/", Need.VIEW),
        ("HEAD", "/metrics", Need.MONITOR),
        ("GET", "/api/v1/worklist/events", Need.VIEW),
        ("GET", "/nothing/yet", Need.VIEW),
        ("POST", "/nothing/yet", Need.ADMINISTER),
        ("BREW", "/", Need.ADMINISTER),
        ("GET", "/admin/anything", Need.ADMINISTER),
        ("GET", "/admin/users", Need.ADMINISTER),
        ("GET", "/fragment/admin/users", Need.ADMINISTER),
        ("GET", "/administrators", Need.VIEW),
        ("GET", "/api/v1/admin/tokens", Need.ADMINISTER),
        ("GET", "/api/v1/admin/quarantine", Need.OPERATE),
        ("GET", "/api/v1/admin/quarantine/7/other", Need.ADMINISTER),
        ("POST", "/api/v1/studies/1.2/claim", Need.READ),
        ("POST", "/api/v1/studies/1.2/3/claim", Need.ADMINISTER),
        ("POST", "/api/v1/studies/1.2/claim/", Need.ADMINISTER),
        ("GET", "/static/page.js", Need.ANYBODY),
        ("POST", "/static/page.js", Need.ADMINISTER),
        ("GET", "/healthz\n", Need.VIEW),
    ],
)
def test_what_requests_need(method: str, path: str, need: Need) -> None:
    assert need_of(method, path) is need


def test_roles_and_scopes() -> None:
    assert ROLE_MAY[Role.ADMIN] == frozenset(Need)
    assert Need.READ in ROLE_MAY[Role.READER]
    assert Need.OPERATE not in ROLE_MAY[Role.READER]
    assert Need.READ not in ROLE_MAY[Role.TECHNOLOGIST]
    assert Need.OPERATE in ROLE_MAY[Role.TECHNOLOGIST]
    assert SCOPE_MAY[Scope.METRICS] == {Need.ANYBODY, Need.SIGNED_IN, Need.MONITOR}
    holders = [role for role in Role if Need.ADMINISTER in ROLE_MAY[role]]
    assert holders == [Role.ADMIN], "one role and one scope administer"
    assert [scope for scope in Scope if Need.ADMINISTER in SCOPE_MAY[scope]] == [Scope.ADMIN]


def test_a_refusal_says_what_it_takes() -> None:
    reader = Caller.with_role("lang", Role.READER)
    assert refusal(reader, Need.OPERATE) == "lang has the role reader; this takes the role technologist or admin."
    token = Caller.with_scopes("token:export", frozenset({Scope.WORKLIST_READ}))
    assert refusal(token, Need.READ) == "This token may not do that; it takes the scope worklist:write or admin."
    assert Need.READ not in token.may
    assert Need.VIEW in token.may
