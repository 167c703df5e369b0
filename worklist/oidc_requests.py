"""Requests to the identity provider, bounded in time and size, and what goes wrong with them, in words."""

from __future__ import annotations

from typing import Any, Final

import requests
from authlib.common.errors import AuthlibBaseError
from requests.adapters import HTTPAdapter

from triage.errors import FirstreadError
from triage.logging import get_logger

_UNKNOWN_CLIENT: Final = frozenset({"invalid_client", "unauthorized_client"})
"""Errors of a token endpoint (RFC 6749, 5.2) that no user can do anything about."""
_TIMES_OUT: Final = (5.0, 10.0)
"""Seconds to connect, and between two pieces of an answer."""
_LONGEST_ANSWER: Final = 1 << 20

log = get_logger(__name__)


class IdentityProviderError(FirstreadError):
    """The identity provider does not answer, or not as it must."""

    next_step = "Try again; local accounts work meanwhile. `firstread doctor` asks the provider what it offers."
    retryable = True


class SignInRefusedError(FirstreadError):
    """The provider's answer proves nobody's identity, or that of somebody who has no role here."""

    next_step = "Begin again at /sign-in."


class Bounded(HTTPAdapter):
    """Waits no longer and reads no more than an honest provider needs."""

    def send(self, request: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        answer = super().send(request, **{**options, "stream": True, "timeout": _TIMES_OUT})
        body = b""
        for piece in answer.iter_content(1 << 14):
            body += piece
            if len(body) > _LONGEST_ANSWER:
                raise requests.exceptions.InvalidHeader("longer than any answer of a provider")
        answer._content, answer._content_consumed = body, True
        return answer


def read_json(session: Any, url: str, *, with_token: bool = False) -> dict[str, Any]:
    try:
        answer = session.get(url, headers={"Accept": "application/json"}, withhold_token=not with_token)
        answer.raise_for_status()
        said = answer.json()
    except requests.RequestException as error:
        raise away(error) from error
    if not isinstance(said, dict):
        raise IdentityProviderError("The identity provider answers with something else than JSON.")
    return said


def redeem(session: Any, url: str, code: str, verifier: str) -> Any:
    """The tokens for a code."""
    try:
        return session.fetch_token(url, grant_type="authorization_code", code=code, code_verifier=verifier)
    except requests.RequestException as error:
        raise away(error) from error
    except (AuthlibBaseError, ValueError) as error:
        why = error.error if isinstance(error, AuthlibBaseError) else type(error).__name__
        log.warning("oidc_code_refused", error=str(why)[:40])
        if why in _UNKNOWN_CLIENT:
            raise IdentityProviderError(
                "The identity provider does not accept firstread's own name or secret.",
                next_step="An administrator corrects oidc.client_id or oidc.client_secret_file; local accounts work "
                "meanwhile.",
            ) from error
        raise SignInRefusedError("The identity provider did not accept its own code.") from error


def away(error: requests.RequestException) -> IdentityProviderError:
    log.warning("oidc_provider_away", error=type(error).__name__)
    if isinstance(error, requests.exceptions.SSLError):
        return IdentityProviderError(
            "The certificate of the identity provider is not accepted.",
            next_step="An administrator has it renewed, or sets oidc.trusted_file to its authority; local accounts "
            "work meanwhile.",
        )
    if isinstance(error, requests.Timeout):
        return IdentityProviderError("The identity provider does not answer in time.")
    if isinstance(error, requests.ConnectionError):
        return IdentityProviderError("The identity provider cannot be reached.")
    status = "" if error.response is None else f" (HTTP status {error.response.status_code})"
    return IdentityProviderError(f"The identity provider does not answer as it should{status}.")
