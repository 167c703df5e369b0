"""AE titles, UIDs and accession numbers: checked once at the edge, safe everywhere behind it."""

from __future__ import annotations

import ipaddress
import re
import uuid
from dataclasses import dataclass
from typing import Self

from triage.errors import IdentifierError

_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
_UID = re.compile(r"(?=[0-9.]{3,64}\Z)(?:0|[1-9][0-9]*+)(?:\.(?:0|[1-9][0-9]*+))++")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ACCESSION_NUMBER = re.compile(r"[^\x00-\x1f\x7f\\]{0,64}")

_NOBODY = frozenset({"UNKNOWN", "NONE", "NULL", "NA", "ANONYMOUS", "ANON", "NOID", "NOTKNOWN"})

LONGEST_WARD = 64
"""Characters, as LO has (PS3.5 6.2)."""
DERIVED_ROOT = "2.25."
OWN_MANUFACTURER = "firstread"
"""Manufacturer (0008,0070) of every object this node makes; phantoms say "firstread phantom"."""

UID_NAMESPACE = uuid.UUID("5b0f5b4e-6a5f-5d9a-9d0e-2f7b6a5c1e01")
"""Namespace of all derived UIDs of firstread; changing it would give every result object a new identity."""


def ae_title(text: str) -> str:
    """The AE title without padding: 1 to 16 characters of the default repertoire, no backslash (PS3.5 6.2, VR AE).

    Raises
    ------
    IdentifierError
        Empty, too long, or with characters outside the repertoire.
    """
    stripped = text.strip(" ")
    if not _AE_TITLE.fullmatch(stripped):
        raise IdentifierError(f"AE title {text[:20]!r} is not 1 to 16 printable ASCII characters without backslash.")
    return stripped


def dicom_uid(text: str, *, attribute: str) -> str:
    """The UID without padding (PS3.5 section 9.1): digits and dots, at most 64 characters, no leading zeros.

    Parameters
    ----------
    attribute : str
        Keyword or tag of the element, named in the error.

    Raises
    ------
    IdentifierError
        The text breaks the rule. The message does not repeat it: a UID field may hold anything.
    """
    if _UID.fullmatch(text):  # almost all are
        return text
    stripped = text.rstrip("\x00 ").lstrip(" ")
    if not stripped:
        raise IdentifierError(f"{attribute} is missing or empty.")
    if not _UID.fullmatch(stripped):
        raise IdentifierError(f"{attribute} is not a valid UID (digits and dots, at most 64 characters).")
    return stripped


def accession_number(text: str) -> str:
    """The accession number without padding; SH allows 16 characters, real archives hold up to 64 and are tolerated.

    Raises
    ------
    IdentifierError
        Control characters, a backslash, or more than 64 characters.
    """
    stripped = text.strip(" \x00")
    if not _ACCESSION_NUMBER.fullmatch(stripped):
        raise IdentifierError("AccessionNumber has control characters, a backslash or more than 64 characters.")
    return stripped


def names_nobody(patient_id: str) -> bool:
    """True for a Patient ID that many patients have: empty, all zeros, or a word for "not known".

    Example
    -------
    >>> [names_nobody(text) for text in ("", "000000", "Unknown", "10")]
    [True, True, True, False]
    """
    bare = re.sub(r"[\W_]", "", patient_id).upper()
    return not bare.strip("0") or bare in _NOBODY


def certificate_name(text: str) -> str:
    """What binds a peer to its certificate, in one spelling: a kind, a colon and a value.

    ``DNS``, ``IP`` and ``URI`` are subject alternative names (RFC 5280 4.2.1.6), compared whole, without wildcards;
    ``CN`` is the subject's common name, for certificates that have nothing else; ``SHA256`` is the fingerprint.

    Raises
    ------
    IdentifierError
        Another kind, or a value that is none of its kind.

    Example
    -------
    >>> certificate_name("dns:CT1.Hospital.example")
    'DNS:ct1.hospital.example'
    """
    kind, _, value = text.strip().partition(":")
    kind = kind.upper()
    match kind:
        case "DNS" if _HOST_NAME.fullmatch(value.lower()):
            return f"DNS:{value.lower()}"
        case "IP" if address := _ip_address(value):
            return f"IP:{address}"
        case "SHA256" if _SHA256.fullmatch(digest := value.replace(":", "").lower()):
            return f"SHA256:{digest}"
        case "CN" | "URI" if value and value.isprintable():
            return f"{kind}:{value}"
    raise IdentifierError(
        f"{text[:80]!r} names no certificate.",
        next_step="Write DNS:name, IP:address, URI:uri, CN:common name or SHA256:64 hexadecimal digits.",
    )


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def derive_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that is always the same for the same parts.

    Retries and re-sends rebuild an object with the same identity; any other input gives another one.
    Parts are joined with NUL, which no UID, name or digest contains.
    """
    return f"{DERIVED_ROOT}{uuid.uuid5(UID_NAMESPACE, chr(0).join(parts)).int}"


def reading_task_uid(study_instance_uid: str, device_uid: str) -> str:
    """UID of the workitem for the reading of a study: one for its life, whatever class it is in."""
    return derive_uid(study_instance_uid, device_uid, "reading task")


def is_loopback(host: str) -> bool:
    """True when nobody outside this machine can reach what listens on ``host``; a name other than localhost is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def in_network(address: str, network: str) -> bool:
    """True when an address, as a socket names it, lies in a network: zones ("%eth0") and mapped IPv4 are seen through.

    Raises
    ------
    ValueError
        ``network`` is neither address nor CIDR.
    """
    try:
        host = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return host in ipaddress.ip_network(network)


def ward_text(text: str) -> str:
    """A place in a hospital as one line: printable characters, :data:`LONGEST_WARD` at most; "" of an empty one.

    Systems copy an HL7 location (PL: point of care^room^bed) whole into DICOM's text; its components become words.
    """
    words = "".join(sign if sign.isprintable() else " " for sign in text).replace("^", " ").split()
    return " ".join(words)[:LONGEST_WARD].rstrip()


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A DICOM application entity on the network: ``AET@host:port``."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``AET@host:port``; IPv6 hosts stand in brackets.

        Raises
        ------
        IdentifierError
            Any part missing, or the port outside 1 to 65535.
        """
        title, at, location = text.rpartition("@")
        host, colon, port = location.rpartition(":")
        if not (at and colon and title and host):
            raise IdentifierError(f"{text!r} is not of the form AET@host:port.")
        if not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise IdentifierError(f"{text!r}: the port is not a number from 1 to 65535.")
        return cls(ae_title(title), host.strip("[]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"
