"""What the doctor asks the hospital's identity provider: everything that a sign-in needs of it, but a person."""

from __future__ import annotations

from collections.abc import Iterator

from firstread.finding import Finding, Grade
from triage.errors import SettingsError
from triage.identity_provider import IdentityProvider
from triage.secret_files import read_secret
from workers.clock import utc_now
from worklist.oidc import LEEWAY, Provider
from worklist.oidc_requests import IdentityProviderError


def provider(settings: IdentityProvider) -> Iterator[Finding]:
    """Its description, its keys, whether it knows us, and its clock."""
    subject = f"identity provider {settings.issuer}"
    try:
        if settings.client_secret_file is not None:
            read_secret(settings.client_secret_file)
        ahead = Provider(settings, utc_now).examine().total_seconds()
    except (SettingsError, IdentityProviderError) as error:
        circular = error.next_step == IdentityProviderError.next_step  # to ask the doctor
        advice = "Check oidc.issuer and the way there; local accounts work meanwhile." if circular else error.next_step
        yield Finding(subject, Grade.BAD, str(error), advice)
        return
    if abs(ahead) > LEEWAY.total_seconds():
        message = f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
        yield Finding(subject, Grade.BAD, f"{message}: nobody can sign in", "Set both by NTP.")
    else:
        yield Finding(subject, Grade.GOOD, "answers, knows us, and its clock is ours")
