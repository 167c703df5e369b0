"""Modality Worklists asked for the orders of new studies (PS3.4 annex K, user side), by their accession numbers.

A study is asked about soon after it came, and a few times more: an emergency is often ordered while it is being made.
What has been asked is kept in memory; a process that starts asks anew about the studies of the last day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.contexts import MODALITY_WORKLIST_FIND
from dicom_node.conversation import Conversation
from dicom_node.query import find
from dicom_node.requestor import Timeouts
from dicom_node.scu import UNCOMPRESSED
from triage.database import Database
from triage.errors import DatabaseUnavailableError, DeliveryError, FirstreadError
from triage.identifiers import ward_text
from triage.logging import get_logger
from triage.order_feeds import OrderFeed
from triage.orders import OrderSource, PlacedOrder, urgency_of
from triage.repositories import orders
from triage.settings import Settings
from workers.transport import tls_towards_feed

AGAIN: Final = (timedelta(seconds=30), timedelta(minutes=3), timedelta(minutes=15), timedelta(hours=1))
"""After how long since the study came it is asked about again."""
YOUNG: Final = timedelta(hours=24)
MOST_FAILURES: Final = 3
"""Questions of one look that fail before the others wait for the next one."""
AT_ONCE: Final = 200
"""Studies of one look; others are looked at the next time."""
PATIENCE: Final = Timeouts(connect=5.0, association=10.0, send=10.0, response=20.0)
_WARD: Final = ("CurrentPatientLocation", "RequestingService")
"""Where the patient is, else who asked for the images (PS3.4 table K.6-1: visit status, imaging service request)."""
_WILD: Final = frozenset("*?\\")

log = get_logger(__name__)


@dataclass
class WorklistFeed:
    """One worklist provider; not for several threads at once.

    Attributes
    ----------
    asked : dict of int to int
        How often a study was asked about, by its row.
    """

    database: Database
    settings: Settings
    feed: OrderFeed
    clock: Callable[[], datetime]
    asked: dict[int, int] = field(default_factory=dict)

    def look(self) -> int:
        """Ask about every study whose time has come; returns how many orders were heard of.

        Raises
        ------
        FirstreadError
            The provider or the database does not answer: what was not asked is asked the next time. A question that
            alone fails counts as asked, so that it does not stand before the others.
        """
        now = self.clock()
        with self.database.read() as session:
            young = orders.studies_to_ask(session, now - YOUNG, 10 * AT_ONCE)
        self.asked = {row: times for row, times in self.asked.items() if row in {study[0] for study in young}}
        due = [
            (row, number)
            for row, number, came in young
            if self._is_due(row, now - came) and not _WILD & set(number)  # it would be a pattern
        ][:AT_ONCE]
        if not due:
            return 0
        heard = 0
        failed: list[FirstreadError] = []
        association = self._associate(now)
        try:
            for row, number in due:
                try:
                    heard += self._ask(association, number)
                except DatabaseUnavailableError:
                    raise
                except FirstreadError as error:
                    failed.append(error)
                    association.release()
                    association = self._associate(now)
                self.asked[row] = self._times(row, now, young)
                if len(failed) == MOST_FAILURES:
                    break
        finally:
            association.release()
        if failed:
            raise failed[-1]
        if heard:
            log.info("orders_heard", feed=self.feed.address, orders=heard, studies=len(due))
        return heard

    def _is_due(self, row: int, age: timedelta) -> bool:
        times = self.asked.get(row, 0)
        return times == 0 or (times <= len(AGAIN) and age >= AGAIN[times - 1])

    def _times(self, row: int, now: datetime, young: Sequence[tuple[int, str, datetime]]) -> int:
        """As if it had been asked at each of the times that have passed."""
        came = next(at for number, _, at in young if number == row)
        return 1 + sum(now - came >= again for again in AGAIN)

    def _associate(self, now: datetime) -> Conversation:
        return Conversation.open(
            self.feed.peer,
            calling_ae_title=self.settings.ae_title,
            contexts=[(MODALITY_WORKLIST_FIND, UNCOMPRESSED)],
            timeouts=PATIENCE,
            tls=tls_towards_feed(self.settings, self.feed, now),
        )

    def _ask(self, association: Conversation, accession_number: str) -> int:
        keys = _keys(accession_number)
        entries = list(find(association, keys, MODALITY_WORKLIST_FIND))
        try:
            found = list(_orders(entries, accession_number, self.feed))
        except Exception as error:  # elements are parsed when they are looked at, and the texts may hold values
            raise DeliveryError(f"A match of the worklist cannot be read ({type(error).__name__}).") from error
        if found:
            with self.database.write() as session:
                orders.record(session, found, self.settings.targets, at=self.clock(), rules=self.settings.site_rules)
        return len(found)


def _keys(accession_number: str) -> Dataset:
    keys = Dataset()
    keys.AccessionNumber = accession_number
    keys.PatientID = ""
    keys.RequestedProcedureID = ""
    keys.RequestedProcedurePriority = ""
    for name in _WARD:
        setattr(keys, name, "")
    step = Dataset()
    step.Modality = ""
    step.ScheduledProcedureStepID = ""
    keys.ScheduledProcedureStepSequence = [step]
    return keys


def _orders(entries: Sequence[Dataset], accession_number: str, feed: OrderFeed) -> Iterator[PlacedOrder]:
    """An order per requested procedure; what the provider sends beside the question is left out."""
    for entry in entries:
        if str(entry.get("AccessionNumber") or "").strip() != accession_number:
            continue
        priority = str(entry.get("RequestedProcedurePriority") or "").strip()
        wards = (ward_text(str(entry.get(name) or "")) for name in _WARD)
        ward = next(filter(None, wards), "")
        if not priority and not ward:
            continue
        patient_id = str(entry.get("PatientID") or "").strip()
        procedure = str(entry.get("RequestedProcedureID") or "").strip()
        yield PlacedOrder(
            source=OrderSource.WORKLIST,
            sender=feed.address,
            number=f"{accession_number}|{procedure}"[:128],
            accession_number=accession_number,
            patient_ids=(patient_id,) if patient_id else (),
            priority=priority[:16],
            urgency=urgency_of(priority, feed.priorities),
            ward=ward,
        )
