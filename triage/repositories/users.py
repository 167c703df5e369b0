"""Accounts of people. Each change ends the sessions that it must end, and stands in the audit trail."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from triage.errors import NotFoundError, StateError
from triage.people import Role, display_name, name_key, user_name
from triage.repositories import audit
from triage.tables import BrowserSession, User


def exist(session: Session) -> bool:
    """True when there is an account, also one of the identity provider."""
    session.flush()
    return session.connection().execute(_ANY).first() is not None


_ANY: Final = sa.select(User.__table__.c.id).limit(1)


def listed(session: Session) -> Sequence[User]:
    """All, by name."""
    return session.scalars(sa.select(User).order_by(User.name_key)).all()


def find(session: Session, name: str) -> User | None:
    """Whose name this is, in whatever spelling."""
    return session.scalar(sa.select(User).where(User.name_key == name_key(name)))


def by_name(session: Session, name: str) -> User:
    """The account, locked for a change.

    Raises
    ------
    NotFoundError
        There is none of this name.
    """
    user = session.scalar(sa.select(User).where(User.name_key == name_key(name)).with_for_update())
    if user is None:
        raise NotFoundError("There is no account of this name.", next_step="`firstread users list` shows all.")
    return user


def add(
    session: Session, name: str, role: Role, password_hash: str, *, at: datetime, who: str, shown_as: str = "",
    taken: Collection[str] = (),
) -> User:  # fmt: skip
    """A local account.

    Parameters
    ----------
    taken : collection of str
        Names that nobody may have, because tokens of the settings have them.

    Raises
    ------
    IdentifierError
        The name is none.
    StateError
        Somebody has this name.
    """
    name = user_name(name)
    _require_free(name, taken)
    if find(session, name) is not None:
        raise StateError("Somebody has this name already.", next_step="Take another name.")
    user = User(
        name=name, name_key=name_key(name), display_name=display_name(shown_as), role=role,
        password_hash=password_hash, created_at=at, password_changed_at=at,
    )  # fmt: skip
    session.add(user)
    _claim_name(session)
    _record(session, user, "user_added", at=at, who=who, before=None, after=described(user))
    return user


def set_role(session: Session, user: User, role: Role, *, at: datetime, who: str) -> None:
    """Give another role; its sessions end, so that every page is loaded anew as what it is now.

    Raises
    ------
    StateError
        Nobody could administer any more, or the identity provider decides the role.
    """
    if user.role is role:
        return
    if user.subject is not None:
        raise StateError(
            "The identity provider decides the role of this account.",
            next_step="Change the person's group there; it counts from the next sign-in on.",
        )
    _keep_an_administrator(session, user)
    before = described(user)
    user.role = role
    end_sessions(session, user)
    _record(session, user, "user_role_changed", at=at, who=who, before=before, after=described(user))


def set_disabled(session: Session, user: User, disabled: bool, *, at: datetime, who: str) -> None:
    """Shut out, or let in again. Sessions end at once.

    Raises
    ------
    StateError
        Nobody could administer any more.
    """
    if user.disabled is disabled:
        return
    if disabled:
        _keep_an_administrator(session, user)
    before = described(user)
    user.disabled = disabled
    end_sessions(session, user)
    action = "user_disabled" if disabled else "user_enabled"
    _record(session, user, action, at=at, who=who, before=before, after=described(user))


def set_display_name(session: Session, user: User, shown_as: str, *, at: datetime, who: str) -> None:
    """What people call this person.

    Raises
    ------
    IdentifierError
        Not one printable line.
    """
    before = described(user)
    user.display_name = display_name(shown_as)
    if described(user) != before:
        _record(session, user, "user_renamed", at=at, who=who, before=before, after=described(user))


def set_password(
    session: Session, user: User, password_hash: str, *, at: datetime, who: str, keep_session: str = ""
) -> None:
    """Another password. All sessions end but ``keep_session``, a digest: that of the person who has just changed it.

    Raises
    ------
    StateError
        The account is the identity provider's.
    """
    if user.subject is not None:
        raise StateError(
            "The identity provider keeps the password of this account.", next_step="Change the password there."
        )
    user.password_hash, user.password_changed_at = password_hash, at
    end_sessions(session, user, but=keep_session)
    _record(session, user, "user_password_changed", at=at, who=who, before=None, after=None)


def remove(session: Session, user: User, *, at: datetime, who: str, may_be_last: bool = False) -> None:
    """Take an account away. What the person did stays in the audit trail, under the name.

    Parameters
    ----------
    may_be_last : bool
        For the command line, which needs nobody to sign in.

    Raises
    ------
    StateError
        Nobody could administer any more.
    """
    if not may_be_last:
        _keep_an_administrator(session, user)
    _record(session, user, "user_removed", at=at, who=who, before=described(user), after=None)
    session.delete(user)


def know(
    session: Session, issuer: str, subject: str, name: str, role: Role, *, at: datetime, shown_as: str = "",
    taken: Collection[str] = (),
) -> User:  # fmt: skip
    """The account of somebody whom the identity provider vouches for, made at the first sign-in and kept up to date.

    Raises
    ------
    IdentifierError
        The name that the provider gives is none.
    StateError
        The name belongs to another account, or to a token of the settings (``taken``): nobody becomes somebody else
        by choosing a name.
    """
    name, shown_as = user_name(name), display_name(shown_as)
    _require_free(name, taken)
    user = session.scalar(sa.select(User).where(User.issuer == issuer, User.subject == subject).with_for_update())
    named = find(session, name)
    if named is not None and named is not user:
        raise StateError(
            "Another account has the name that the identity provider gives.",
            next_step="An administrator removes or renames one of them: `firstread users list`.",
        )
    if user is None:
        user = User(
            name=name, name_key=name_key(name), display_name=shown_as, role=role, issuer=issuer, subject=subject,
            created_at=at,
        )  # fmt: skip
        session.add(user)
        _claim_name(session)
        _record(session, user, "user_added", at=at, who=name, before=None, after=described(user))
        return user
    before = described(user)
    user.name, user.name_key, user.display_name = name, name_key(name), shown_as
    if user.role is not role:
        user.role = role
        end_sessions(session, user)
    if described(user) != before:
        _record(session, user, "user_changed_by_provider", at=at, who=name, before=before, after=described(user))
    return user


def end_sessions(session: Session, user: User, *, but: str = "") -> None:
    """Sign out everywhere, at once and on every `serve` process."""
    session.execute(
        sa.delete(BrowserSession)
        .where(BrowserSession.user_id == user.id, BrowserSession.digest != but)
        .execution_options(synchronize_session="fetch")
    )


def described(user: User) -> dict[str, Any]:
    """An account for the audit trail and for programs, without its secret."""
    return {
        "name": user.name,
        "display_name": user.display_name,
        "role": user.role.value,
        "disabled": user.disabled,
        "from": "identity provider" if user.subject is not None else "here",
    }


def _keep_an_administrator(session: Session, user: User) -> None:
    """Of the local ones: they get in also while the identity provider is away."""
    if user.role is not Role.ADMIN or user.disabled or user.subject is not None:
        return
    others = sa.select(User.id).where(
        User.role == Role.ADMIN, User.disabled.is_(False), User.subject.is_(None), User.id != user.id
    )
    if session.scalars(others.order_by(User.id).with_for_update()).first() is None:  # two may be at it at once
        raise StateError(
            "This is the last local administrator: nobody could administer any more.",
            next_step="Make another administrator first.",
        )


def _require_free(name: str, taken: Collection[str]) -> None:
    if name_key(name) in map(name_key, taken):
        raise StateError(
            "A token of the settings has this name: the audit trail could not tell them apart.",
            next_step="Take another name, or give the token another one (http_tokens).",
        )


def _claim_name(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError:  # two at once
        raise StateError("Somebody took this name at this moment.", next_step="Take another name.") from None


def _record(
    session: Session, user: User, action: str, *, at: datetime, who: str, before: Any, after: dict[str, Any] | None
) -> None:
    audit.record(session, at=at, who=who, action=action, subject=f"user:{user.name}", before=before, after=after)
