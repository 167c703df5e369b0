"""Signed-in browsers: rows, so that signing out ends a session on every process at once.

Only digests are kept, and the provider's ID token for signing out there.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from triage.errors import NotFoundError
from triage.people import TimeOuts
from triage.repositories import audit
from triage.tables import BrowserSession, User

SEEN_EVERY: Final = timedelta(minutes=1)
"""How exactly the last activity is known: a write per minute and browser, not per request."""
MOST_OF_ONE: Final = 20
"""Browsers that one person is signed in with; the one unseen for longest is signed out."""
MOST_LISTED: Final = 1000


def digest(secret: str) -> str:
    """SHA-256 of a cookie or token. Both are 256 random bits: nothing slower is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def public_id(row: BrowserSession) -> str:
    """What a session is called in pages and programs; neither its cookie nor its row's key can be made of it."""
    return hashlib.sha256(f"session {row.digest}".encode()).hexdigest()[:16]


def begin(
    session: Session, *, at: datetime, user: User | None, settings_token: str = "", name: str = "", id_token: str = "",
    address: str = "", browser: str = "",
) -> str:  # fmt: skip
    """Sign somebody in; the secret for the cookie, which nobody can read from the rows.

    Always a new one, whatever cookie the browser had: nobody can be given a session to sign in with.

    Parameters
    ----------
    user : User or None
        None for a token of the settings, whose digest is ``settings_token``.
    name : str
        Who signed in, for the audit trail.
    address, browser : str
        By which a person recognises this session among others.
    """
    secret = secrets.token_urlsafe(32)
    if user is not None:
        kept = (
            sa.select(BrowserSession.digest)
            .where(BrowserSession.user_id == user.id)
            .order_by(BrowserSession.seen_at.desc())
            .limit(MOST_OF_ONE - 1)
        )
        session.execute(
            sa.delete(BrowserSession)
            .where(BrowserSession.user_id == user.id, BrowserSession.digest.not_in(kept.scalar_subquery()))
            .execution_options(synchronize_session=False)
        )
        user.last_sign_in_at = at
    row = BrowserSession(
        digest=digest(secret), user_id=user.id if user else None, settings_token=settings_token, began_at=at,
        seen_at=at, id_token=id_token, address=address, browser=browser,
    )  # fmt: skip
    session.add(row)
    audit.record(
        session, at=at, who=user.name if user else name, action="signed_in",
        subject=f"user:{user.name}" if user else f"settings token:{name}", before=None, after=None,
    )  # fmt: skip
    return secret


def find(session: Session, secret: str, *, at: datetime, limits: TimeOuts) -> BrowserSession | None:
    """The session of a cookie, with its user; None when it ended, timed out or the account is disabled."""
    row = session.get(BrowserSession, digest(secret), options=[joinedload(BrowserSession.user)])
    if row is None or at >= row.seen_at + limits.idle or at >= row.began_at + limits.absolute:
        return None
    return None if row.user is not None and row.user.disabled else row


def seen(session: Session, row: BrowserSession, *, at: datetime) -> None:
    """Somebody is there. No row comes to life again that was ended meanwhile."""
    session.execute(
        sa.update(BrowserSession)
        .where(BrowserSession.digest == row.digest, BrowserSession.seen_at < at)
        .values(seen_at=at)
        .execution_options(synchronize_session=False)
    )


def end(session: Session, secret: str, *, at: datetime, who: str) -> str:
    """Sign out; the ID token of the identity provider, "" when there is none."""
    row = session.get(BrowserSession, digest(secret))
    if row is None:
        return ""
    id_token = row.id_token
    session.delete(row)
    audit.record(session, at=at, who=who, action="signed_out", subject=f"user:{who}", before=None, after=None)
    return id_token


def listed(
    session: Session, *, at: datetime, limits: TimeOuts, like: BrowserSession | None = None
) -> Sequence[BrowserSession]:
    """Sessions that count, with their users, the one used last first; ``like``: of the same person only. At most
    :data:`MOST_LISTED`.
    """
    query = (
        sa.select(BrowserSession)
        .options(joinedload(BrowserSession.user))
        .where(BrowserSession.seen_at > at - limits.idle, BrowserSession.began_at > at - limits.absolute)
        .order_by(BrowserSession.seen_at.desc(), BrowserSession.digest)
        .limit(MOST_LISTED)
    )
    if like is not None:
        query = query.where(
            BrowserSession.user_id.is_not_distinct_from(like.user_id),
            BrowserSession.settings_token == like.settings_token,
        )
    return session.scalars(query).all()


def end_one(session: Session, row: BrowserSession, *, of: str, at: datetime, who: str) -> None:
    """Sign a browser out from elsewhere: at its next request, its live page within seconds.

    Parameters
    ----------
    of : str
        Whose session it is.
    who : str
        Who ends it, for the audit trail.
    """
    before = {"began_at": f"{row.began_at:%Y-%m-%dT%H:%M:%SZ}", "address": row.address, "browser": row.browser}
    session.delete(row)
    audit.record(session, at=at, who=who, action="session_ended", subject=f"user:{of}", before=before, after=None)


def chosen(rows: Sequence[BrowserSession], asked: str) -> BrowserSession:
    """The one with this :func:`public_id`.

    Raises
    ------
    NotFoundError
        None has it, or it has ended meanwhile.
    """
    row = next((row for row in rows if public_id(row) == asked), None)
    if row is None:
        raise NotFoundError("There is no such session; it may have ended.", next_step="Reload the list.")
    return row


def forget_ended(session: Session, *, at: datetime, limits: TimeOuts) -> None:
    """Delete what has timed out."""
    session.execute(
        sa.delete(BrowserSession)
        .where(sa.or_(BrowserSession.seen_at <= at - limits.idle, BrowserSession.began_at <= at - limits.absolute))
        .execution_options(synchronize_session=False)
    )
