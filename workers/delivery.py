"""What is owed goes out: due deliveries of one destination by its carrier, every attempt a row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from triage.crash_points import CrashPoint
from triage.errors import DatabaseUnavailableError, SettingsError
from triage.logging import get_logger
from triage.outbox import Verdict
from triage.repositories import deliveries
from triage.repositories.deliveries import Attempt
from triage.tables import Delivery
from workers.carriers.kinds import carrier_kind
from workers.carriers.protocol import Carrier
from workers.frozen import objection
from workers.pulse import process_name
from workers.transport import destination_at
from workers.workbench import Workbench

BATCH_SECONDS: Final = 60.0
"""After this long no further object of a batch is begun: the rest goes back, and the most urgent come first again."""

log = get_logger(__name__)


def deliver_due(bench: Workbench, destination: str) -> int:
    """Send until nothing is due for the destination; returns how many objects it took."""
    taken = 0
    while True:
        with bench.database.write() as session:
            batch = deliveries.claim_batch(session, destination, bench.clock(), holder=process_name("deliver"))
        if not batch:
            return taken
        bench.reached(CrashPoint.DELIVERY_CLAIMED)
        of_batch = _Batch(bench, destination, batch).send()
        taken += of_batch
        log.info("batch_delivered", destination=destination, taken=of_batch, of=len(batch))
        if of_batch < len(batch):
            return taken  # the rest has a later due time now


class _Batch:
    """Claimed deliveries on their way together."""

    def __init__(self, bench: Workbench, destination: str, batch: Sequence[Delivery]) -> None:
        self._bench = bench
        self._destination = destination
        self._batch = batch
        self._token = batch[0].token
        self._end = time.monotonic() + BATCH_SECONDS

    def send(self) -> int:
        """Send what there is time for; returns how many objects the destination took."""
        try:
            destination = destination_at(self._bench.settings, self._destination)
            carrier = carrier_kind(destination.kind).open(self._bench, destination, self._batch)
        except SettingsError as error:
            return self._conclude_all(Attempt(verdict=Verdict.UNWELCOME, error=error.advice()))
        except DatabaseUnavailableError:
            raise
        except Exception as error:
            log.error("delivery_broke", destination=self._destination, exc_info=True)
            return self._conclude_all(_broken(error))
        with carrier:
            return self._over(carrier)

    def _over(self, carrier: Carrier) -> int:
        taken = 0
        for delivery in self._batch:
            if time.monotonic() > self._end:
                self._give_back()
                break
            started_at = self._bench.clock()
            attempt = self._attempt(carrier, delivery)
            taken += self._conclude(delivery, attempt, started_at, provable=carrier.provable)
        return taken

    def _attempt(self, carrier: Carrier, delivery: Delivery) -> Attempt:
        """One try. What breaks in it is an attempt as well: it is counted, waits, and holds up nothing behind it."""
        try:
            objection = self._objection(delivery)
            if objection is not None:
                return objection
            attempt = carrier.send(delivery, self._bench.settings.results / delivery.result_object.relative_path)
        except DatabaseUnavailableError:
            raise
        except Exception as error:
            log.error("delivery_broke", destination=self._destination, delivery=delivery.id, exc_info=True)
            return _broken(error)
        self._bench.reached(CrashPoint.SENT)
        return attempt

    def _objection(self, delivery: Delivery) -> Attempt | None:
        try:
            reason = objection(self._bench, delivery)
        except OSError as error:
            return Attempt(
                verdict=Verdict.TRANSIENT, error=f"The file of the result cannot be read ({error.strerror})."
            )
        return Attempt(verdict=Verdict.HELD, error=reason) if reason else None

    def _conclude(self, delivery: Delivery, attempt: Attempt, started_at: datetime, *, provable: bool) -> bool:
        with self._bench.database.write() as session:
            concluded = deliveries.conclude(
                session,
                delivery.id,
                self._token,
                attempt,
                started_at=started_at,
                finished_at=self._bench.clock(),
                give_up_after=timedelta(hours=self._bench.settings.delivery_hours),
                provable=provable,
            )
        return concluded is not None and attempt.verdict is Verdict.DELIVERED

    def _conclude_all(self, attempt: Attempt) -> int:
        for delivery in self._batch:
            self._conclude(delivery, attempt, self._bench.clock(), provable=False)
        return 0

    def _give_back(self) -> None:
        with self._bench.database.write() as session:
            returned = deliveries.give_back(session, self._token)
        log.warning("batch_out_of_time", destination=self._destination, returned=returned)


def _broken(error: Exception) -> Attempt:
    kind = type(error).__name__
    return Attempt(verdict=Verdict.TRANSIENT, error=f"Sending it failed here ({kind}): see the log of this node.")
