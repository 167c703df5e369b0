"""Where orders come from, as settings: worklists that are asked, and a port where HL7 messages arrive."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from triage.findings import Urgency
from triage.identifiers import PeerAddress, certificate_name, is_loopback

HL7: Final = "HL7"
"""Name of the feed of messages; a worklist's is its address."""

Accession = Literal["OBR-18", "OBR-19", "OBR-2", "OBR-3", "ORC-2", "ORC-3", "IPC-1"]


class OrderFeed(BaseModel):
    """A Modality Worklist (of the RIS) that is asked for the order of each new study, by its accession number.

    In the environment it is its address; in ``firstread.toml`` it may be a table with the options below.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    address: str
    """`AET@host:port` of the worklist provider."""
    tls: bool = False
    """Over TLS, never without. Needs the three `dicom_tls_…` files."""
    certificate: str | None = None
    """What its certificate must say, as for a destination."""
    poll_seconds: float = Field(default=5.0, ge=1, le=3600)
    """Pause between two looks for studies that it has not been asked about yet."""
    priorities: dict[str, Urgency] = {}
    """What priorities of its own mean, beside STAT, HIGH, ROUTINE, MEDIUM and LOW: `{"URGENCE" = "STAT"}`."""

    @field_validator("address")
    @classmethod
    def _well_formed(cls, value: str) -> str:
        return str(PeerAddress.parse(value))

    @field_validator("certificate")
    @classmethod
    def _certificate(cls, value: str | None) -> str | None:
        return None if value is None else certificate_name(value)

    @field_validator("priorities")
    @classmethod
    def _upper(cls, value: dict[str, Urgency]) -> dict[str, Urgency]:
        return upper_keys(value)

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        if self.certificate is not None and not self.tls:
            raise ValueError(f"order feed {self.address} names a certificate but not tls = true")
        return self

    @property
    def peer(self) -> PeerAddress:
        return PeerAddress.parse(self.address)


class Hl7Orders(BaseModel):
    """A port where HL7 v2 orders (ORM^O01, OMI^O23, OMG^O19) arrive over MLLP."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    port: int = Field(ge=0, le=65535)
    """On the address that `bind` names; 0 takes a free one."""
    peers: tuple[str, ...] = ()
    """Addresses or networks that may send. Empty on loopback: everybody."""
    tls: bool = False
    """Over TLS, never without; senders show a certificate. Needs the three `dicom_tls_…` files."""
    accession: tuple[Accession, ...] = ("OBR-18", "OBR-19", "IPC-1", "ORC-3", "OBR-3")
    """Where the accession number stands: the first of these fields that has one."""
    priorities: dict[str, Urgency] = {}
    """What a site's own priority codes mean, beside those of HL7: `{"1" = "STAT", "2" = "URGENT"}`."""
    max_kilobytes: int = Field(default=256, ge=1, le=16384)
    """A longer message is refused and its connection closed."""
    stall_seconds: float = Field(default=30.0, gt=0, le=600)
    """A message that takes longer from its first byte to its last ends the connection."""

    @field_validator("peers")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(one, strict=False)) for one in value)

    @field_validator("priorities")
    @classmethod
    def _upper(cls, value: dict[str, Urgency]) -> dict[str, Urgency]:
        return upper_keys(value)


@dataclass(frozen=True, slots=True)
class FeedState:
    """How a feed stands, as the process that takes orders says with its heartbeat.

    Attributes
    ----------
    feed : str
        :data:`HL7`, or the address of a worklist.
    since : datetime
        From when on is counted: the start of that process.
    last_at : datetime or None
        Of the last message, or of the last look at a worklist that was answered; None: there was none yet.
    messages, refused : int
        HL7 messages that were answered, and those of them that were refused.
    orders : int
        Orders that were heard of, repetitions included.
    problem : str
        What keeps it from working now, with what to do; "" where nothing does.
    """

    feed: str
    since: datetime
    last_at: datetime | None = None
    messages: int = 0
    refused: int = 0
    orders: int = 0
    problem: str = ""

    def as_detail(self) -> dict[str, Any]:
        """For the row of the heartbeat."""
        return {
            "feed": self.feed,
            "since": self.since.isoformat(),
            "last_at": None if self.last_at is None else self.last_at.isoformat(),
            "messages": self.messages,
            "refused": self.refused,
            "orders": self.orders,
            "problem": self.problem,
        }

    @classmethod
    def of_detail(cls, said: Mapping[str, Any]) -> Self:
        """What :meth:`as_detail` made, also that of another version of firstread: what it does not say is nothing."""
        last = said.get("last_at")
        return cls(
            feed=said["feed"],
            since=datetime.fromisoformat(said["since"]),
            last_at=None if last is None else datetime.fromisoformat(last),
            messages=said.get("messages", 0),
            refused=said.get("refused", 0),
            orders=said.get("orders", 0),
            problem=said.get("problem", ""),
        )


def feed_names(feeds: tuple[OrderFeed, ...], hl7: Hl7Orders | None) -> tuple[str, ...]:
    """Every feed that is set, HL7 first."""
    return (*((HL7,) if hl7 is not None else ()), *(feed.address for feed in feeds))


def takes_orders(feeds: tuple[OrderFeed, ...], hl7: Hl7Orders | None) -> bool:
    """Whether orders come from anywhere but the images."""
    return bool(feeds) or hl7 is not None


def upper_keys(value: Mapping[str, Urgency]) -> dict[str, Urgency]:
    """Codes as they are compared."""
    return {code.strip().upper(): urgency for code, urgency in value.items()}


def check_order_feeds(
    feeds: tuple[OrderFeed, ...], hl7: Hl7Orders | None, *, bind: str, tls_files: tuple[Path | None, ...]
) -> None:
    """What order feeds need of the other settings.

    Raises
    ------
    ValueError
        What is missing, by the names of the settings.
    """
    wants_tls = any(feed.tls for feed in feeds) or (hl7 is not None and hl7.tls)
    if wants_tls and None in tls_files:
        raise ValueError("an order feed with tls needs dicom_tls_certificate, dicom_tls_key and dicom_tls_trusted")
    if hl7 is not None and not hl7.peers and not is_loopback(bind):
        raise ValueError(f"bind {bind} is reachable from other machines: hl7_orders must list its peers")
    addresses = [feed.address for feed in feeds]
    if len(set(addresses)) < len(addresses):
        raise ValueError("an order feed is named more than once")
