"""What the HTTP destinations have in common: who we are there, whom we trust, how long we wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Protocol

from dicom_node.http_peer import Credentials, HttpAnswer, HttpPeer, Patience
from triage.addresses import DestinationAddress
from triage.peers import Destination
from triage.secret_files import read_secret
from triage.settings import Settings

PATIENCE: Final = Patience()
CHECKING: Final = Patience(connect=5.0, silence=5.0, exchange=5.0)


class WebAccount(Protocol):
    """Where a server is and who we are there: a destination, a task manager."""

    @property
    def where(self) -> DestinationAddress: ...

    @property
    def user(self) -> str: ...

    @property
    def password_file(self) -> Path | None: ...

    @property
    def token_file(self) -> Path | None: ...

    @property
    def trusted_file(self) -> Path | None: ...


def peer_of(settings: Settings, account: WebAccount, patience: Patience) -> HttpPeer:
    """The server at a URL; secrets are read now, so that a renewed one counts at once.

    Raises
    ------
    SettingsError
        A file with a token, a password or certificates cannot be used.
    """
    token = read_secret(account.token_file) if account.token_file else ""
    password = read_secret(account.password_file) if account.password_file else ""
    return HttpPeer(
        account.where.url,
        credentials=Credentials(token=token, user=account.user, password=password),
        trusted=account.trusted_file or settings.dicom_tls_trusted,
        patience=patience,
    )


def base_path(destination: Destination) -> str:
    """What to ask for to reach the URL itself: a server's root has a slash of its own."""
    return "" if destination.where.url.count("/") > 2 else "/"


def later(answer: HttpAnswer, now: datetime) -> timedelta | None:
    """For how long a server asks to be left alone (Retry-After, RFC 9110 10.2.3); None where it does not say."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return timedelta(seconds=int(text[:9]))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(at.replace(tzinfo=at.tzinfo or UTC) - now, timedelta(0))
