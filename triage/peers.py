"""Other machines in the settings: who may send to us, where results go, and how the way there is protected."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from triage.addresses import DestinationAddress, DestinationKind
from triage.identifiers import PeerAddress, ae_title, certificate_name
from triage.message_options import FhirOptions, Hl7Options, MessageOptions, WebhookOptions
from triage.profiles import Kind, Profile
from triage.services import PeerService

_DICOM: Final = frozenset({DestinationKind.C_STORE, DestinationKind.DICOMWEB})
_HTTP: Final = frozenset(DestinationKind) - {DestinationKind.C_STORE, DestinationKind.MLLP}
OPTIONS: Final[Mapping[str, frozenset[DestinationKind]]] = {
    **dict.fromkeys(Profile.model_fields, _DICOM),
    "commitment": _DICOM,
    "tls": frozenset({DestinationKind.C_STORE}),
    "certificate": frozenset({DestinationKind.C_STORE, DestinationKind.MLLP}),
    "trusted_file": _HTTP | {DestinationKind.MLLP},
    "user": _HTTP,
    "password_file": _HTTP,
    "token_file": _HTTP - {DestinationKind.ORTHANC},
    "secret_file": frozenset({DestinationKind.WEBHOOK}),
    "hl7": frozenset({DestinationKind.MLLP}),
    "fhir": frozenset({DestinationKind.FHIR}),
    "webhook": frozenset({DestinationKind.WEBHOOK}),
}
"""Which kinds of destination an option means something to; one that means nothing is refused."""


class Destination(Profile):
    """Where results go: its address, what it wants (the fields of a profile), and what it takes to reach it.

    In the environment and on the command line a destination is its address; in ``firstread.toml`` it may be a table
    with the options below.
    """

    address: str
    """One line that says kind and place; see :mod:`triage.addresses`."""
    commitment: Literal["auto", "off", "required"] = "auto"
    """What counts as proof that a result arrived: ``auto`` asks for storage commitment, or for the object by C-FIND
    where the destination has no commitment; ``required`` takes nothing but commitment; ``off`` asks for nothing."""
    tls: bool = False
    """Send over TLS, never without. Needs the three ``dicom_tls_…`` files."""
    certificate: str | None = None
    """What the destination's certificate must say: ``DNS:name``, ``IP:address``, ``URI:uri``, ``CN:common name`` or
    ``SHA256:fingerprint``. Not set: the host of its address."""
    trusted_file: Path | None = None
    """PEM file with the authorities that the destination's certificate must come from; not set: ``dicom_tls_trusted``,
    else those of this system."""
    user: str = ""
    """For HTTP's basic authentication, with ``password_file``."""
    password_file: Path | None = None
    """File that holds the password, closed to other users."""
    token_file: Path | None = None
    """File that holds a bearer token, closed to other users."""
    secret_file: Path | None = None
    """File that holds the key which signs what is sent, closed to other users."""
    hl7: Hl7Options = Hl7Options()
    """How its HL7 messages are written: table ``[destinations.hl7]``, see docs/messages.md."""
    fhir: FhirOptions = FhirOptions()
    """The same of FHIR transactions."""
    webhook: WebhookOptions = WebhookOptions()
    """The same of webhook documents."""

    @field_validator("address")
    @classmethod
    def _well_formed(cls, value: str) -> str:
        return str(DestinationAddress.parse(value))

    @field_validator("certificate")
    @classmethod
    def _certificate(cls, value: str | None) -> str | None:
        return None if value is None else certificate_name(value)

    @field_validator("trusted_file", "password_file", "token_file", "secret_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        kind, where = self.kind, f"destination {self.address}"
        for option in OPTIONS:
            value, default = getattr(self, option), type(self).model_fields[option].default
            if value != default and kind not in OPTIONS[option]:
                raise ValueError(f"{where}: {option} means nothing to a destination of the kind {kind}")
        if self.certificate is not None and not (self.tls or self.where.secure):
            raise ValueError(f"{where} names a certificate but not tls = true")
        if self.commitment == "required" and kind is not DestinationKind.C_STORE:
            raise ValueError(f"{where}: storage commitment is asked for over DIMSE only; commitment is auto or off")
        if bool(self.user) != (self.password_file is not None):
            raise ValueError(f"{where}: user and password_file go together")
        if self.token_file is not None and self.user:
            raise ValueError(f"{where} has token_file and user: one of them says who we are")
        if kind is DestinationKind.WEBHOOK and self.secret_file is None:
            raise ValueError(f"{where} needs secret_file, the key that signs what is sent")
        return self

    @property
    def where(self) -> DestinationAddress:
        """The address, taken apart."""
        return DestinationAddress.parse(self.address)

    @property
    def kind(self) -> DestinationKind:
        return self.where.kind

    @property
    def peer(self) -> PeerAddress:
        """The application entity of a C-STORE destination."""
        return PeerAddress.parse(self.address)

    @property
    def profile(self) -> Profile:
        """What it wants, apart from where it is: equal for destinations that get the same objects."""
        return Profile.model_validate({name: getattr(self, name) for name in Profile.model_fields})

    @property
    def wanted(self) -> frozenset[tuple[Kind, str]]:
        """What an analysis owes it: kinds, each in which variant."""
        message = self.kind.message
        if message is not None:
            return frozenset({(message, self._message_variant())})
        profile = self.profile
        return frozenset((kind, profile.variant(kind)) for kind in profile.kinds)

    def _message_variant(self) -> str:
        options: dict[DestinationKind, MessageOptions] = {
            DestinationKind.MLLP: self.hl7,
            DestinationKind.FHIR: self.fhir,
            DestinationKind.WEBHOOK: self.webhook,
        }
        return options[self.kind].variant() if self.kind in options else ""


class CallingPeer(BaseModel):
    """Who may send to us: an AE title, optionally only from one address or network, or with one certificate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ae_title: str
    network: str | None = None
    """Address or CIDR, None for any."""
    certificate: str | None = None
    """What its certificate must say, as for a destination. The title is then admitted over TLS only; None: with any
    certificate that is trusted, and over the plain port."""
    services: tuple[PeerService, ...] = tuple(PeerService)
    """What it may ask for: `store` (send images), `find` (C-FIND: what is here), `worklist` (C-FIND: the reading list).
    C-ECHO is everybody's. Not set: all of them."""

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
    repeated = [address for address, times in Counter(d.address for d in destinations).items() if times > 1]
    if repeated:
        raise ValueError(f"destination {repeated[0]} is named more than once")
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
