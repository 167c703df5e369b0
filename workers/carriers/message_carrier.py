"""What carriers of messages have in common: when to stop trying, and what must not go out any more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from triage.outbox import Verdict
from triage.repositories import deliveries
from triage.repositories.deliveries import Attempt
from triage.tables import Delivery

if TYPE_CHECKING:
    from workers.workbench import Workbench

SILENCES: Final = 2
"""Messages in a row without an answer after which the rest of a batch is not tried: one may be the message's own fault,
and it must not stand before all others for days."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """How one message fared; ``answered`` is False when nobody said anything about it."""

    attempt: Attempt
    answered: bool = True


class MessageCarrier(ABC):
    """Sends messages one after the other; what is sent is the file, as it is."""

    provable = False
    """An answer to a message is all the proof there is."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._silences = 0
        self._last: Attempt | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @abstractmethod
    def tell(self, delivery: Delivery, content: bytes) -> Told:
        """Send one message; never raises for what the destination or the network does."""

    def send(self, delivery: Delivery, path: Path) -> Attempt:
        """One try."""
        if self._last is not None and self._silences >= SILENCES:
            return self._last
        with self._bench.database.read() as session:
            if deliveries.superseded(session, delivery):
                return Attempt(verdict=Verdict.HELD, error=f"{deliveries.SUPERSEDED}: this one would undo it")
        try:
            content = path.read_bytes()
        except OSError as error:
            return Attempt(verdict=Verdict.TRANSIENT, error=f"The message cannot be read ({error.strerror}).")
        told = self.tell(delivery, content)
        self._silences = 0 if told.answered else self._silences + 1
        self._last = told.attempt
        return told.attempt


def identity_of(delivery: Delivery) -> tuple[str, ...]:
    """Every value of the patient's that a receiver may repeat."""
    return tuple(str(value) for value in delivery.result_object.identity.values() if value)
