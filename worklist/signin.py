"""The small parts of signing in: tokens of the settings, cookies, form tokens, and how often somebody may try."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

from fastapi import Request, Response

from triage.errors import FirstreadError
from triage.repositories.browser_sessions import digest

SESSION: Final = "firstread_session"
FORM: Final = "firstread_form"
"""Cookie that binds a form to the browser before anybody is signed in."""
NOBODY_SIGNS_IN: Final = "local"
"""Name in the audit trail on a node that only this machine reaches."""

FAILURES: Final = 10
"""Wrong passwords or tokens of one address within :data:`WINDOW`."""
SIGN_INS: Final = 60
"""Sign-ins of one address within :data:`WINDOW`, also right ones: a reading room behind one proxy stays below."""
WINDOW: Final = timedelta(minutes=1)
ACCOUNT_FAILURES: Final = 100
"""Wrong passwords for one account within :data:`ACCOUNT_WINDOW`; after them only addresses get a try from which this
account was signed in before, so that a stranger who guesses from many addresses locks nobody out."""
ACCOUNT_WINDOW: Final = timedelta(hours=1)
_ADDRESSES: Final = 1000
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrom", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
"""Marks of User-Agent in the order in which they decide: most name themselves after others too."""
_SYSTEMS: Final = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


class TooManyTriesError(FirstreadError):
    """Somebody tries to sign in, or fails to, too often."""

    next_step = f"Wait {WINDOW.total_seconds():.0f} seconds."
    retryable = True


class Tokens:
    """The people and programs of the settings.

    Parameters
    ----------
    pairs : iterable of str
        ``name:token`` as in :attr:`triage.settings.Settings.http_tokens`.
    """

    def __init__(self, pairs: Iterable[str]) -> None:
        self._digests = {name: digest(secret) for name, _, secret in (pair.partition(":") for pair in pairs)}

    def owner(self, token: str) -> str | None:
        """Whose token this is. Every token is compared, in constant time each."""
        return self.owner_of_digest(digest(token))

    def owner_of_digest(self, asked: str) -> str | None:
        """Whose token has this SHA-256: a session that was begun with it lives as long as it stands in the settings."""
        owner = None
        for name, known in self._digests.items():
            if hmac.compare_digest(known, asked):
                owner = name
        return owner


def cookie_name(request: Request, name: str) -> str:
    """Under https a cookie that no other host and no unencrypted page can set (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-{name}" if request.url.scheme == "https" else name


def cookie_of(request: Request, name: str) -> str:
    """Our cookie of this request, "" when there is none; what others have put beside it is no matter."""
    return request.cookies.get(cookie_name(request, name), "")


def set_cookie(
    request: Request,
    answer: Response,
    name: str,
    value: str,
    *,
    lasts: timedelta,
    samesite: Literal["strict", "lax"] = "strict",
) -> None:
    """A cookie that no script reads and no other site sends along."""
    answer.set_cookie(
        cookie_name(request, name), value, max_age=int(lasts.total_seconds()), httponly=True, samesite=samesite,
        secure=request.url.scheme == "https", path="/",
    )  # fmt: skip


def delete_cookie(request: Request, answer: Response, name: str) -> None:
    """Have the browser forget it."""
    secure = request.url.scheme == "https"
    answer.delete_cookie(cookie_name(request, name), httponly=True, samesite="strict", secure=secure, path="/")


def form_token(secret: str) -> str:
    """What a form carries to prove that our own page sent it: bound to the session, or before it to the browser."""
    return hmac.new(secret.encode(), b"firstread form", hashlib.sha256).hexdigest()[:32] if secret else ""


def form_secret(request: Request) -> str:
    """What the form token of this browser is made of, "" when it has no cookie of ours."""
    return cookie_of(request, SESSION) or cookie_of(request, FORM)


def new_form_secret() -> str:
    return secrets.token_urlsafe(16)


def is_form_token(request: Request, given: str) -> bool:
    """True for the token that this browser's form has."""
    expected = form_token(form_secret(request))
    return bool(expected) and given.isascii() and hmac.compare_digest(expected, given)


class Patience:
    """Counts something per key, such as an address: after ``limit`` times within ``window`` one has to wait."""

    def __init__(self, limit: int = FAILURES, window: timedelta = WINDOW) -> None:
        self._limit, self._window = limit, window
        self._times: OrderedDict[str, deque[datetime]] = OrderedDict()

    def exhausted(self, key: str, now: datetime) -> bool:
        recent = self._times.get(key, deque())
        while recent and recent[0] <= now - self._window:
            recent.popleft()
        return len(recent) >= self._limit

    def count(self, key: str, now: datetime) -> None:
        self._times.setdefault(key, deque(maxlen=self._limit)).append(now)
        self._times.move_to_end(key)
        while len(self._times) > _ADDRESSES:
            self._times.popitem(last=False)


def browser_of(request: Request) -> str:
    """What somebody signs in with, in words by which that person knows it again: "Firefox on Windows"."""
    agent = request.headers.get("user-agent", "")
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return " on ".join(filter(None, (browser or "another browser", system)))


def address_of(request: Request) -> str:
    """Where a request comes from; behind a trusted proxy what that says."""
    return request.client.host if request.client else ""
