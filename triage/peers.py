"""Other machines in the settings: who may send to us, where results go, and how the way there is protected."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from triage.identifiers import PeerAddress, ae_title, certificate_name


class Destination(BaseModel):
    """Where results go.

    In the environment and on the command line a destination is ``AET@host:port``; in ``firstread.toml`` it may be a
    table with the options below.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    """``AET@host:port``."""
    heat_map: bool = True
    """Send the Secondary Capture with the heat map. Marking an image is a regulatory question (a device that marks
    regions is not a triage-only device under 21 CFR 892.2080), so a site can switch it off per destination."""
    commitment: Literal["auto", "off", "required"] = "auto"
    """What counts as proof that a result arrived: ``auto`` asks for storage commitment, or for the object by C-FIND
    where the destination has no commitment; ``required`` takes nothing but commitment; ``off`` asks for nothing."""
    tls: bool = False
    """Send over TLS, never without. Needs the three ``dicom_tls_…`` files."""
    certificate: str | None = None
    """What the destination's certificate must say: ``DNS:name``, ``IP:address``, ``URI:uri``, ``CN:common name`` or
    ``SHA256:fingerprint``. Not set: the host of its address."""

    @field_validator("address")
    @classmethod
    def _well_formed(cls, value: str) -> str:
        return str(PeerAddress.parse(value))

    @field_validator("certificate")
    @classmethod
    def _certificate(cls, value: str | None) -> str | None:
        return None if value is None else certificate_name(value)

    @model_validator(mode="after")
    def _secured(self) -> Self:
        if self.certificate is not None and not self.tls:
            raise ValueError(f"destination {self.address} names a certificate but not tls = true")
        return self

    @property
    def peer(self) -> PeerAddress:
        return PeerAddress.parse(self.address)


class CallingPeer(BaseModel):
    """Who may send to us: an AE title, optionally only from one address or network, or with one certificate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ae_title: str
    network: str | None = None
    """Address or CIDR, None for any."""
    certificate: str | None = None
    """What its certificate must say, as for a destination. The title is then admitted over TLS only; None: with any
    certificate that is trusted, and over the plain port."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``AET`` or ``AET@address`` or ``AET@network/bits``."""
        title, _, network = text.partition("@")
        return cls(ae_title=title, network=network or None)

    @field_validator("ae_title")
    @classmethod
    def _title(cls, value: str) -> str:
        return ae_title(value)

    @field_validator("network")
    @classmethod
    def _network(cls, value: str | None) -> str | None:
        return None if value is None else str(ipaddress.ip_network(value, strict=False))

    @field_validator("certificate")
    @classmethod
    def _certificate(cls, value: str | None) -> str | None:
        return None if value is None else certificate_name(value)


def opens_plain_port(plain: bool | None, *, on_loopback: bool, tls_port: int | None) -> bool:
    """Whether the port without TLS is opened: as the site says, else on loopback, else where there is no TLS port."""
    return plain if plain is not None else on_loopback or tls_port is None


def check_transport(
    *,
    plain: bool | None,
    tls_port: int | None,
    on_loopback: bool,
    peers: Sequence[CallingPeer],
    destinations: Sequence[Destination],
    tls_files: bool,
) -> None:
    """Ports, peers and certificates that go together.

    In a network, AE titles are no secrets. A port without TLS is open there only to peers of known networks, or
    because the site says so.

    Raises
    ------
    ValueError
        What is missing, by the names of the settings.
    """
    files = "dicom_tls_certificate, dicom_tls_key and dicom_tls_trusted"
    if tls_port is not None and not tls_files:
        raise ValueError(f"dicom_tls_port needs {files}")
    for destination in destinations:
        if destination.tls and not tls_files:
            raise ValueError(f"destination {destination.address} with tls needs {files}")
    for peer in peers:
        if peer.certificate is not None and tls_port is None:
            raise ValueError(f"calling AE title {peer.ae_title} is bound to a certificate: dicom_tls_port must be set")
    if not opens_plain_port(plain, on_loopback=on_loopback, tls_port=tls_port):
        if tls_port is None:
            raise ValueError("dicom_plain is false and there is no dicom_tls_port: nobody could send")
    elif plain is None and not on_loopback:
        anywhere = sorted({peer.ae_title for peer in peers if peer.network is None})
        if anywhere:
            raise ValueError(
                f"dicom_port has no TLS and {', '.join(anywhere)} may come from anywhere: name the network "
                f"({anywhere[0]}@10.0.0.0/8), or set dicom_tls_port, or dicom_plain = true to accept that"
            )
