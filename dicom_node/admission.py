"""Who may associate: a pure rule of (request, policy), answered with the codes of PS3.8 Table 9-21."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from triage.errors import IdentifierError
from triage.identifiers import ae_title, in_network
from triage.services import PeerService

APPLICATION_CONTEXT_NAME: Final = "1.2.840.10008.3.1.1.1"
ALL_SERVICES: Final = frozenset(PeerService)
WITHOUT_ITS_CERTIFICATE: Final = "WITHOUT_ITS_CERTIFICATE"
FROM_ANOTHER_ADDRESS: Final = "FROM_ANOTHER_ADDRESS"
"""Why a listed calling AE title was not recognised, for our own people: the peer hears the same as a stranger."""


class Rejection(Enum):
    """(result, source, reason) of an A-ASSOCIATE-RJ; result 1 is permanent, 2 transient (retrying helps)."""

    APPLICATION_CONTEXT_NOT_SUPPORTED = (1, 1, 2)
    CALLING_AE_TITLE_NOT_RECOGNISED = (1, 1, 3)
    CALLED_AE_TITLE_NOT_RECOGNISED = (1, 1, 7)
    PROTOCOL_VERSION_NOT_SUPPORTED = (1, 2, 2)
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)

    @property
    def transient(self) -> bool:
        return self is Rejection.LOCAL_LIMIT_EXCEEDED


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """A calling AE title that may associate, from anywhere or from one address or network only.

    Parameters
    ----------
    ae_title : str
        Compared after stripping padding, case-sensitive (PS3.8 9.3.2).
    network : str
        "" for anywhere, an address ("10.1.2.3") or a network ("10.1.2.0/24", "fd00::/8").
    certificate : str
        "" for any, or a :func:`triage.identifiers.certificate_name` that the peer's certificate must bear. The title
        is then admitted over TLS only: without a certificate, anybody may claim it.
    services : frozenset of PeerService
        What it may ask for.

    Raises
    ------
    ValueError
        The network is neither of them, or has host bits set.
    """

    ae_title: str
    network: str = ""
    certificate: str = ""
    services: frozenset[PeerService] = ALL_SERVICES

    def __post_init__(self) -> None:
        if self.network:
            ipaddress.ip_network(self.network)

    def admits(self, calling_ae_title: str, address: str, certificate_names: frozenset[str] = frozenset()) -> bool:
        if calling_ae_title != self.ae_title:
            return False
        if self.certificate and self.certificate not in certificate_names:
            return False
        return not self.network or in_network(address, self.network)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionPolicy:
    """Who may call whom.

    Attributes
    ----------
    called_ae_titles : sequence of str
        Titles we answer to; empty for any.
    peers : sequence of AllowedPeer or None
        None admits every calling AE title: only for a listener bound to loopback.
    """

    called_ae_titles: Sequence[str]
    peers: Sequence[AllowedPeer] | None

    def with_more(self, peers: Sequence[AllowedPeer]) -> AdmissionPolicy:
        """The same with further peers; a policy that admits everybody goes on to do so."""
        if self.peers is None or not peers:
            return self
        return replace(self, peers=(*self.peers, *peers))


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationRequest:
    """What decides on admission: of the A-ASSOCIATE-RQ (titles as on the wire, padding included) and its transport.

    Attributes
    ----------
    certificate_names : frozenset of str
        What the certificate of the peer says of it, verified by TLS; empty on a connection without TLS.
    """

    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    certificate_names: frozenset[str] = frozenset()
    protocol_version: int = 1
    application_context_name: str = APPLICATION_CONTEXT_NAME


def decide(request: AssociationRequest, policy: AdmissionPolicy) -> Rejection | None:
    """None when the request is admitted, else the first reason that speaks against it.

    Only bit 0 of the protocol version is tested, as PS3.8 9.3.2 demands. A calling AE title that is empty or has
    characters outside its value representation is never recognised, whatever the policy.
    """
    if not request.protocol_version & 1:
        return Rejection.PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context_name != APPLICATION_CONTEXT_NAME:
        return Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED
    called = request.called_ae_title.strip(" ")
    if policy.called_ae_titles and called not in policy.called_ae_titles:
        return Rejection.CALLED_AE_TITLE_NOT_RECOGNISED
    try:
        calling = ae_title(request.calling_ae_title)
    except IdentifierError:
        return Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
    address, names = request.peer_address, request.certificate_names
    if policy.peers is not None and not any(peer.admits(calling, address, names) for peer in policy.peers):
        return Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
    return None


def reason(rejection: Rejection, request: AssociationRequest, policy: AdmissionPolicy) -> str:
    """Name of a rejection for log and alerts; of a title that is listed, what its sender lacks."""
    calling = request.calling_ae_title.strip(" ")
    listed = [peer for peer in policy.peers or () if peer.ae_title == calling]
    if rejection is not Rejection.CALLING_AE_TITLE_NOT_RECOGNISED or not listed:
        return rejection.name
    reachable = [peer for peer in listed if not peer.network or in_network(request.peer_address, peer.network)]
    return WITHOUT_ITS_CERTIFICATE if reachable else FROM_ANOTHER_ADDRESS


def allowed_services(request: AssociationRequest, policy: AdmissionPolicy) -> frozenset[PeerService]:
    """What the sender of an admitted request may ask for: of every entry that admits it."""
    if policy.peers is None:
        return ALL_SERVICES
    calling, address, names = request.calling_ae_title.strip(" "), request.peer_address, request.certificate_names
    return frozenset().union(*(peer.services for peer in policy.peers if peer.admits(calling, address, names)))


class PolicyInForce:
    """The policy of the settings with the peers that were added: the same object until these change.

    Parameters
    ----------
    more : callable
        The peers that were added, the same object while nothing has changed; never raises or waits.
    """

    def __init__(self, settings: AdmissionPolicy, more: Callable[[], Sequence[AllowedPeer]]) -> None:
        self._settings, self._more = settings, more
        self._last: tuple[Sequence[AllowedPeer], AdmissionPolicy] = ((), settings)

    def __call__(self) -> AdmissionPolicy:
        added, (known, policy) = self._more(), self._last
        if added is not known:
            policy = self._settings.with_more(added)
            self._last = added, policy
        return policy


class Admission:
    """What an association request is granted, judged again whenever the policy changes while it is open.

    Attributes
    ----------
    rejection : Rejection or None
        Why it is not admitted, or admitted no more, when :meth:`judge` was last asked.
    services : frozenset of PeerService
        What its sender might ask for then.
    """

    def __init__(self, request: AssociationRequest, policy: Callable[[], AdmissionPolicy]) -> None:
        self._request, self._policy = request, policy
        self._judged: AdmissionPolicy | None = None
        self.rejection: Rejection | None = None
        self.services: frozenset[PeerService] = frozenset()

    def judge(self) -> Rejection | None:
        """:func:`decide` by the policy of this moment."""
        policy = self._policy()
        if policy is not self._judged:
            self.rejection = decide(self._request, policy)
            self.services = allowed_services(self._request, policy) if self.rejection is None else frozenset()
            self._judged = policy
        return self.rejection

    def allows(self, service: PeerService | None) -> bool:
        """Whether a message may be answered now; None: for what every peer may do."""
        return self.judge() is None and (service is None or service in self.services)
