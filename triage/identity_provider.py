"""The hospital's identity provider (OpenID Connect), as the settings name it, and which role its claims give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from triage.identifiers import is_loopback
from triage.people import Role

_STRONGEST_FIRST: Final = (Role.ADMIN, Role.READER, Role.TECHNOLOGIST)
"""Somebody in several groups gets the first of these."""


class IdentityProvider(BaseModel):
    """Table ``[oidc]``; docs/sign-in.md has examples."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    issuer: str = Field(max_length=500)
    """Its URL, exactly as it calls itself; `/.well-known/openid-configuration` below it says the rest."""
    client_id: str = Field(min_length=1, max_length=200)
    """The name under which firstread is registered there."""
    client_secret_file: Path | None = None
    """File that holds the client's secret, closed to other users; not set: a public client, protected by PKCE alone."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What is asked for; some providers need one more for groups."""
    name_claim: str = Field(default="preferred_username", min_length=1)
    """Claim with the name for the audit trail."""
    role_claim: str = Field(default="groups", min_length=1)
    """Claim with groups or roles, one or a list; `realm_access.roles` looks inside."""
    roles: Mapping[str, Role] = {}
    """Which of its values gives which role: `{ "radiology-readers" = "reader" }`. Nobody else may in."""
    label: str = Field(default="hospital account", min_length=1, max_length=60)
    """What the sign-in page calls it: "Sign in with your …"."""
    url: str = Field(default="", max_length=500)
    """Address of firstread as browsers know it (`https://triage.hospital.example`); not set: as each request says."""
    trusted_file: Path | None = None
    """PEM file with the authorities that its certificate must come from; not set: those of this system."""

    @field_validator("issuer", "url")
    @classmethod
    def _secured(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.query or parts.fragment or parts.username or parts.password or not parts.hostname):
            raise ValueError("an https:// URL without query and password is expected")
        if value and parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ValueError("must begin with https:// (http:// on this machine only)")
        return value

    @field_validator("client_secret_file", "trusted_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        if not self.issuer:
            raise ValueError("oidc: issuer is not set")
        if "openid" not in self.scopes:
            raise ValueError("oidc: scopes must hold openid")
        if not self.roles:
            raise ValueError('oidc: roles says who may in, for instance roles = { "radiology-readers" = "reader" }')
        return self

    def role_of(self, claims: Mapping[str, Any]) -> Role | None:
        """The role that these claims give, None for none."""
        value = claim(claims, self.role_claim)
        values = value if isinstance(value, list) else [value]
        given = {self.roles[item] for item in values if isinstance(item, str) and item in self.roles}
        return next((role for role in _STRONGEST_FIRST if role in given), None)


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name or, where there is none of that name, by its path ("realm_access.roles"); None for none."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
