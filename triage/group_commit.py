"""Group commit: what several threads want written at the same moment goes into one transaction.

A durable commit costs a sync of the disk, and a transaction some statements that do not depend on how many rows it
writes. Nobody waits for company: who finds no transaction under way begins one, alone if need be; who comes while
one is under way goes into the next, together with all who came meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import sqlalchemy as sa

from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger

MOST: Final = 64
"""Items of one transaction: a bound on how long other writers wait."""
REPEAT_WITHIN: Final = 2.0
"""Seconds: a transaction that failed sooner is tried once more; for one that did not, callers have waited enough."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

log = get_logger(__name__)


class GroupCommit(Generic[Item, Outcome]):
    """Writes items durably, those of concurrent callers together.

    Parameters
    ----------
    write : callable
        Writes items in one transaction, in order, and returns an outcome for each. May be called again for the same
        items after a roll-back.
    """

    def __init__(self, database: Database, write: Callable[[sa.Connection, Sequence[Item]], Sequence[Outcome]]) -> None:
        self._writer, self._write = database.writer(), write
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[Item, Outcome]] = []
        self._busy = False

    def __call__(self, item: Item) -> Outcome:
        """Return once the item is committed.

        Raises
        ------
        DatabaseUnavailableError
            It is not, or nobody knows; the caller has to try again.
        Exception
            Whatever ``write`` raised for this item alone.
        """
        ticket: _Ticket[Item, Outcome] = _Ticket(item)
        with self._lock:
            self._waiting.append(ticket)
            leads = not self._busy
            self._busy = True
        if not leads:
            ticket.turn.acquire()
        if not ticket.settled:
            self._lead()
        return ticket.outcome()

    def _lead(self) -> None:
        """Write everything that waits, this thread's own item among it, then let the next one lead."""
        with self._lock:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        try:
            self._settle(batch)
        finally:
            with self._lock:
                successor = self._waiting[0] if self._waiting else None
                self._busy = successor is not None
            for ticket in batch:
                ticket.settled = True
                ticket.turn.release()
            if successor is not None:
                successor.turn.release()

    def _settle(self, batch: list[_Ticket[Item, Outcome]]) -> None:
        began = time.monotonic()
        try:
            self._commit(batch)
        except DatabaseUnavailableError as error:
            if time.monotonic() - began > REPEAT_WITHIN:
                _fail(batch, error)
                return
            # A lost connection, a deadlock or a serialization failure ends with the transaction: once more, whole.
            log.warning("transaction_repeated", items=len(batch), problem=str(error))
            self._attempt(batch)
        except Exception as error:  # noqa: BLE001 - goes to the thread that waits for it
            if len(batch) > 1:
                # One of them cannot be written: the others must not suffer for it.
                log.warning("transaction_divided", items=len(batch), error=type(error).__name__)
                for ticket in batch:
                    self._attempt([ticket])
            else:
                _fail(batch, error)

    def _attempt(self, batch: list[_Ticket[Item, Outcome]]) -> None:
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for it
            _fail(batch, error)

    def _commit(self, batch: list[_Ticket[Item, Outcome]]) -> None:
        items = [ticket.item for ticket in batch]
        outcomes = self._writer.transaction(lambda connection: self._write(connection, items))
        for ticket, outcome in zip(batch, outcomes, strict=True):
            ticket.result.append(outcome)


def _fail(batch: list[_Ticket[Item, Outcome]], error: Exception) -> None:
    for ticket in batch:
        ticket.failure = error


class _Ticket(Generic[Item, Outcome]):
    __slots__ = ("failure", "item", "result", "settled", "turn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.settled = False
        self.result: list[Outcome] = []
        self.failure: Exception | None = None
        self.turn = threading.Lock()
        self.turn.acquire()

    def outcome(self) -> Outcome:
        if self.failure is not None:
            raise self.failure
        if not self.result:
            raise DatabaseUnavailableError("The transaction ended without a word.")
        return self.result[0]
