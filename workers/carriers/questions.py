"""Questions about what a destination holds that could not be settled now: put off, or given up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from triage.logging import get_logger
from triage.repositories import commitments
from triage.repositories.commitments import Patience, Question

if TYPE_CHECKING:
    from workers.workbench import Workbench

log = get_logger(__name__)


def postpone(bench: Workbench, questions: Sequence[Question], reason: str) -> None:
    """Ask again later; when proof is overdue, send again."""
    log.info("proof_postponed", requests=len(questions), reason=reason)
    settings = bench.settings
    patience = Patience(timedelta(hours=settings.commitment_hours), timedelta(hours=settings.delivery_hours))
    for question in questions:
        with bench.database.write() as session:
            commitments.postpone(session, question.commitment_id, reason, at=bench.clock(), patience=patience)


def withdraw(bench: Workbench, questions: Sequence[Question]) -> None:
    """Nobody can be asked: the deliveries stay SENT, with the answer as their proof."""
    for question in questions:
        with bench.database.write() as session:
            commitments.withdraw(session, question.commitment_id)
