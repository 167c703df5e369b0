"""What nobody asks for and everybody needs: completion by time, lost listeners, abandoned files."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from triage.logging import get_logger
from triage.repositories import completing, heartbeats
from triage.repositories.intake import close_associations_of
from triage.tables import Association
from workers.workbench import Workbench

ABANDONED_AFTER = timedelta(hours=1)
"""Age of a partly received file that no association can still be writing."""

log = get_logger(__name__)


def complete_due(bench: Workbench) -> int:
    """Apply the completion rule to studies whose time to look has come; returns how many became complete."""
    now = bench.clock()
    with bench.database.write() as session:
        due = completing.due_studies(session, now)
        return sum(completing.reconsider(session, study, now, bench.settings.completion) for study in due)


def bury_the_dead(bench: Workbench) -> None:
    """Forget processes that fell silent and end the associations that their listeners held."""
    now = bench.clock()
    with bench.database.write() as session:
        silent = list(heartbeats.silent(session, now))
        living = [row.name for row in heartbeats.alive(session, now)]
        orphaned = sa.select(Association.listener).where(Association.closed_at.is_(None)).distinct()
        lost = [name for name in session.scalars(orphaned) if name not in living]
        ended = close_associations_of(session, lost, at=now, policy=bench.settings.completion)
        for row in silent:
            heartbeats.stop(session, row.name)
    if silent or ended:
        log.warning("processes_lost", names=[row.name for row in silent], associations_ended=ended)


def sweep_incoming(bench: Workbench) -> None:
    """Remove files whose sender vanished in the middle; none of them was acknowledged."""
    removed = bench.archive.sweep(ABANDONED_AFTER.total_seconds())
    if removed:
        log.info("incoming_swept", removed=removed)
