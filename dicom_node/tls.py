"""TLS for DICOM, made from three files: certificate, key, and who is trusted.

PS3.15 annex B, the BCP 195 RFC 8996, 9325 profile: TLS 1.2 or 1.3, ECDHE with AES-GCM, certificates on both sides, no
way down to anything older or to no TLS at all.
"""

from __future__ import annotations

import ipaddress
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from triage.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CIPHERS: Final = "ECDHE+AESGCM"
"""Suites of TLS 1.2 (RFC 9325 4.2); those of TLS 1.3 are all sound and OpenSSL's own."""

RENEW_WITHIN: Final = timedelta(days=30)
"""Certificates that end sooner are warned of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """PEM files of one node.

    Attributes
    ----------
    certificate : Path
        Our certificate, followed by intermediate ones where there are any.
    key : Path
        Its private key, without a password, closed to other users.
    trusted : Path
        Certificates of the authorities (or of the peers themselves) that peers' certificates must come from.
    """

    certificate: Path
    key: Path
    trusted: Path


@dataclass(frozen=True, slots=True)
class PeerTls:
    """How to speak TLS to one peer, as requestor.

    Attributes
    ----------
    certificate : str
        A :func:`triage.identifiers.certificate_name` that the peer's certificate must bear; "" for the name or address
        that is connected to.
    """

    context: ssl.SSLContext
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Expiry:
    """A certificate in use that ends soon, or has ended."""

    file: Path
    subject: str
    at: datetime

    def describe(self, now: datetime) -> str:
        left = self.at - now
        when = f"ends in {left.days} days" if left > timedelta(0) else "has ended"
        return f"{self.subject} in {self.file} {when} ({self.at:%Y-%m-%d %H:%M} UTC)"


def acceptor_context(files: TlsFiles, now: datetime) -> ssl.SSLContext:
    """For connections that come in: a certificate is demanded.

    Raises
    ------
    SettingsError
        A file that cannot be used; says which and why.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, files, now)


def requestor_tls(files: TlsFiles, now: datetime, *, certificate: str = "") -> PeerTls:
    """For connections to one peer.

    Raises
    ------
    SettingsError
        A file that cannot be used; says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, files, now)
    context.check_hostname = not certificate
    return PeerTls(context, certificate)


def expiring(files: TlsFiles, now: datetime) -> list[Expiry]:
    """Certificates of ours and of those we trust that end within :data:`RENEW_WITHIN`, the next one first.

    Raises
    ------
    SettingsError
        A file cannot be read.
    """
    found = [
        Expiry(file, certificate.subject.rfc4514_string(), certificate.not_valid_after_utc)
        for file in (files.certificate, files.trusted)
        for certificate in _certificates(file)
    ]
    return sorted((e for e in found if e.at < now + RENEW_WITHIN), key=lambda expiry: expiry.at)


def fingerprint(files: TlsFiles) -> str:
    """Our certificate as a :func:`triage.identifiers.certificate_name`.

    Raises
    ------
    SettingsError
        It cannot be read.
    """
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - see _certificates

    return f"SHA256:{_certificates(files.certificate)[0].fingerprint(SHA256()).hex()}"


def names_of(described: Mapping[str, Any], encoded: bytes) -> frozenset[str]:
    """What a verified certificate says of its owner, as :func:`triage.identifiers.certificate_name` writes it.

    Parameters
    ----------
    described, encoded
        ``SSLSocket.getpeercert()`` as a mapping and in DER.
    """
    return frozenset((*_names(described), f"SHA256:{sha256(encoded).hexdigest()}"))


def _names(described: Mapping[str, Any]) -> Iterator[str]:
    for kind, value in described.get("subjectAltName", ()):
        match kind:
            case "DNS":
                yield f"DNS:{value.lower()}"
            case "URI":
                yield f"URI:{value}"
            case "IP Address":
                yield f"IP:{ipaddress.ip_address(value.strip())}"
    for relative_name in described.get("subject", ()):
        yield from (f"CN:{value}" for kind, value in relative_name if kind == "commonName")


def _context(protocol: ssl._SSLMethod, files: TlsFiles, now: datetime) -> ssl.SSLContext:
    _check_certificate(files.certificate, protocol, now)
    _check_key(files.key)
    _certificates(files.trusted)
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(CIPHERS)

    def refuse_password() -> NoReturn:
        raise SettingsError(
            f"{files.key} is encrypted.", next_step="Store the key without a password, readable only to firstread."
        )

    try:
        context.load_cert_chain(files.certificate, files.key, password=refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(
                f"The key in {files.key} does not belong to the certificate in {files.certificate}.",
                next_step="Set dicom_tls_certificate and dicom_tls_key to files of one pair.",
            ) from None
        raise SettingsError(f"{files.key} holds no private key in PEM that goes with {files.certificate}.") from None
    context.load_verify_locations(files.trusted)
    return context


def _check_certificate(file: Path, protocol: ssl._SSLMethod, now: datetime) -> None:
    own = _certificates(file)[0]
    if own.not_valid_after_utc <= now:
        raise SettingsError(
            f"The certificate in {file} has ended on {own.not_valid_after_utc:%Y-%m-%d}.",
            next_step="Have it renewed; peers would refuse it.",
        )
    if own.not_valid_before_utc > now:
        raise SettingsError(
            f"The certificate in {file} begins on {own.not_valid_before_utc:%Y-%m-%d}.",
            next_step="Check the clock of this machine.",
        )
    from cryptography import x509  # noqa: PLC0415 - see _certificates
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    try:
        usage = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    server = protocol is ssl.PROTOCOL_TLS_SERVER
    needed = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    if needed not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        side = "server (serverAuth)" if server else "client (clientAuth)"
        raise SettingsError(
            f"The certificate in {file} may not be used as a {side}.",
            next_step="Have one issued for both: DICOM connections go both ways.",
        )


def _check_key(file: Path) -> None:
    try:
        mode = file.stat().st_mode
        with file.open("rb"):
            pass
    except OSError as error:
        raise SettingsError(f"The key {file} cannot be read ({error.strerror}).") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise SettingsError(
            f"Every user of this machine can read the key {file}.",
            next_step=f"chmod 600 {file}, and ask for a new certificate.",
        )


def _certificates(file: Path) -> list[Certificate]:
    # Here and not above: the library brings an OpenSSL of its own, 10 MB that a node without TLS has no use for.
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"The certificate file {file} cannot be read ({error.strerror}).") from None
    except ValueError:
        raise SettingsError(f"{file} holds no certificate in PEM.") from None
