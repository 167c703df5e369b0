"""What is owed goes out: due deliveries of one destination over one association, every attempt a row."""

from __future__ import annotations

from datetime import datetime, timedelta

from dicom_node.scu import SendOutcome, send
from triage.crash_points import CrashPoint
from triage.identifiers import PeerAddress
from triage.logging import get_logger
from triage.repositories import deliveries
from workers.workbench import Workbench

log = get_logger(__name__)


def deliver_due(bench: Workbench, destination: str) -> int:
    """Send until nothing is due for the destination; returns how many objects it took."""
    taken = 0
    while True:
        batch_taken, batch_size = _deliver_batch(bench, destination)
        taken += batch_taken
        if batch_size == 0 or batch_taken < batch_size:
            return taken  # the rest has a later due time now


def _deliver_batch(bench: Workbench, destination: str) -> tuple[int, int]:
    started_at = bench.clock()
    with bench.database.write() as session:
        claimed = deliveries.claim_batch(session, destination, started_at)
    if not claimed:
        return 0, 0
    bench.reached(CrashPoint.DELIVERY_CLAIMED)
    outcomes = send(
        PeerAddress.parse(destination),
        [bench.settings.results / d.result_object.relative_path for d in claimed],
        calling_ae_title=bench.settings.ae_title,
    )
    bench.reached(CrashPoint.SENT)
    taken = 0
    for delivery, outcome in zip(claimed, outcomes, strict=True):
        taken += _conclude(bench, delivery.id, delivery.token, _attempt(outcome), started_at)
    log.info("batch_delivered", destination=destination, taken=taken)
    return taken, len(claimed)


def _attempt(outcome: SendOutcome) -> deliveries.Attempt:
    return deliveries.Attempt(
        delivered=outcome.stored,
        dicom_status=outcome.status,
        error=outcome.error,
        permanent=not outcome.stored and not outcome.retryable,
    )


def _conclude(
    bench: Workbench, delivery_id: int, token: str, attempt: deliveries.Attempt, started_at: datetime
) -> bool:
    with bench.database.write() as session:
        concluded = deliveries.conclude(
            session,
            delivery_id,
            token,
            attempt,
            started_at=started_at,
            finished_at=bench.clock(),
            give_up_after=timedelta(hours=bench.settings.delivery_hours),
        )
    return concluded is not None and attempt.delivered
