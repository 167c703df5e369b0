"""Whether people have to sign in, for processes that serve no page and need none of its libraries."""

from __future__ import annotations

from triage.settings import Settings


def sign_in_needed(settings: Settings) -> bool:
    """By the settings alone: everywhere but on a loopback node without tokens and identity provider.

    Behind a proxy on this machine they make it ask; so does the first account (:mod:`worklist.callers`).
    """
    return not settings.on_loopback or bool(settings.http_tokens) or settings.oidc is not None
