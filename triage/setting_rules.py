"""What a site must not set: secrets that are none, destinations that are no PACS. Each rule says why and what to do."""

from __future__ import annotations

import ipaddress
import re
import socket
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from triage.addresses import DestinationAddress, DestinationKind
from triage.errors import IdentifierError, SettingsError
from triage.identifiers import is_loopback
from triage.people import user_name

TOKEN_LENGTH: Final = 24
PLACEHOLDERS: Final = re.compile(
    r"change.?me|placeholder|password|secret|default|example|random characters|your.?token|[<>]", re.IGNORECASE
)
"""Text that is meant to be replaced; in 24 random characters it does not occur."""
WEAK_PASSWORDS: Final = frozenset({"", "postgres", "redis", "firstread", "admin", "root", "1234", "12345678"})
METADATA_HOSTS: Final = frozenset({"metadata", "metadata.google.internal", "instance-data"})
METADATA_ADDRESSES: Final = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
"""Of clouds; most use a link-local one."""
SECRETS: Final = frozenset({"http_tokens", "database_url", "broker_url"})
_NUMERIC: Final = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)


def check_token(token: str) -> None:
    """``name:token`` that nobody guesses, with a name that an account might have.

    Raises
    ------
    ValueError
        Too short, still the text of an example, or a name of the house. The message does not repeat it.
    """
    name, colon, secret = token.partition(":")
    if not (name and colon) or len(secret) < TOKEN_LENGTH:
        raise ValueError(f"http_tokens: each is name:token with a token of at least {TOKEN_LENGTH} characters")
    try:
        user_name(name)
    except IdentifierError as error:
        raise ValueError(f"http_tokens: {error.advice()}") from None
    if PLACEHOLDERS.search(secret):
        raise ValueError(
            "http_tokens: a token is still the placeholder of an example; make one with `openssl rand -hex 24`"
        )


def token_names(tokens: Iterable[str]) -> frozenset[str]:
    """Who stands in the audit trail by a token of the settings."""
    return frozenset(token.partition(":")[0] for token in tokens)


def check_bind(bind: str, *, some_may_send: bool) -> None:
    """An address that other machines reach is opened only with a list of who may send.

    Raises
    ------
    ValueError
        There is none.
    """
    if not is_loopback(bind) and not some_may_send:
        raise ValueError(f"bind {bind} is reachable from other machines: calling_ae_titles must list who may send")


def check_url(name: str, url: str, *, may_lack_password: bool = False) -> None:
    """A URL whose password, where the host is another machine, is not empty, a product's default or a placeholder.

    Raises
    ------
    ValueError
        The message does not repeat it.
    """
    parts = urlsplit(url)
    if not parts.hostname or is_loopback(parts.hostname):
        return
    if parts.password is None and may_lack_password:
        return
    password = parts.password or ""
    if password.lower() in WEAK_PASSWORDS or PLACEHOLDERS.search(password):
        raise ValueError(f"{name}: no password, or a default one, for {parts.hostname}; give that account a random one")


def check_destination(where: DestinationAddress, *, own_title: str, own_ports: Collection[int], bind: str) -> None:
    """An address that another system can have.

    Parameters
    ----------
    own_ports : collection of int
        Ports of ours on which we would take what we send: DICOM for a C-STORE destination, HTTP for the others.

    Raises
    ------
    ValueError
        This node itself, an address of the cloud's metadata service, or none that takes a connection.
    """
    here = where.port in own_ports and where.host in (bind, "localhost", "127.0.0.1", "::1")
    if here and (where.kind is not DestinationKind.C_STORE or where.peer.ae_title == own_title):
        raise ValueError(f"destination {where} is this node itself: results would come back for ever")
    host = where.host.lower().rstrip(".")
    address = _address(host)
    if host in METADATA_HOSTS or address in METADATA_ADDRESSES or (address is not None and address.is_link_local):
        raise ValueError(f"destination {where} is a link-local or metadata address, which is no PACS")
    if address is not None and (address.is_unspecified or address.is_multicast or int(address) == 0xFFFFFFFF):
        raise ValueError(f"destination {where} is no address of one machine")
    loopback = host == "localhost" or (address is not None and address.is_loopback)
    if loopback and not is_loopback(bind):
        raise ValueError(
            f"destination {where} is on loopback, but bind {bind} opens this node to the network: "
            "name the system by its network address"
        )


def check_file(path: Path) -> None:
    """A configuration file that holds secrets is closed to other users.

    Raises
    ------
    SettingsError
        Everybody on this machine can read the secrets in it.
    """
    try:
        values: Mapping[str, Any] = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # TOML's own, and text that is no UTF-8
        where = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8 text"
        raise SettingsError(f"{path} is not TOML: {where}.") from None
    if path.stat().st_mode & 0o004 and SECRETS & values.keys():
        held = ", ".join(sorted(SECRETS & values.keys()))
        raise SettingsError(f"{path} holds {held} and everybody can read it.", next_step=f"Run `chmod 600 {path}`.")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that the resolver would take ``host`` for without asking anybody ("127.1", "0xa9fea9fe"), if any."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _NUMERIC.fullmatch(host):
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
