"""What the API says of peers: who may send to this node."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from triage.errors import IdentifierError
from triage.identifiers import ae_title, certificate_name
from triage.services import PeerService
from worklist.schemas.errands import ErrandOut
from worklist.schemas.texts import ONE_LINE

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)


def _title(text: str) -> str:
    try:
        return ae_title(text)
    except IdentifierError as error:
        raise ValueError(str(error)) from None


def _network(text: str | None) -> str | None:
    return str(ipaddress.ip_network(text.strip(), strict=False)) if text and text.strip() else None


def _certificate(text: str | None) -> str | None:
    try:
        return certificate_name(text) if text and text.strip() else None
    except IdentifierError as error:
        raise ValueError(error.advice()) from None


def _host(text: str) -> str:
    stripped = text.strip().strip("[]")
    try:
        return str(ipaddress.ip_address(stripped))
    except ValueError:
        if not _HOST.fullmatch(stripped):
            raise ValueError("neither a host name nor an IP address") from None
    return stripped


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PeerWish(_Request):
    """A peer that may send."""

    ae_title: Annotated[str, StringConstraints(max_length=64), AfterValidator(_title)]
    network: Annotated[str | None, Field(max_length=64), AfterValidator(_network)] = None
    """Address or CIDR ("10.1.2.0/24") that it comes from; null for any, where the transport allows that."""
    certificate: Annotated[str | None, Field(max_length=300), AfterValidator(_certificate)] = None
    """What its certificate must say, such as `DNS:ct1.hospital.example`: it is then admitted over TLS only."""
    services: Annotated[list[PeerService], Field(max_length=len(PeerService))] | None = None
    """What it may ask for; C-ECHO is everybody's, an empty list leaves just that. Null: for a new peer all of them, for
    one that is changed what it has."""
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=ONE_LINE)] = ""
    """For people: room, vendor, who to call."""


class EchoWish(_Request):
    """Where a peer listens itself; nothing else is known of it than where it calls from."""

    host: Annotated[str, Field(max_length=253), AfterValidator(_host)]
    port: int = Field(default=104, ge=1, le=65535)
    tls: bool = False
    """Over TLS, with the certificate that the peer is bound to."""


class PeerOut(_Answer):
    """A peer that may send."""

    id: int | None
    """None for one of the settings: it is changed there."""
    ae_title: str
    network: str | None
    certificate: str | None
    services: list[PeerService]
    """`store`: C-STORE; `find`: C-FIND of what is here; `worklist`: C-FIND of the reading list."""
    note: str = ""
    version: int | None = None
    """For If-Match."""
    changed_at: datetime | None = None
    changed_by: str = ""
    last_at: datetime | None = None
    """When it sent something last, of what is looked at."""
    associations: int = 0
    """In which it sent something, among the newest 20,000 of all."""
    last_address: str = ""
    echo: ErrandOut | None = None
    """The last C-ECHO that was asked for."""


class CallerOut(_Answer):
    """Who called and was turned away."""

    ae_title: str
    """As claimed."""
    address: str
    reason: str
    times: int
    last_at: datetime


class PeerList(_Answer):
    admits_everybody: bool
    """Bound to this machine alone, without a list in the settings: every AE title is admitted, listed or not."""
    network_needed: bool
    """There is a port without TLS: a peer has to say where it comes from."""
    items: list[PeerOut]
    """Those of the settings first."""
    others: list[CallerOut]
    """Who has sent something lately and is in neither list (admitted because everybody is, or removed since)."""
    refused: list[CallerOut]
    """Who was turned away lately."""
