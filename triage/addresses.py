"""Addresses of destinations: one line of text that says what a destination is and where it is.

``AET@host:port`` is a DICOM storage SCP. Every other kind is a URL whose scheme names it: ``dicomweb+https://…``,
``mllp://host:port``, ``fhir+https://…``, ``ups+https://…``, ``orthanc+https://…``, ``webhook+https://…``. The address
is the identity of a destination in settings and rows, so it has one spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self
from urllib.parse import urlsplit

from triage.errors import IdentifierError
from triage.identifiers import PeerAddress
from triage.profiles import MessageKind


class DestinationKind(StrEnum):
    """By what protocol a destination takes what it is sent."""

    C_STORE = "c-store"
    """DICOM C-STORE (PS3.4 annex B)."""
    DICOMWEB = "dicomweb"
    """STOW-RS (PS3.18 10.5)."""
    MLLP = "mllp"
    """HL7 v2 over MLLP."""
    FHIR = "fhir"
    """FHIR R4 REST."""
    UPS = "ups"
    """UPS-RS (PS3.18 11)."""
    ORTHANC = "orthanc"
    """Labels, by Orthanc's own REST API."""
    WEBHOOK = "webhook"
    """Signed HTTP POST."""

    @property
    def message(self) -> MessageKind | None:
        """What it is told an analysis in; None where it takes DICOM objects."""
        return _MESSAGES.get(self)


_MESSAGES: Final[Mapping[DestinationKind, MessageKind]] = {
    DestinationKind.MLLP: MessageKind.HL7,
    DestinationKind.FHIR: MessageKind.FHIR,
    DestinationKind.UPS: MessageKind.UPS,
    DestinationKind.ORTHANC: MessageKind.LABEL,
    DestinationKind.WEBHOOK: MessageKind.WEBHOOK,
}
_SCHEMES: Final[Mapping[str, DestinationKind]] = {
    "mllp": DestinationKind.MLLP,
    "mllps": DestinationKind.MLLP,
    **{
        f"{kind}+{transport}": kind
        for kind in DestinationKind
        if kind not in (DestinationKind.C_STORE, DestinationKind.MLLP)
        for transport in ("http", "https")
    },
}
_PORTS: Final = {"http": 80, "https": 443}
FORMS: Final = "AET@host:port, mllp://host:port, or dicomweb+, fhir+, ups+, orthanc+, webhook+ before http(s)://host/…"


@dataclass(frozen=True, slots=True)
class DestinationAddress:
    """Where results go.

    Attributes
    ----------
    text : str
        The one spelling.
    secure : bool
        The scheme itself asks for TLS (``mllps``, ``…+https``); of C-STORE the settings say it.
    url : str
        ``http(s)://…`` without a slash at its end; "" where the protocol is another.
    """

    kind: DestinationKind
    text: str
    host: str
    port: int
    secure: bool = False
    url: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address of any kind.

        Raises
        ------
        IdentifierError
            No known form; a port is missing or wrong; a URL has credentials, a query, a fragment or a comma.
        """
        text = text.strip()
        if "://" not in text:
            peer = PeerAddress.parse(text)
            return cls(DestinationKind.C_STORE, str(peer), peer.host, peer.port)
        return cls._of_url(text)

    @classmethod
    def _of_url(cls, text: str) -> Self:
        scheme, _, rest = text.partition("://")
        scheme = scheme.lower()
        kind = _SCHEMES.get(scheme)
        if kind is None:
            raise IdentifierError(f"{scheme}:// is no kind of destination.", next_step=f"Write {FORMS}.")
        shown = f"{scheme}://…"  # a password in an address must not get into a log by its error
        if not rest.isascii() or not rest.isprintable() or any(c in rest for c in " ,\\\"'<>"):
            raise IdentifierError(f"{shown} has characters that an address cannot have.")
        transport = scheme.rpartition("+")[2]
        try:
            parts = urlsplit(f"http://{rest}")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise IdentifierError(f"{shown}: host or port cannot be read.") from None
        if "@" in parts.netloc:
            raise IdentifierError(
                f"{shown} has a user or password in it.",
                next_step="Give them in the destination's table: user and password_file, or token_file.",
            )
        if parts.query or parts.fragment or "?" in rest or "#" in rest:
            raise IdentifierError(f"{shown}: an address has no query and no fragment.")
        if not host or port == 0:
            raise IdentifierError(f"{shown} names no host, or port 0.")
        bracketed = f"[{host}]" if ":" in host else host
        if kind is DestinationKind.MLLP:
            if port is None or parts.path.strip("/"):
                raise IdentifierError(f"{shown} is not of the form {scheme}://host:port.")
            return cls(kind, f"{scheme}://{bracketed}:{port}", host, port, secure=scheme == "mllps")
        default = _PORTS[transport]
        where = bracketed if port in (None, default) else f"{bracketed}:{port}"
        url = f"{transport}://{where}{parts.path.rstrip('/')}"
        secure = transport == "https"
        return cls(kind, f"{kind}+{url}", host, port or default, secure=secure, url=url)

    @property
    def peer(self) -> PeerAddress:
        """The application entity of a C-STORE destination."""
        return PeerAddress.parse(self.text)

    def __str__(self) -> str:
        return self.text
