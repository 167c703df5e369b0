"""What destinations report about storage commitment, on whichever association it comes."""

from __future__ import annotations

from datetime import datetime, timedelta

from dicom_node.commitment import Report
from triage.database import Database
from triage.logging import get_logger
from triage.repositories import commitments
from triage.settings import Settings

log = get_logger(__name__)


def take_report(database: Database, settings: Settings, report: Report, who: str, at: datetime) -> bool:
    """Record what a destination says about a transaction; False when none of ours has that UID."""
    with database.write() as session:
        known = commitments.report(
            session,
            report.transaction_uid,
            committed=report.committed,
            failed=report.failed,
            who=who,
            at=at,
            give_up_after=timedelta(hours=settings.delivery_hours),
        )
    log.info("commitment_reported", who=who, known=known, committed=len(report.committed), failed=len(report.failed))
    return known
