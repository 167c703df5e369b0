"""Who is asking: a browser by its session, a program by its token, or on a loopback node without accounts anybody.

Every request asks the database anew, so that signing out, disabling an account, another role and a revoked token count
at once on every process; of what an open page fetches by itself it is asked every few seconds.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from fastapi import Request
from sqlalchemy.orm import Session

from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.people import Role, TimeOuts
from triage.repositories import api_tokens, browser_sessions, users
from triage.repositories.browser_sessions import SEEN_EVERY, digest
from worklist.context import Clock
from worklist.permissions import Caller
from worklist.signin import NOBODY_SIGNS_IN, SESSION, Tokens, cookie_of

LOCAL: Final = Caller.with_role(NOBODY_SIGNS_IN, Role.ADMIN)
REMEMBERED: Final = timedelta(minutes=10)
"""How long a caller stays known while the database is away, for looking only: nothing can be changed then anyway."""
LOOKED_UP: Final = timedelta(seconds=5)
"""How long an open page may go on refreshing itself before it is asked anew whose it is; as for its event stream."""
_MOST: Final = 1000
_BY_ITSELF: Final = re.compile(r"/fragment/.*|.*/events")
"""What a page asks for without a person's doing; it keeps nobody signed in."""

log = get_logger(__name__)


@dataclass
class Callers:
    """Looks up who is asking.

    Parameters
    ----------
    always : bool
        The settings alone make everybody sign in.
    """

    database: Database
    tokens: Tokens
    clock: Clock
    limits: TimeOuts
    always: bool
    _known: OrderedDict[str, tuple[Caller, datetime]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, request: Request) -> Caller | None:
        """The caller; None for a stranger. Blocks: it asks the database.

        Raises
        ------
        DatabaseUnavailableError
            It did not answer, and the caller was not known shortly before.
        """
        now, (kind, secret) = self.clock(), _credential(request)
        if kind == "bearer" and (owner := self.tokens.owner(secret)) is not None:
            return self._of_settings(owner)
        key = f"{kind}:{digest(secret)}"
        try:
            with self.database.look() as session:
                caller = self._look(session, request, kind, secret, now)
        except DatabaseUnavailableError:
            known = self._known.get(key)
            if known is None or now >= known[1] or request.method not in ("GET", "HEAD"):
                raise
            return known[0]
        self._remember(key, caller, now)
        return caller

    def lately(self, request: Request) -> Caller | None:
        """Who was asking for the parts of this page :data:`LOOKED_UP` ago at most; None for all other requests.

        Two hundred open pages ask for their list after each change. Does not block.
        """
        if request.method != "GET" or not request.scope["path"].startswith("/fragment/"):
            return None
        kind, secret = _credential(request)
        known = self._known.get(f"{kind}:{digest(secret)}")
        if known is None:
            return None
        since = self.clock() - (known[1] - REMEMBERED)
        return known[0] if timedelta(0) <= since < LOOKED_UP else None

    def _look(self, session: Session, request: Request, kind: str, secret: str, now: datetime) -> Caller | None:
        if not self.always and not users.exist(session):
            return LOCAL
        if kind == "bearer":
            token = api_tokens.find(session, secret, at=now)
            if token is None:
                return None
            if api_tokens.is_due(token.last_used_at, at=now):
                self._note(lambda writing: api_tokens.used(writing, token, at=now))
            return Caller.with_scopes(f"token:{token.name}", api_tokens.scopes_of(token))
        row = browser_sessions.find(session, secret, at=now, limits=self.limits) if secret else None
        if row is None:
            return None
        if now >= row.seen_at + SEEN_EVERY and not _BY_ITSELF.fullmatch(request.scope["path"]):
            self._note(lambda writing: browser_sessions.seen(writing, row, at=now))
        if row.user is not None:
            return Caller.with_role(row.user.name, row.user.role, display_name=row.user.display_name)
        owner = self.tokens.owner_of_digest(row.settings_token)
        return None if owner is None else _administrator(session, owner)

    def _of_settings(self, owner: str) -> Caller:
        """Also while the database is away: then nothing is audited."""
        try:
            with self.database.look() as session:
                return _administrator(session, owner)
        except DatabaseUnavailableError:
            return Caller.with_role(owner, Role.ADMIN)

    def _note(self, change: Callable[[Session], None]) -> None:
        try:
            with self.database.write() as session:
                change(session)
        except DatabaseUnavailableError:  # it is noted at the next request
            log.warning("sign_in_activity_not_noted")

    def _remember(self, key: str, caller: Caller | None, now: datetime) -> None:
        with self._lock:
            self._known.pop(key, None)
            if caller is not None:
                self._known[key] = (caller, now + REMEMBERED)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)


def _administrator(session: Session, owner: str) -> Caller:
    """Whoever has a token of the settings; where an account had its name before, the audit trail tells them apart."""
    taken = users.find(session, owner) is not None
    return Caller.with_role(f"settings token:{owner}" if taken else owner, Role.ADMIN)


def _credential(request: Request) -> tuple[str, str]:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return "bearer", token.strip()
    return "cookie", cookie_of(request, SESSION)
