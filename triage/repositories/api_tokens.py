"""Tokens of programs: shown once, kept as SHA-256, limited by scope and time."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from triage.errors import IdentifierError, NotFoundError, StateError
from triage.people import LONGEST_NAME, Scope
from triage.repositories import audit
from triage.repositories.browser_sessions import SEEN_EVERY, digest
from triage.tables import ApiToken

MARK: Final = "frd_"
"""What each begins with, so that secret scanners and people recognise it."""
PREFIX_LENGTH: Final = 10
LONGEST_LIFE: Final = timedelta(days=3660)
_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


def listed(session: Session, *, revoked: bool = False) -> Sequence[ApiToken]:
    """By name, newest first where a name was used again; ``revoked``: also those that are."""
    query = sa.select(ApiToken).order_by(ApiToken.name, ApiToken.id.desc())
    return session.scalars(query if revoked else query.where(ApiToken.revoked_at.is_(None))).all()


def add(
    session: Session, name: str, scopes: Collection[Scope], *, expires_at: datetime | None, at: datetime, who: str
) -> tuple[ApiToken, str]:
    """A token and its secret, which is not to be had again.

    Raises
    ------
    IdentifierError
        The name is none, there is no scope, or it ends in the past.
    StateError
        A token of this name is in use.
    """
    if not _NAME.fullmatch(name):
        raise IdentifierError(
            "name: not one of a token.", next_step="Take letters, digits and . - _, such as pacs-export."
        )
    if not scopes:
        raise IdentifierError("scopes: none given.", next_step=f"Name at least one of {', '.join(Scope)}.")
    if expires_at is not None and not at < expires_at <= at + LONGEST_LIFE:
        raise IdentifierError("expires: not within the next ten years.", next_step="Take for instance 90d.")
    named = session.scalar(sa.select(ApiToken).where(ApiToken.name == name).with_for_update())
    if named is not None:
        raise StateError(
            "There is, or was, a token of this name.",
            next_step="Take another name, so that the audit trail tells both.",
        )
    secret = MARK + secrets.token_urlsafe(32)
    token = ApiToken(
        name=name, digest=digest(secret), prefix=secret[:PREFIX_LENGTH], scopes=sorted(set(scopes)), created_at=at,
        created_by=who, expires_at=expires_at,
    )  # fmt: skip
    session.add(token)
    _claim_name(session)
    _record(session, token, "token_added", at=at, who=who, before=None, after=described(token))
    return token, secret


def revoke(session: Session, name: str, *, at: datetime, who: str) -> ApiToken:
    """End a token at once.

    Raises
    ------
    NotFoundError
        No token of this name is in use.
    """
    token = session.scalar(
        sa.select(ApiToken).where(ApiToken.name == name, ApiToken.revoked_at.is_(None)).with_for_update()
    )
    if token is None:
        raise NotFoundError("No token of this name is in use.", next_step="`firstread tokens list` shows all.")
    before = described(token)
    token.revoked_at = at
    _record(session, token, "token_revoked", at=at, who=who, before=before, after=described(token))
    return token


def find(session: Session, secret: str, *, at: datetime) -> ApiToken | None:
    """Whose token this is; None when it is not known, revoked or over."""
    if not secret.startswith(MARK):
        return None
    token = session.scalar(sa.select(ApiToken).where(ApiToken.digest == digest(secret)))
    if token is None or token.revoked_at is not None:
        return None
    return None if token.expires_at is not None and at >= token.expires_at else token


def exist(session: Session, *, at: datetime) -> bool:
    """True when a token can be used."""
    usable = sa.select(ApiToken.id).where(
        ApiToken.revoked_at.is_(None), sa.or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > at)
    )
    return session.scalar(usable.limit(1)) is not None


def used(session: Session, token: ApiToken, *, at: datetime) -> None:
    """Note the use."""
    session.execute(
        sa.update(ApiToken)
        .where(ApiToken.id == token.id)
        .values(last_used_at=at)
        .execution_options(synchronize_session=False)
    )


def is_due(last: datetime | None, *, at: datetime) -> bool:
    """True when the last use is to be noted again."""
    return last is None or at >= last + SEEN_EVERY


def scopes_of(token: ApiToken) -> frozenset[Scope]:
    """What it may be used for; a scope that this version does not know gives nothing."""
    return frozenset(Scope(scope) for scope in token.scopes if scope in set(Scope))


def described(token: ApiToken) -> dict[str, Any]:
    """A token for the audit trail, without its secret."""
    return {
        "name": token.name,
        "prefix": token.prefix,
        "scopes": list(token.scopes),
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        "revoked": token.revoked_at is not None,
    }


def _claim_name(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError:  # two at once
        raise StateError("Somebody took this name at this moment.", next_step="Take another name.") from None


def _record(
    session: Session, token: ApiToken, action: str, *, at: datetime, who: str, before: Any, after: dict[str, Any]
) -> None:
    audit.record(session, at=at, who=who, action=action, subject=f"token:{token.name}", before=before, after=after)
