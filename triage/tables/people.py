"""Who may use page and API: accounts, the browsers they are signed in with, and tokens of programs.

No secret can be read from these rows: passwords are Argon2id hashes, cookies and tokens stand as SHA-256 of 256 random
bits.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.columns import Base
from triage.people import Role


class User(Base):
    """A person: with a password here, or known to the identity provider."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    """As it stands in the audit trail."""
    name_key: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str] = mapped_column(default="")
    role: Mapped[Role]
    password_hash: Mapped[str] = mapped_column(default="")
    """Argon2id; "" for a person of the identity provider."""
    issuer: Mapped[str] = mapped_column(default="")
    subject: Mapped[str | None]
    """`iss` and `sub` of a person of the identity provider: who that is, whatever the name becomes."""
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    password_changed_at: Mapped[datetime | None]
    last_sign_in_at: Mapped[datetime | None]

    browsers: Mapped[list[BrowserSession]] = relationship(back_populates="user", cascade="all, delete-orphan")

    __table_args__ = (UniqueConstraint("issuer", "subject"),)


class BrowserSession(Base):
    """A browser that somebody is signed in with, from sign-in to sign-out or time-out."""

    __tablename__ = "browser_sessions"

    digest: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of the cookie."""
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    settings_token: Mapped[str] = mapped_column(default="")
    """SHA-256 of the token of the settings that was signed in with, "" for a user's session."""
    began_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(index=True)
    """The last time that a person did something, to the minute."""
    address: Mapped[str] = mapped_column(default="")
    """Where it signed in from."""
    browser: Mapped[str] = mapped_column(default="")
    """What it is, in words: "Firefox on Windows"."""
    id_token: Mapped[str] = mapped_column(default="")
    """What the identity provider wants to see again when the person signs out there."""

    user: Mapped[User | None] = relationship(back_populates="browsers")


class ApiToken(Base):
    """A program's token."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(unique=True)
    """SHA-256 of the token."""
    prefix: Mapped[str]
    """Its first characters, by which a person recognises it."""
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute."""
    revoked_at: Mapped[datetime | None]
