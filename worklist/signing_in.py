"""Signing in with a password or a token of the settings: who it is, how often one may try, and what is written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
from starlette.concurrency import run_in_threadpool

from triage.database import Database
from triage.errors import IdentifierError, StateError
from triage.passwords import Passwords, check_password
from triage.people import LONGEST_NAME, TimeOuts
from triage.repositories import audit, browser_sessions, users
from triage.repositories.browser_sessions import digest
from triage.tables import User
from worklist.context import Clock
from worklist.signin import (
    ACCOUNT_FAILURES,
    ACCOUNT_WINDOW,
    FAILURES,
    SIGN_INS,
    Patience,
    Tokens,
    TooManyTriesError,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
HASHES_AT_ONCE: Final = 2
"""Each takes 64 MiB and 0.2 s of a core: whoever floods the door must not slow down the list."""
MOST_WAITING: Final = 20
STRANGER: Final = "nobody"
"""Who stands in the audit trail with an attempt that failed."""


@dataclass
class SignIn:
    """The door: one for all routes of a process."""

    database: Database
    tokens: Tokens
    clock: Clock
    limits: TimeOuts
    passwords: Passwords = field(default_factory=Passwords)
    _failures: Patience = field(default_factory=lambda: Patience(FAILURES))
    _tries: Patience = field(default_factory=lambda: Patience(SIGN_INS))
    _account_failures: Patience = field(default_factory=lambda: Patience(ACCOUNT_FAILURES, ACCOUNT_WINDOW))
    _at_home: set[tuple[int, str]] = field(default_factory=set)
    """Account and address of sign-ins that succeeded: there a guessing stranger elsewhere locks nobody out."""
    _hashing: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(HASHES_AT_ONCE))

    def admit(self, address: str) -> None:
        """Count a try.

        Raises
        ------
        TooManyTriesError
            This address has to wait.
        """
        now = self.clock()
        if self._failures.exhausted(address, now) or self._tries.exhausted(address, now):
            raise TooManyTriesError("Too many sign-ins from this address; wait a minute.")
        self._tries.count(address, now)

    async def with_token(self, token: str, address: str, browser: str = "") -> str | None:
        """The secret of a new session for the owner of a token of the settings; None when there is none.

        Raises
        ------
        TooManyTriesError
            This address has to wait.
        """
        self.admit(address)
        owner = self.tokens.owner(token)
        if owner is None:
            await self.fail(address, "a token", None)
            return None

        def begin() -> str:
            with self.database.write() as session:
                return browser_sessions.begin(
                    session, at=self.clock(), user=None, settings_token=digest(token), name=owner, address=address,
                    browser=browser,
                )  # fmt: skip

        return await run_in_threadpool(begin)

    async def with_password(self, name: str, password: str, address: str, browser: str = "") -> str | None:
        """The secret of a new session for a local account; None for a wrong name or password, whichever.

        Raises
        ------
        TooManyTriesError
            This address has to wait, or this account is being guessed at from all over.
        """
        self.admit(address)
        user = await run_in_threadpool(self._find, name)
        elsewhere = user is not None and (user.id, address) not in self._at_home
        if user is not None and elsewhere and self._account_failures.exhausted(str(user.id), self.clock()):
            raise TooManyTriesError(
                "Too many wrong passwords for this account.",
                next_step="Sign in where you did so before, wait an hour, or ask an administrator.",
            )
        known = user.password_hash if user is not None and not user.disabled else ""
        if not await self._matches(known, password) or user is None:
            await self.fail(address, "a password", user)
            return None
        secret = await run_in_threadpool(self._begin, user, password, address, browser)
        if secret is not None:
            self._at_home.add((user.id, address))
        return secret

    async def change_password(self, name: str, current: str, new: str, *, address: str, session_secret: str) -> bool:
        """Change one's own password; False when the current one is wrong. Other browsers are signed out.

        Raises
        ------
        IdentifierError
            The new one is too easy.
        StateError
            The account has no password here.
        TooManyTriesError
            This address has to wait.
        """
        self.admit(address)
        user = await run_in_threadpool(self._find, name)
        if user is None or user.subject is not None:
            raise StateError("This account has no password here.", next_step="Change it where you sign in.")
        if not await self._matches(user.password_hash, current):
            await self.fail(address, "a password", user)
            return False
        check_password(new, name=user.name)
        if current == new:
            raise IdentifierError("password: the same as before.", next_step="Take another one.")
        hashed = await self._in_turn(self.passwords.hash, new)

        def store() -> None:
            with self.database.write() as session:
                row = users.by_name(session, name)
                if row.disabled or row.password_hash != user.password_hash:
                    raise StateError("The account has changed meanwhile.", next_step="Sign in again.")
                users.set_password(
                    session, row, hashed, at=self.clock(), who=row.name, keep_session=digest(session_secret)
                )

        await run_in_threadpool(store)
        return True

    async def hash(self, password: str) -> str:
        """The hash of a new password, when its turn comes.

        Raises
        ------
        TooManyTriesError
            Too many wait already.
        """
        return await self._in_turn(self.passwords.hash, password)

    async def _matches(self, password_hash: str, password: str) -> bool:
        return await self._in_turn(self.passwords.matches, password_hash, password)

    async def _in_turn(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._hashing.statistics().tasks_waiting >= MOST_WAITING:
            raise TooManyTriesError("Too many people sign in at this moment.")
        return await anyio.to_thread.run_sync(work, *args, limiter=self._hashing)

    async def fail(self, address: str, what: str, user: User | None) -> None:
        """Count and write down an attempt that failed, with whatever it was."""
        now = self.clock()
        self._failures.count(address, now)
        if user is not None:
            self._account_failures.count(str(user.id), now)

        def note() -> None:
            subject = (
                f"user:{user.name}" if user is not None else "user:?"
            )  # never what was typed: it may be a password
            with self.database.write() as session:
                audit.record(
                    session, at=now, who=STRANGER, action="sign_in_failed", subject=subject, before=None,
                    after={"with": what, "address": address},
                )  # fmt: skip

        await run_in_threadpool(note)

    def _find(self, name: str) -> User | None:
        with self.database.look() as session:
            return users.find(session, name[: 4 * LONGEST_NAME].strip())

    def _begin(self, known: User, password: str, address: str, browser: str) -> str | None:
        """A session, unless the account has changed since its password was compared."""
        now = self.clock()
        with self.database.write() as session:
            browser_sessions.forget_ended(session, at=now, limits=self.limits)
            user = users.find(session, known.name)
            if user is None or user.disabled or user.password_hash != known.password_hash:
                return None
            if self.passwords.is_outdated(user.password_hash):
                user.password_hash = self.passwords.hash(password)
            return browser_sessions.begin(session, at=now, user=user, address=address, browser=browser)
