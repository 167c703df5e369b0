"""What each request needs and who has it: one table, asked by the guard before any route is.

What is not listed: looking outside ``admin`` is for everybody with a role; whatever is below ``/admin`` or
``/api/v1/admin``, and every change, is for administrators. A test walks all routes and asserts that each change has a
line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from triage.people import Role, Scope


class Need(StrEnum):
    """What a request needs of its caller."""

    ANYBODY = "anybody"
    """Nothing: the way in, and what a load balancer asks."""
    SIGNED_IN = "signed in"
    """To be known: one's own account, the way out."""
    VIEW = "view"
    """See list, cases, statistics, simulator."""
    READ = "read"
    """Claim, read, re-prioritise, give a verdict."""
    REPEAT = "repeat"
    """Have a case analysed again."""
    OPERATE = "operate"
    """Look after the node: queue, deliveries, quarantine, disk."""
    MONITOR = "monitor"
    """Metrics and readiness, for a monitoring system."""
    ADMINISTER = "administer"
    """Everything else."""


_KNOWN: Final = frozenset({Need.ANYBODY, Need.SIGNED_IN})
EVERYTHING: Final = frozenset(Need)
ROLE_MAY: Final[Mapping[Role, frozenset[Need]]] = {
    Role.READER: _KNOWN | {Need.VIEW, Need.READ, Need.REPEAT},
    Role.TECHNOLOGIST: _KNOWN | {Need.VIEW, Need.REPEAT, Need.OPERATE, Need.MONITOR},
    Role.ADMIN: EVERYTHING,
}
SCOPE_MAY: Final[Mapping[Scope, frozenset[Need]]] = {
    Scope.WORKLIST_READ: _KNOWN | {Need.VIEW},
    Scope.WORKLIST_WRITE: _KNOWN | {Need.VIEW, Need.READ, Need.REPEAT},
    Scope.OPERATE: _KNOWN | {Need.VIEW, Need.REPEAT, Need.OPERATE, Need.MONITOR},
    Scope.METRICS: _KNOWN | {Need.MONITOR},
    Scope.ADMIN: EVERYTHING,
}

_STUDY: Final = "/api/v1/studies/{}"
_ADMIN: Final = "/api/v1/admin"
RULES: Final[tuple[tuple[str, str, Need], ...]] = (
    ("GET", "/healthz", Need.ANYBODY),
    ("GET", "/static/**", Need.ANYBODY),
    ("GET", "/sign-in", Need.ANYBODY),
    ("POST", "/sign-in", Need.ANYBODY),
    ("GET", "/sign-in/oidc", Need.ANYBODY),
    ("GET", "/sign-in/oidc/callback", Need.ANYBODY),
    ("POST", "/sign-out", Need.SIGNED_IN),
    ("GET", "/account", Need.SIGNED_IN),
    ("POST", "/account", Need.SIGNED_IN),
    ("GET", "/api/v1/account/sessions", Need.SIGNED_IN),
    ("DELETE", "/api/v1/account/sessions", Need.SIGNED_IN),
    ("DELETE", "/api/v1/account/sessions/{}", Need.SIGNED_IN),
    ("GET", "/readyz", Need.MONITOR),
    ("GET", "/metrics", Need.MONITOR),
    # reading
    ("PATCH", f"{_STUDY}/priority", Need.READ),
    ("POST", f"{_STUDY}/priority/undo", Need.READ),
    ("POST", f"{_STUDY}/claim", Need.READ),
    ("POST", f"{_STUDY}/claim/renew", Need.READ),
    ("POST", f"{_STUDY}/release", Need.READ),
    ("POST", f"{_STUDY}/read", Need.READ),
    ("POST", f"{_STUDY}/findings/{{}}/verdict", Need.READ),
    ("POST", f"{_STUDY}/missed", Need.READ),
    ("POST", f"{_STUDY}/missed/{{}}/withdraw", Need.READ),
    ("POST", f"{_STUDY}/views", Need.VIEW),  # looking at an image has it made
    ("POST", f"{_STUDY}/instances/{{}}/frames", Need.VIEW),
    ("POST", f"{_STUDY}/reanalyse", Need.REPEAT),
    ("GET", f"{_ADMIN}/stats", Need.VIEW),
    ("GET", f"{_ADMIN}/stats/{{}}", Need.VIEW),
    # one's own views of the list
    ("POST", "/api/v1/worklist/views", Need.VIEW),
    ("PATCH", "/api/v1/worklist/views/{}", Need.VIEW),
    ("DELETE", "/api/v1/worklist/views/{}", Need.VIEW),
    # looking after the node
    ("GET", "/deliveries", Need.OPERATE),
    ("GET", "/fragment/deliveries", Need.OPERATE),
    ("GET", "/node", Need.OPERATE),
    ("GET", "/fragment/node", Need.OPERATE),
    *(
        ("GET", f"{at}/admin{page}", Need.OPERATE)
        for page in ("", "/destinations", "/analyses", "/deliveries", "/quarantine", "/orders", "/rules", "/disk")
        for at in ("", "/fragment")
    ),
    ("POST", "/fragment/admin/rules/test", Need.OPERATE),
    ("GET", f"{_ADMIN}/attention", Need.OPERATE),
    ("GET", f"{_ADMIN}/analyses", Need.OPERATE),
    ("GET", f"{_ADMIN}/orders", Need.OPERATE),
    ("GET", f"{_ADMIN}/orders/feeds", Need.OPERATE),
    ("GET", f"{_ADMIN}/workitems", Need.OPERATE),
    ("GET", f"{_ADMIN}/deliveries", Need.OPERATE),
    ("GET", f"{_ADMIN}/deliveries/given-up", Need.OPERATE),
    ("POST", f"{_ADMIN}/deliveries/resend", Need.OPERATE),
    ("POST", f"{_ADMIN}/deliveries/{{}}/resend", Need.OPERATE),
    ("GET", f"{_ADMIN}/destinations", Need.OPERATE),
    ("POST", f"{_ADMIN}/destinations/test", Need.OPERATE),
    ("GET", f"{_ADMIN}/destinations/preview", Need.OPERATE),
    ("GET", f"{_ADMIN}/errands/{{}}", Need.OPERATE),
    ("GET", f"{_ADMIN}/results/{{}}/file", Need.OPERATE),
    ("GET", f"{_ADMIN}/space", Need.OPERATE),
    ("GET", f"{_ADMIN}/quarantine", Need.OPERATE),
    ("POST", f"{_ADMIN}/quarantine/{{}}/dismiss", Need.OPERATE),
    ("POST", f"{_ADMIN}/quarantine/{{}}/retry", Need.OPERATE),
    ("GET", f"{_ADMIN}/quarantine/{{}}/file", Need.OPERATE),
    ("GET", f"{_ADMIN}/rules", Need.OPERATE),
    ("POST", f"{_ADMIN}/rules/test", Need.OPERATE),
    # deciding about the node
    ("DELETE", f"{_ADMIN}/sessions/{{}}", Need.ADMINISTER),
    ("POST", f"{_ADMIN}/peers", Need.ADMINISTER),
    ("PUT", f"{_ADMIN}/peers/{{}}", Need.ADMINISTER),
    ("DELETE", f"{_ADMIN}/peers/{{}}", Need.ADMINISTER),
    ("POST", f"{_ADMIN}/peers/{{}}/echo", Need.ADMINISTER),
    ("POST", f"{_ADMIN}/models/{{}}/enable", Need.ADMINISTER),
    ("POST", f"{_ADMIN}/models/{{}}/disable", Need.ADMINISTER),
    ("PATCH", f"{_ADMIN}/models/{{}}/findings/{{}}", Need.ADMINISTER),
    ("POST", f"{_ADMIN}/models/{{}}/findings/{{}}/reset", Need.ADMINISTER),
)
"""Method (GET stands for HEAD too), path (``{}`` one part, ``**`` all that follow) and what it needs."""

_UNDER_ADMIN: Final = re.compile(r"/(api/v1/|fragment/)?admin(/|$)")


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\{\}", "[^/]+").replace(r"\*\*", ".*"))


_TABLE: Final = tuple((method, _pattern(path), need) for method, path, need in RULES)


def listed_need(method: str, path: str) -> Need | None:
    """What the table says of this request, None where it says nothing."""
    asked = "GET" if method in ("HEAD", "OPTIONS") else method
    return next((need for kind, pattern, need in _TABLE if kind == asked and pattern.fullmatch(path)), None)


def need_of(method: str, path: str) -> Need:
    """What a request needs. ``path`` as routed: decoded, without query."""
    listed = listed_need(method, path)
    if listed is not None:
        return listed
    looks = method in ("GET", "HEAD", "OPTIONS")
    return Need.VIEW if looks and not _UNDER_ADMIN.match(path) else Need.ADMINISTER


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Somebody who is known: the name for the audit trail, and what it may do.

    ``role`` is None for a token with scopes.
    """

    name: str
    role: Role | None
    may: frozenset[Need]
    display_name: str = ""

    @classmethod
    def with_role(cls, name: str, role: Role, *, display_name: str = "") -> Caller:
        return cls(name=name, role=role, may=ROLE_MAY[role], display_name=display_name or name)

    @classmethod
    def with_scopes(cls, name: str, scopes: frozenset[Scope]) -> Caller:
        return cls(name=name, role=None, may=frozenset().union(*(SCOPE_MAY[scope] for scope in scopes)))


def refusal(caller: Caller, need: Need) -> str:
    """Why somebody who is known may not do this, and what it takes."""
    if caller.role is None:
        scopes = " or ".join(scope for scope in Scope if need in SCOPE_MAY[scope])
        return f"This token may not do that; it takes the scope {scopes}."
    roles = " or ".join(role for role in Role if need in ROLE_MAY[role])
    return f"{caller.name} has the role {caller.role}; this takes the role {roles}."
