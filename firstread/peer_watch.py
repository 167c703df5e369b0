"""Peers that were added or removed while the listener runs: it admits by them within a second, without a restart."""

from __future__ import annotations

import threading
from typing import Final, Self

from dicom_node.admission import AllowedPeer
from triage.database import ChangeWatch, Database
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.repositories import peers
from triage.services import PeerService
from triage.tables import Peer

LOOK_EVERY: Final = 0.5  # seconds

log = get_logger(__name__)


class PeerWatch:
    """Reads the rows again, in a thread of its own, when the database has changed; no association waits for it.

    A context manager: entering it reads them once. While the database is away, those that were read last stand.
    """

    def __init__(self, database: Database, *, every: float = LOOK_EVERY) -> None:
        self._database, self._every = database, every
        self._peers: tuple[AllowedPeer, ...] = ()
        self._watch: ChangeWatch | None = None
        self._due = True
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peer-watch", daemon=True)

    def __enter__(self) -> Self:
        self._watch = self._database.watch()
        self._look(self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def now(self) -> tuple[AllowedPeer, ...]:
        """Who may send, besides those of the settings; never waits."""
        return self._peers

    def _run(self) -> None:
        assert self._watch is not None  # noqa: S101 - made before the thread
        while not self._stopped.wait(self._every):
            self._look(self._watch)
        self._watch.close()

    def _look(self, watch: ChangeWatch) -> None:
        try:
            self._due = watch.changed() or self._due
            if self._due:
                self._read()
                self._due = False
        except DatabaseUnavailableError as error:
            log.warning("peers_not_read", advice=error.advice())
            watch.close()
        except Exception as error:  # who was removed must not stay because this thread ended
            log.error("peers_not_read", error=type(error).__name__, exc_info=error)
            watch.close()

    def _read(self) -> None:
        with self._database.read() as session:
            rows = peers.all_of(session)
        found = tuple(peer for peer in map(_allowed, rows) if peer is not None)
        if found != self._peers:
            log.info("peers_changed", peers=len(found))
            self._peers = found


def _allowed(row: Peer) -> AllowedPeer | None:
    try:
        services = frozenset(map(PeerService, row.services))
        return AllowedPeer(row.ae_title, row.network or "", row.certificate or "", services)
    except ValueError:  # not written by us: the others count all the same
        log.error("peer_unusable", peer=row.id)
        return None
