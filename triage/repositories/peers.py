"""Peers added while the house runs, and who has called lately, admitted or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.errors import NotFoundError, StateError
from triage.peers import CallingPeer
from triage.repositories import audit
from triage.repositories.upsert import insert_or_ignore_all
from triage.tables import Association, Event, Peer

LATELY: Final = 20_000
"""Associations, and events, that are looked at: the newest."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An AE title that called from one address: how often, and when last."""

    ae_title: str
    address: str
    times: int
    last_at: datetime
    reason: str = ""
    """Why it was turned away; empty for one that sent something."""


def all_of(session: Session) -> Sequence[Peer]:
    """Every peer that was added, by AE title."""
    return session.scalars(sa.select(Peer).order_by(Peer.ae_title)).all()


def by_id(session: Session, peer_id: int) -> Peer:
    """One peer, locked.

    Raises
    ------
    NotFoundError
        No such peer.
    """
    peer = session.scalar(sa.select(Peer).where(Peer.id == peer_id).with_for_update())
    if peer is None:
        raise NotFoundError("No peer with this id was added.", next_step="Reload the list of peers.")
    return peer


def add(session: Session, wanted: CallingPeer, note: str, *, at: datetime, who: str) -> Peer:
    """Admit a peer from now on.

    Raises
    ------
    StateError
        One with this AE title was added before.
    """
    row = {**wanted.model_dump(mode="json"), "note": note, "version": 1, "changed_at": at, "changed_by": who}
    if not insert_or_ignore_all(session.connection(), Peer, [row]):
        raise StateError(f"{wanted.ae_title} was added before.", next_step="Change that entry instead.")
    peer = session.scalars(sa.select(Peer).where(Peer.ae_title == wanted.ae_title)).one()
    _audit(session, "peer_added", peer, None, said(peer), at, who)
    return peer


def change(session: Session, peer: Peer, wanted: CallingPeer, note: str, *, at: datetime, who: str) -> None:
    """Let a peer come from elsewhere, with another certificate, or ask for other services.

    Its AE title stays: another one is another peer.

    Raises
    ------
    StateError
        The AE title is another one.
    """
    if wanted.ae_title != peer.ae_title:
        raise StateError("The AE title of a peer stays.", next_step="Add the other one, then remove this.")
    before = said(peer)
    peer.network, peer.certificate, peer.note = wanted.network, wanted.certificate, note
    peer.services = [str(service) for service in wanted.services]
    peer.version, peer.changed_at, peer.changed_by = peer.version + 1, at, who
    _audit(session, "peer_changed", peer, before, said(peer), at, who)


def remove(session: Session, peer: Peer, *, at: datetime, who: str) -> None:
    """Admit a peer no more; an association that is open is released at its next message."""
    session.delete(peer)
    _audit(session, "peer_removed", peer, said(peer), None, at, who)


def said(peer: Peer) -> dict[str, Any]:
    """A peer as the audit has it."""
    return {
        "network": peer.network,
        "certificate": peer.certificate,
        "services": list(peer.services),
        "note": peer.note,
    }


def senders(session: Session) -> list[Caller]:
    """Who sent something lately: by AE title and address, the latest first."""
    newest = session.scalar(sa.select(sa.func.max(Association.id))) or 0
    query = (
        sa.select(
            Association.calling_ae_title, Association.peer_address, sa.func.count(), sa.func.max(Association.opened_at)
        )
        .where(Association.id > newest - LATELY)
        .group_by(Association.calling_ae_title, Association.peer_address)
        .order_by(sa.func.max(Association.opened_at).desc())
        .limit(500)
    )
    return [Caller(*row) for row in session.execute(query)]


def refused(session: Session) -> list[Caller]:
    """Who was turned away lately, the latest first."""
    newest = session.scalar(sa.select(sa.func.max(Event.id))) or 0
    query = (
        sa.select(Event)
        .where(Event.id > newest - LATELY, Event.kind == "security_alert")
        .order_by(Event.id.desc())
        .limit(500)
    )
    found: dict[tuple[str, str, str], list[Event]] = {}
    for event in session.scalars(query):
        key = event.who, str(event.detail.get("peer_address", "")), str(event.detail.get("reason", ""))
        found.setdefault(key, []).append(event)
    return [
        Caller(title, address, sum(_times(event.detail) for event in told), told[0].at, reason)
        for (title, address, reason), told in found.items()
    ]


def _times(detail: Mapping[str, Any]) -> int:
    return int(detail.get("count") or 1)


def _audit(
    session: Session, action: str, peer: Peer, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None,
    at: datetime, who: str,
) -> None:  # fmt: skip
    subject = f"peer:{peer.ae_title}"
    audit.record(session, at=at, who=who, action=action, subject=subject, before=before, after=after)
