"""How this node speaks TLS, from its settings."""

from __future__ import annotations

from datetime import datetime

from dicom_node.tls import PeerTls, TlsFiles, requestor_tls
from triage.errors import SettingsError
from triage.identifiers import PeerAddress, certificate_name
from triage.peers import Destination
from triage.settings import Settings


def tls_files(settings: Settings) -> TlsFiles | None:
    """Our certificate, its key and whom we trust; None where the site has set none."""
    certificate, key, trusted = settings.dicom_tls_certificate, settings.dicom_tls_key, settings.dicom_tls_trusted
    if certificate is None or key is None or trusted is None:
        return None
    return TlsFiles(certificate=certificate, key=key, trusted=trusted)


def tls_towards(settings: Settings, destination: Destination, now: datetime) -> PeerTls | None:
    """TLS for a destination, read from the files anew so that a renewed certificate is used at once; None without.

    Raises
    ------
    SettingsError
        A file that cannot be used; says which and why.
    """
    if not destination.tls:
        return None
    files = tls_files(settings)
    if files is None:
        raise SettingsError(f"Destination {destination.address} needs TLS and there is no certificate.")
    return requestor_tls(files, now, certificate=destination.certificate or "")


def destination_at(settings: Settings, peer: PeerAddress) -> Destination:
    """What the settings say of an address; plain where they say nothing."""
    found = (destination for destination in settings.destinations if destination.peer == peer)
    return next(found, Destination(address=str(peer)))


def tls_for_address(
    settings: Settings, peer: PeerAddress, now: datetime, *, tls: bool | None = None, certificate: str | None = None
) -> PeerTls | None:
    """TLS for any address: as asked, else as the settings say of it as a destination.

    Raises
    ------
    SettingsError
        It is needed and cannot be had.
    IdentifierError
        ``certificate`` names none.
    """
    known = destination_at(settings, peer)
    wanted = known.tls or certificate is not None if tls is None else tls
    name = certificate_name(certificate) if certificate else known.certificate
    return tls_towards(settings, Destination(address=str(peer), tls=wanted, certificate=name if wanted else None), now)
