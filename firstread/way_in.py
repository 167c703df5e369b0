"""Who can sign in at all: a node that other machines reach does not start as one that nobody can use."""

from __future__ import annotations

from datetime import datetime

from triage.database import Database
from triage.errors import SettingsError
from triage.people import Role
from triage.repositories import api_tokens, users
from triage.settings import Settings
from worklist.asking import sign_in_needed


def ways_in(settings: Settings, database: Database, now: datetime) -> list[str]:
    """The ways to sign in that there are, in words; empty where there is none."""
    with database.read() as session:
        accounts = [user for user in users.listed(session) if not user.disabled and user.subject is None]
        tokens = api_tokens.listed(session)
        usable = [token for token in tokens if token.expires_at is None or token.expires_at > now]
    ways = []
    if accounts:
        admins = sum(user.role is Role.ADMIN for user in accounts)
        ways.append(f"{len(accounts)} accounts ({admins} of administrators)")
    if usable:
        ways.append(f"{len(usable)} tokens")
    return ways + ways_of_settings(settings)


def ways_of_settings(settings: Settings) -> list[str]:
    """Those that no database is needed for."""
    ways = []
    if settings.http_tokens:
        ways.append(f"{len(settings.http_tokens)} tokens of the settings")
    if settings.oidc is not None:
        ways.append(f"the identity provider {settings.oidc.issuer}")
    return ways


def asks(settings: Settings, database: Database) -> bool:
    """True when people have to sign in."""
    if sign_in_needed(settings):
        return True
    with database.read() as session:
        return users.exist(session)


def require_way_in(settings: Settings, database: Database, now: datetime) -> None:
    """Refuse to open the page to the network while nobody can sign in.

    Raises
    ------
    SettingsError
        There is no account, no token and no identity provider.
    """
    if settings.on_loopback or ways_in(settings, database, now):
        return
    raise SettingsError(
        f"bind {settings.bind} is reachable from other machines, and nobody can sign in.",
        next_step="Make the first account: `firstread users add NAME --role admin` (docs/sign-in.md).",
    )
