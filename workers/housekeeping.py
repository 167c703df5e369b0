"""What nobody asks for and everybody needs: completion by time, lost listeners, abandoned files."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from triage.completion import CompletionPolicy
from triage.crash_points import CrashPoint
from triage.database import Database
from triage.logging import get_logger
from triage.repositories import analyses, claims, completing, deliveries, heartbeats, ruling
from triage.repositories.associations import close_associations_of
from triage.tables import Association
from workers.pulse import died_here, is_own

if TYPE_CHECKING:
    from workers.workbench import Workbench

ABANDONED_AFTER = timedelta(minutes=5)
"""Since the last byte of a partly received file: no association is silent for so long."""

log = get_logger(__name__)


def complete_due(bench: Workbench) -> int:
    """Apply the completion rule to studies whose time to look has come; returns how many became complete."""
    now = bench.clock()
    with bench.database.write() as session:
        due = completing.due_studies(session, now)
        completed = sum(completing.reconsider(session, study, now, bench.settings.completion) for study in due)
        if completed:
            session.flush()
            bench.reached(CrashPoint.COMPLETED)
    return completed


def bury_the_dead(database: Database, policy: CompletionPolicy, now: datetime, *, starting: bool = False) -> None:
    """Let nobody wait for a process that is gone: end its associations and its leases, forget its heartbeat.

    Gone is who fell silent, and at once who died on this host; a starting part therefore asks this first.

    Parameters
    ----------
    starting : bool
        This process has held nothing yet. What stands under its name is of a predecessor: a container that is started
        again has the same host name and gives out the same process numbers.
    """

    def died(name: str) -> bool:
        return died_here(name) or (starting and is_own(name))

    with database.write() as session:
        names = [row.name for row in heartbeats.silent(session, now)]
        living = {row.name for row in heartbeats.alive(session, now) if not died(row.name)}
        orphaned = sa.select(Association.listener).where(Association.closed_at.is_(None)).distinct()
        listeners = [name for name in session.scalars(orphaned) if name not in living]
        ended = close_associations_of(session, listeners, at=now, policy=policy)
        workers = [name for name in analyses.holders(session) if died(name)]
        released = analyses.expire_leases_of(session, workers, now)
        senders = [name for name in deliveries.holders(session) if died(name) or name in names]
        released += deliveries.expire_leases_of(session, senders, now)
        for name in names:
            heartbeats.stop(session, name)
    if names or ended or released:
        log.warning("processes_lost", silent=names, associations_ended=ended, leases_ended=released)


def apply_changed_rules(bench: Workbench) -> None:
    """Judge the cases that nobody has read by the site rules, once after these have changed.

    A process does so once in its life: two hosts whose settings differ must not judge by turns for ever. What broke off
    begins anew, because the rules are remembered last.
    """
    if bench.rules_applied:
        return
    rules, now = bench.settings.site_rules, bench.clock()
    with bench.database.read() as session:
        applied = ruling.are_applied(session, rules)
    if not applied:
        behind: int | None = 0
        changed = 0
        while behind is not None:
            with bench.database.write() as session:
                behind, some = ruling.judge_open_cases(session, rules, bench.settings.targets, behind=behind, at=now)
            changed += some
        with bench.database.write() as session:
            ruling.remember_judged(session, rules, changed=changed, at=now)
        log.info("rules_changed", rules=len(rules.rules), cases=changed)
    bench.rules_applied = True


def end_silent_claims(bench: Workbench) -> int:
    """Give back what readers have claimed and left; returns how many cases."""
    lasts, now = bench.settings.claim_lasts, bench.clock()
    if lasts is None:
        return 0
    with bench.database.read() as session:
        if not claims.any_to_end(session, lasts=lasts, at=now):
            return 0
    with bench.database.write() as session:
        ended = claims.end_silent(session, lasts=lasts, at=now)
    if ended:
        log.info("claims_ran_out", cases=ended)
    return ended


def sweep_incoming(bench: Workbench) -> None:
    """Remove files whose sender vanished in the middle; none of them was acknowledged."""
    removed = bench.archive.sweep(ABANDONED_AFTER.total_seconds())
    if removed:
        log.info("incoming_swept", removed=removed)
