"""Does the destination really hold what it took? Each kind of destination is asked in its own way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from triage.errors import FirstreadError
from triage.logging import get_logger
from triage.repositories import commitments
from workers.carriers.kinds import carrier_kind
from workers.carriers.questions import postpone, withdraw
from workers.transport import destination_at

if TYPE_CHECKING:
    from workers.workbench import Workbench

log = get_logger(__name__)


def prove_due(bench: Workbench, address: str) -> None:
    """Ask a destination for proof of what it took, as far as that is due."""
    with bench.database.write() as session:
        questions = commitments.claim(session, address, bench.clock())
    if not questions:
        return
    try:
        destination = destination_at(bench.settings, address)
        prove = carrier_kind(destination.kind).prove
    except FirstreadError as error:
        postpone(bench, questions, error.advice())
        return
    if prove is None or destination.commitment == "off":
        withdraw(bench, questions)
    else:
        prove(bench, destination, questions)


def watch_proofs(bench: Workbench) -> None:
    """See to it that no destination is waited for beyond its time."""
    hours = timedelta(hours=bench.settings.commitment_hours)
    with bench.database.write() as session:
        late = commitments.unanswered(session, bench.clock(), after=hours)
    if late:
        log.warning("commitment_reports_missing", transactions=late)
