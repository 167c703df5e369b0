"""How this node speaks TLS, from its settings."""

from __future__ import annotations

from datetime import datetime

from dicom_node.tls import PeerTls, TlsFiles, requestor_tls
from triage.errors import FirstreadError, SettingsError
from triage.identifiers import PeerAddress, certificate_name
from triage.order_feeds import OrderFeed
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


def tls_towards_feed(settings: Settings, feed: OrderFeed, now: datetime) -> PeerTls | None:
    """TLS for a worklist that is asked for orders; None without.

    Raises
    ------
    SettingsError
        A file that cannot be used; says which and why.
    """
    files = tls_files(settings) if feed.tls else None
    return requestor_tls(files, now, certificate=feed.certificate or "") if files is not None else None


def destination_at(settings: Settings, address: str) -> Destination:
    """What the settings say of an address; where they say nothing any more, its kind without options.

    Raises
    ------
    SettingsError
        It is not in the settings, and nothing can be sent to such an address without options.
    """
    for destination in settings.destinations:
        if destination.address == address:
            return destination
    try:
        return Destination(address=address)
    except (ValueError, FirstreadError):
        raise SettingsError(
            f"{address} is not in the settings any more, and its kind needs options.",
            next_step="Set it again, or leave what waits for it to be given up.",
        ) from None


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
    known = destination_at(settings, str(peer))
    wanted = known.tls or certificate is not None if tls is None else tls
    name = certificate_name(certificate) if certificate else known.certificate
    return tls_towards(settings, Destination(address=str(peer), tls=wanted, certificate=name if wanted else None), now)
