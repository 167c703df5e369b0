"""Who is asking: tokens from the settings, as a Bearer header for programs or a signed cookie for people.

The cookie holds name, expiry and an HMAC keyed with that person's token. So nothing is stored, every `serve` process
accepts it, and taking a token out of the settings ends its sessions at once.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie
from typing import Final

from triage.settings import Settings

COOKIE: Final = "firstread_session"
LIFETIME: Final = timedelta(hours=12)
NOBODY_SIGNS_IN: Final = "local"
"""Name in the audit trail on a node that only this machine reaches."""

FAILURES: Final = 10
"""Wrong tokens of one address within :data:`WINDOW`."""
SIGN_INS: Final = 60
"""Sign-ins of one address within :data:`WINDOW`, also right ones: a reading room behind one proxy stays below."""
WINDOW: Final = timedelta(minutes=1)
_ADDRESSES: Final = 1000


def sign_in_needed(settings: Settings) -> bool:
    """Everywhere but on a loopback node without tokens (behind a proxy on this machine, tokens make it ask)."""
    return not settings.on_loopback or bool(settings.http_tokens)


class Tokens:
    """The people and programs of the settings.

    Parameters
    ----------
    pairs : iterable of str
        ``name:token`` as in :attr:`triage.settings.Settings.http_tokens`.
    """

    def __init__(self, pairs: Iterable[str]) -> None:
        self._secrets = {name: secret for name, _, secret in (pair.partition(":") for pair in pairs)}

    def owner(self, token: str) -> str | None:
        """Whose token this is. Every token is compared, in constant time each."""
        owner = None
        for name, secret in self._secrets.items():
            if hmac.compare_digest(_digest(secret), _digest(token)):
                owner = name
        return owner

    def cookie(self, name: str, now: datetime) -> str:
        """A cookie value for a signed-in person, good for :data:`LIFETIME`."""
        expires = int((now + LIFETIME).timestamp())
        return f"{urlsafe_b64encode(name.encode()).decode()}.{expires}.{self._signature(name, expires)}"

    def cookie_owner(self, value: str, now: datetime) -> str | None:
        """Whose cookie this is; None when it is forged, expired or of somebody no longer listed."""
        try:
            encoded, expiry, signature = value.split(".")
            name, expires = urlsafe_b64decode(encoded).decode(), int(expiry)
        except (ValueError, Base64Error):
            return None
        if name not in self._secrets or expires <= now.timestamp() or not signature.isascii():
            return None
        return name if hmac.compare_digest(signature, self._signature(name, expires)) else None

    def _signature(self, name: str, expires: int) -> str:
        key = self._secrets[name].encode()
        return hmac.new(key, f"firstread session\0{name}\0{expires}".encode(), hashlib.sha256).hexdigest()


def cookie_value(header: str) -> str:
    """Our cookie out of a Cookie header, "" when there is none or the header is not well-formed."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


class Patience:
    """Counts something per address: after ``limit`` times within :data:`WINDOW` an address has to wait."""

    def __init__(self, limit: int = FAILURES) -> None:
        self._limit = limit
        self._times: OrderedDict[str, deque[datetime]] = OrderedDict()

    def exhausted(self, address: str, now: datetime) -> bool:
        recent = self._times.get(address, deque())
        while recent and recent[0] <= now - WINDOW:
            recent.popleft()
        return len(recent) >= self._limit

    def count(self, address: str, now: datetime) -> None:
        self._times.setdefault(address, deque(maxlen=self._limit)).append(now)
        self._times.move_to_end(address)
        while len(self._times) > _ADDRESSES:
            self._times.popitem(last=False)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
