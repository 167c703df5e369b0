"""``/api/v1/admin/peers``: who may send, from the settings and added while the node runs; who called and when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from fastapi import APIRouter, Response

from triage.errors import IdentifierError, StateError
from triage.peers import CallingPeer, opens_plain_port
from triage.repositories import errands, peers
from triage.repositories.peers import Caller
from triage.services import PeerService
from triage.settings import Settings
from triage.states import ErrandKind
from triage.tables import Errand, Peer
from worklist.api.admin import RowId
from worklist.changing import etag
from worklist.context import Context, Here, Who
from worklist.editing import Seen, require_unchanged
from worklist.schemas.errands import ErrandOut, describe_errand
from worklist.schemas.peers import CallerOut, EchoWish, PeerList, PeerOut, PeerWish

router = APIRouter(prefix="/admin/peers", tags=["admin"])

REFUSED_FOR_TITLE: Final = "CALLING_AE_TITLE_NOT_RECOGNISED"
REFUSED_THOUGH_LISTED: Final = frozenset({"WITHOUT_ITS_CERTIFICATE", "FROM_ANOTHER_ADDRESS"})
"""The title is listed, but not for who claims it: to admit that one as well would undo what binds the title."""


def read_peers(here: Context) -> PeerList:
    """Everybody who may send, and who called."""
    settings = here.settings
    with here.database.look() as session:
        rows = peers.all_of(session)
        senders, refused = peers.senders(session), peers.refused(session)
        tried = errands.latest(session, [_subject(row) for row in rows])
    configured = [
        PeerOut(
            id=None,
            ae_title=peer.ae_title,
            network=peer.network,
            certificate=peer.certificate,
            services=list(peer.services),
            **_seen(peer.ae_title, senders),
        )
        for peer in settings.calling_ae_titles
    ]
    added = [describe_peer(row, senders, tried.get(_subject(row))) for row in rows]
    known = {peer.ae_title for peer in (*configured, *added)}
    return PeerList(
        admits_everybody=admits_everybody(settings),
        network_needed=network_needed(settings),
        items=[*configured, *added],
        others=_callers(caller for caller in senders if caller.ae_title not in known),
        refused=_callers(refused),
    )


@router.get("", summary="Who may send, and who called")
def list_peers(here: Here) -> PeerList:
    """Peers of the settings, peers that were added, and who was turned away lately with the reason."""
    return read_peers(here)


@router.post("", summary="Admit a peer", status_code=201)
def add_peer(here: Here, who: Who, wish: PeerWish, response: Response) -> PeerOut:
    """The listeners admit it within a second, without a restart. 409 when its AE title was added before, or is one of
    the settings: a row beside them would widen what they allow.
    """
    wanted = _wanted(here.settings, wish)
    if wanted.ae_title in {peer.ae_title for peer in here.settings.calling_ae_titles}:
        raise StateError("The settings name this AE title.", next_step="Change it in calling_ae_titles.")
    with here.database.write() as session:
        row = peers.add(session, wanted, wish.note, at=here.clock(), who=who)
    response.headers["ETag"] = etag(row.version)
    return describe_peer(row)


@router.put("/{peer_id}", summary="Change where a peer comes from")
def change_peer(here: Here, who: Who, peer_id: RowId, wish: PeerWish, seen: Seen, response: Response) -> PeerOut:
    """Network, certificate, services and note; the AE title stays. 409 when somebody else has changed it since.

    It counts within a second, also for an association that is open: what it may not ask for any more is refused there
    with 0x0124.
    """
    with here.database.write() as session:
        row = peers.by_id(session, peer_id)
        require_unchanged(row.version, seen)
        wanted = _wanted(here.settings, wish, row.services)
        peers.change(session, row, wanted, wish.note, at=here.clock(), who=who)
    response.headers["ETag"] = etag(row.version)
    return describe_peer(row)


@router.delete("/{peer_id}", summary="Admit a peer no more", status_code=204)
def remove_peer(here: Here, who: Who, peer_id: RowId, seen: Seen) -> None:
    """Within a second new associations are refused, and an open one ends at its next message: an image on its way is
    kept and acknowledged, the next is refused with 0x0124. What it has sent stays.
    """
    with here.database.write() as session:
        row = peers.by_id(session, peer_id)
        require_unchanged(row.version, seen)
        peers.remove(session, row, at=here.clock(), who=who)


@router.post("/{peer_id}/echo", summary="C-ECHO to a peer", status_code=202)
def echo_peer(here: Here, who: Who, peer_id: RowId, wish: EchoWish) -> ErrandOut:
    """A worker asks it and says what it answered; nothing is stored there."""
    with here.database.write() as session:
        row = peers.by_id(session, peer_id)
        asked = {"ae_title": row.ae_title, "certificate": row.certificate if wish.tls else None}
        errand = errands.ask(
            session, ErrandKind.ECHO, _subject(row), asked | wish.model_dump(), at=here.clock(), who=who
        )
        return describe_errand(errand)


def admits_everybody(settings: Settings) -> bool:
    """Whether every AE title is admitted."""
    return settings.on_loopback and not settings.calling_ae_titles


def network_needed(settings: Settings) -> bool:
    """Whether a peer has to name its network: AE titles are no secrets, and a port without TLS believes them."""
    opens = opens_plain_port(settings.dicom_plain, on_loopback=settings.on_loopback, tls_port=settings.dicom_tls_port)
    return opens and settings.dicom_plain is None and not settings.on_loopback


def describe_peer(row: Peer, senders: Sequence[Caller] = (), echo: Errand | None = None) -> PeerOut:
    """A peer that was added."""
    return PeerOut(
        id=row.id,
        ae_title=row.ae_title,
        network=row.network,
        certificate=row.certificate,
        services=row.services,
        note=row.note,
        version=row.version,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
        echo=describe_errand(echo) if echo else None,
        **_seen(row.ae_title, senders),
    )


def _wanted(settings: Settings, wish: PeerWish, before: Sequence[str] = tuple(PeerService)) -> CallingPeer:
    """``before``: what it may ask for where the wish leaves that as it is."""
    if wish.network is None and network_needed(settings):
        raise IdentifierError(
            f"network: {wish.ae_title} may not come from anywhere, because dicom_port has no TLS.",
            next_step="Name its address or network.",
        )
    if wish.certificate is not None and settings.dicom_tls_port is None:
        raise IdentifierError(
            "certificate: there is no dicom_tls_port that would see one.", next_step="Leave it out, or set the port."
        )
    asked = before if wish.services is None else wish.services
    services = tuple(service for service in PeerService if service in asked)
    return CallingPeer(ae_title=wish.ae_title, network=wish.network, certificate=wish.certificate, services=services)


def _seen(title: str, senders: Sequence[Caller]) -> dict[str, Any]:
    own = [caller for caller in senders if caller.ae_title == title]
    if not own:
        return {}
    return {
        "last_at": own[0].last_at,
        "last_address": own[0].address,
        "associations": sum(caller.times for caller in own),
    }


def _callers(callers: Iterable[Caller]) -> list[CallerOut]:
    return [CallerOut.model_validate(caller, from_attributes=True) for caller in callers]


def _subject(row: Peer) -> str:
    return f"peer:{row.ae_title}"
