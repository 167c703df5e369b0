"""What a kind of destination has to offer so that deliveries, proofs and the doctor can deal with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from triage.peers import Destination
from triage.repositories.commitments import Question
from triage.repositories.deliveries import Attempt
from triage.settings import Settings
from triage.tables import Delivery

if TYPE_CHECKING:
    from workers.workbench import Workbench


class Carrier(Protocol):
    """Takes the deliveries of one batch to one destination; leaving the context closes what it opened."""

    @property
    def provable(self) -> bool:
        """Whether the destination can be asked if it holds what it was sent last."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *details: object) -> None: ...

    def send(self, delivery: Delivery, path: Path) -> Attempt:
        """One try. What the destination or the network does is an attempt with its verdict, never an exception.

        It is idempotent: the same delivery carries the same identifiers each time. Once the destination is out of
        reach, the rest of a batch ends the same way without being tried.

        Parameters
        ----------
        path : Path
            The file with the frozen bytes, compared with its digest a moment ago.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """How a destination answered when the doctor asked; ``next_step`` is empty where all is well."""

    ok: bool
    message: str
    next_step: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CarrierKind:
    """Everything about a kind of destination.

    Attributes
    ----------
    open : callable
        A carrier for a batch. Raises :class:`SettingsError` for settings that cannot be used: each delivery then waits
        as UNWELCOME with its advice.
    check : callable
        Whether a destination can be reached as it is set; bounded by a few seconds, raises nothing but SettingsError.
    prove : callable or None
        Settles or puts off each question about what a destination holds; None where nobody can be asked.
    """

    open: Callable[[Workbench, Destination, Sequence[Delivery]], Carrier]
    check: Callable[[Settings, Destination, datetime], Checked]
    prove: Callable[[Workbench, Destination, Sequence[Question]], None] | None = None
