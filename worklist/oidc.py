"""The hospital's identity provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636, S256).

Nothing is asked of it before somebody signs in that way. An ID token is believed when one of the provider's published
keys signed it, with an asymmetric algorithm, for us, now, and as the answer to this very sign-in (its nonce).
"""

from __future__ import annotations

import json
import math
import secrets
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session
from fastapi import Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from triage.errors import SettingsError
from triage.identifiers import is_loopback
from triage.identity_provider import IdentityProvider, claim
from triage.logging import get_logger
from triage.people import Role
from triage.secret_files import read_secret
from worklist.context import Clock
from worklist.oidc_requests import Bounded, IdentityProviderError, SignInRefusedError, away, read_json, redeem

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that are believed; "none" and those with a shared secret never."""
CALLBACK: Final = "/sign-in/oidc/callback"
BEGUN_LASTS: Final = timedelta(minutes=10)
"""From leaving for the provider to coming back."""
LEEWAY: Final = timedelta(seconds=60)
"""How far its clock and ours may differ."""
DESCRIPTION_LASTS: Final = timedelta(hours=1)
KEYS_ASKED_EVERY: Final = timedelta(minutes=1)
"""A key that is not known has them fetched anew, so rarely that nobody can make us flood the provider."""
CLOCKS_DIFFER: Final = (
    "Begin again at /sign-in; if it stays so, the clocks of the identity provider and of firstread differ: "
    "`firstread doctor` compares them."
)
_OF_THE_CLOCK: Final = frozenset({"expiry", "time of issue", "begin"})
_LONGEST_ID_TOKEN: Final = 8192

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A sign-in that has left for the provider; kept in that browser's cookie until it comes back."""

    state: str
    nonce: str
    verifier: str
    target: str
    at: int

    @classmethod
    def new(cls, target: str, now: datetime) -> Begun:
        return cls(
            state=secrets.token_urlsafe(32), nonce=secrets.token_urlsafe(32), verifier=secrets.token_urlsafe(48),
            target=target, at=int(now.timestamp()),
        )  # fmt: skip

    def as_cookie(self) -> str:
        return urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def of_cookie(cls, value: str, now: datetime) -> Begun | None:
        """None when there is none, or it is too old or no longer readable."""
        try:
            fields = json.loads(urlsafe_b64decode(value))
            begun = cls(**{name: fields[name] for name in cls.__dataclass_fields__})
            whole = all(isinstance(getattr(begun, name), str) for name in ("state", "nonce", "verifier", "target"))
            age = now.timestamp() - begun.at
        except (ValueError, TypeError, KeyError):
            return None
        return begun if whole and begun.state and begun.nonce and 0 <= age < BEGUN_LASTS.total_seconds() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Somebody whom the provider vouches for."""

    issuer: str
    subject: str
    name: str
    display_name: str
    role: Role
    id_token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What the provider says about itself (OpenID Connect Discovery 1.0, 3)."""

    authorization: str
    token: str
    keys: str
    userinfo: str
    end_session: str
    basic: bool
    """It takes the client's secret as HTTP basic authentication (its default), not in the body."""


class Provider:
    """One identity provider. Every method but :meth:`sign_out_url` may ask the network and blocks.

    Parameters
    ----------
    settings : IdentityProvider
        From the table ``[oidc]``.
    clock : callable
        Now, aware and in UTC.
    """

    def __init__(self, settings: IdentityProvider, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._described: tuple[Description, datetime] | None = None
        self._keys: tuple[KeySet, datetime] | None = None

    def describe(self) -> Description:
        """Its endpoints, remembered for an hour.

        Raises
        ------
        IdentityProviderError
            No answer, or one that another provider would give.
        """
        now = self._clock()
        with self._lock:
            if self._described is not None and timedelta() <= now - self._described[1] < DESCRIPTION_LASTS:
                return self._described[0]
        with self._session() as session:
            said = read_json(session, self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if said.get("issuer") != self._settings.issuer:
            raise IdentityProviderError(
                "The identity provider calls itself by another name than oidc.issuer.",
                next_step="Set oidc.issuer to the `issuer` that its /.well-known/openid-configuration says.",
            )
        methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        described = Description(
            authorization=_endpoint(said, "authorization_endpoint"),
            token=_endpoint(said, "token_endpoint"),
            keys=_endpoint(said, "jwks_uri"),
            userinfo=_endpoint(said, "userinfo_endpoint", needed=False),
            end_session=_endpoint(said, "end_session_endpoint", needed=False),
            basic=isinstance(methods, list) and "client_secret_basic" in methods,
        )
        with self._lock:
            self._described = described, now
        return described

    def sign_in_url(self, begun: Begun, request: Request) -> str:
        """Where the browser goes to sign in.

        Raises
        ------
        IdentityProviderError
            The provider does not answer.
        """
        with self._session(request) as session:
            url, _ = session.create_authorization_url(
                self.describe().authorization, state=begun.state, nonce=begun.nonce, code_verifier=begun.verifier
            )
        return str(url)

    def finish(self, begun: Begun, code: str, request: Request) -> Person:
        """Who has come back with this code.

        Raises
        ------
        IdentityProviderError
            The provider does not answer.
        SignInRefusedError
            What it says is not proof, or the person has no role here.
        """
        described = self.describe()
        with self._session(request) as session:
            answer = redeem(session, described.token, code, begun.verifier)
            id_token = answer.get("id_token")
            if not isinstance(id_token, str):
                raise SignInRefusedError("The identity provider sent no ID token.")
            claims = self._claims(id_token, begun.nonce)
            if described.userinfo and not self._tells_enough(claims):
                claims = {**self._userinfo(session, described.userinfo, claims["sub"]), **claims}
        return self._person(claims, id_token)

    def examine(self) -> timedelta:
        """Ask for everything that a sign-in needs; returns how far its clock is ahead of ours.

        It is asked to redeem a code that it never gave: it refuses that, but first looks who asks.

        Raises
        ------
        IdentityProviderError
            Says what a sign-in would fail at.
        """
        described = self.describe()
        self._published_keys()
        with self._session() as session:
            with suppress(SignInRefusedError):
                redeem(session, described.token, secrets.token_urlsafe(16), secrets.token_urlsafe(48))
            try:
                said = session.get(described.keys, withhold_token=True).headers.get("Date", "")
                return parsedate_to_datetime(said) - self._clock()
            except requests.RequestException as error:
                raise away(error) from error
            except ValueError:  # it does not say what time it is
                return timedelta()

    def sign_out_url(self, id_token: str, request: Request) -> str | None:
        """Where the browser signs out of the provider too (RP-Initiated Logout 1.0); None where it offers nothing."""
        with self._lock:
            described = self._described[0] if self._described else None
        if described is None or not described.end_session:
            return None
        asked = {
            "id_token_hint": id_token,
            "client_id": self._settings.client_id,
            "post_logout_redirect_uri": self._own_url(request) + "/sign-in",
        }
        joint = "&" if urlsplit(described.end_session).query else "?"
        return f"{described.end_session}{joint}{urlencode(asked)}"

    def _session(self, request: Request | None = None) -> Any:
        secret_file = self._settings.client_secret_file
        try:
            secret = None if secret_file is None else read_secret(secret_file)
        except SettingsError as error:
            log.error("oidc_secret_unusable", problem=str(error))
            raise IdentityProviderError(
                "The secret of firstread for the identity provider cannot be read.", next_step="Run `firstread doctor`."
            ) from error
        with self._lock:
            basic = self._described is None or self._described[0].basic
        session = OAuth2Session(
            self._settings.client_id,
            secret,
            scope=" ".join(self._settings.scopes),
            redirect_uri=None if request is None else self._own_url(request) + CALLBACK,
            token_endpoint_auth_method="none" if secret is None else f"client_secret_{'basic' if basic else 'post'}",
            code_challenge_method="S256",
        )
        session.max_redirects = 0
        session.trust_env = False  # no .netrc; the proxies of the environment are meant
        session.proxies = requests.utils.get_environ_proxies(self._settings.issuer)
        session.verify = str(self._settings.trusted_file) if self._settings.trusted_file else True
        for scheme in ("https://", "http://"):
            session.mount(scheme, Bounded())
        return session

    def _own_url(self, request: Request) -> str:
        return (self._settings.url or str(request.base_url)).rstrip("/")

    def _claims(self, id_token: str, nonce: str) -> dict[str, Any]:
        """Checked as OpenID Connect Core 1.0, 3.1.3.7 says."""
        if len(id_token) > _LONGEST_ID_TOKEN * 4:
            raise SignInRefusedError("The identity provider sent an ID token without end.")
        try:
            claims = jwt.decode(id_token, self._published_keys(), algorithms=ALGORITHMS).claims
        except (JoseError, ValueError):
            try:  # it may have new keys since
                claims = jwt.decode(id_token, self._published_keys(anew=True), algorithms=ALGORITHMS).claims
            except (JoseError, ValueError) as error:
                log.warning("oidc_token_refused", why=type(error).__name__)
                raise SignInRefusedError("The ID token is not signed by the identity provider.") from error
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        now, slack = self._clock().timestamp(), LEEWAY.total_seconds()
        wrong = {
            "issuer": claims.get("iss") != self._settings.issuer,
            "audience": self._settings.client_id not in audiences,
            "authorised party": len(audiences) > 1 and claims.get("azp") != self._settings.client_id,
            "expiry": now >= _time(claims.get("exp"), otherwise=0) + slack,
            "time of issue": _time(claims.get("iat", now), otherwise=math.inf) > now + slack,
            "begin": _time(claims.get("nbf", now), otherwise=math.inf) > now + slack,
            "nonce": claims.get("nonce") != nonce,
            "subject": not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255,
        }
        found = [name for name, is_wrong in wrong.items() if is_wrong]
        if found:
            log.warning("oidc_token_refused", why=", ".join(found))
            raise SignInRefusedError(
                f"The ID token is not for this sign-in: its {found[0]} is wrong.",
                next_step=CLOCKS_DIFFER if found[0] in _OF_THE_CLOCK else None,
            )
        return dict(claims)

    def _published_keys(self, *, anew: bool = False) -> KeySet:
        now = self._clock()
        with self._lock:
            known = self._keys
        if known is not None:
            age = now - known[1]
            if timedelta() <= age < (KEYS_ASKED_EVERY if anew else DESCRIPTION_LASTS):
                return known[0]
        with self._session() as session:
            published = read_json(session, self.describe().keys)
        try:
            keys = KeySet.import_key_set(published)  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise IdentityProviderError("The keys of the identity provider cannot be read.") from error
        with self._lock:
            self._keys = keys, now
        return keys

    def _tells_enough(self, claims: Mapping[str, Any]) -> bool:
        return all(claim(claims, name) is not None for name in (self._settings.name_claim, self._settings.role_claim))

    def _userinfo(self, session: Any, url: str, subject: str) -> dict[str, Any]:
        """For providers that keep the ID token short (OpenID Connect Core 1.0, 5.3)."""
        said = read_json(session, url, with_token=True)
        if said.get("sub") != subject:
            raise SignInRefusedError("The identity provider speaks of somebody else (sub of userinfo).")
        return said

    def _person(self, claims: Mapping[str, Any], id_token: str) -> Person:
        role = self._settings.role_of(claims)
        if role is None:
            raise SignInRefusedError(
                "You are signed in there, but none of your groups has a role in firstread.",
                next_step=f"Ask for a group that may use firstread (oidc.roles, claim {self._settings.role_claim}).",
            )
        name = claim(claims, self._settings.name_claim)
        if not isinstance(name, str) or not name:
            raise SignInRefusedError(
                "The identity provider does not say your name.",
                next_step=f"An administrator sets oidc.name_claim; the claim {self._settings.name_claim} is missing.",
            )
        shown = claims.get("name")
        return Person(
            issuer=self._settings.issuer,
            subject=claims["sub"],
            name=name,
            display_name=shown if isinstance(shown, str) else "",
            role=role,
            id_token=id_token if len(id_token) <= _LONGEST_ID_TOKEN else "",
        )


def _endpoint(said: Mapping[str, Any], name: str, *, needed: bool = True) -> str:
    url = said.get(name)
    if url is None and not needed:
        return ""
    parts = urlsplit(url if isinstance(url, str) else "")
    local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not parts.hostname or (parts.scheme != "https" and not local):
        raise IdentityProviderError(
            f"The identity provider names no secure {name}.", next_step="Ask its administrator; https is needed."
        )
    return str(url)


def _time(value: Any, *, otherwise: float) -> float:
    """A NumericDate (RFC 7519, 2); ``otherwise`` for what is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
