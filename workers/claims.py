"""Holding an analysis: the claim, and what becomes of it when a run goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from triage.crash_points import CrashPoint
from triage.errors import DatabaseUnavailableError, FirstreadError, LeaseLostError
from triage.logging import get_logger
from triage.repositories import analyses
from workers.pulse import process_name
from workers.workbench import Workbench

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """An analysis that this process holds under a lease.

    Attributes
    ----------
    token : str
        Fences every later write: a worker that lost its lease cannot overwrite its successor.
    started_at : datetime
        Of the first run; the content time of the report (in this host's zone), so that a retry rebuilds the same
        bytes.
    """

    analysis_id: int
    token: str
    study_id: int
    study_instance_uid: str
    revision: int
    bundle_name: str
    started_at: datetime


def take(bench: Workbench) -> list[Claim]:
    """Claim what is due, most urgent first, as many as make one inference batch."""
    now = bench.clock()
    with bench.database.write() as session:
        batch = analyses.claim_batch(
            session,
            now,
            attempts=bench.settings.analysis_attempts,
            limit=bench.batch_size,
            holder=process_name("work"),
        )
        claims = [
            Claim(
                analysis_id=analysis.id,
                token=analysis.token,
                study_id=analysis.study_id,
                study_instance_uid=analysis.study.study_instance_uid,
                revision=analysis.revision,
                bundle_name=analysis.bundle_name,
                started_at=analysis.started_at or now,
            )
            for analysis in batch
        ]
    if claims:
        bench.reached(CrashPoint.CLAIMED)
    return claims


@contextmanager
def answered(bench: Workbench, *claims: Claim) -> Iterator[None]:
    """See to it that a run that breaks off leaves its rows in the queue with a reason, never in the air."""
    try:
        yield
    except LeaseLostError as error:
        log.warning("analysis_lease_lost", advice=error.advice())
    except DatabaseUnavailableError as error:
        log.warning("analysis_run_interrupted", advice=error.advice())
        give_back(bench, claims, str(error), counted=False)
    except FirstreadError as error:
        log.warning("analysis_run_failed", error=type(error).__name__, advice=error.advice())
        give_back(bench, claims, str(error))
    except Exception as error:
        log.error("analysis_run_broke", exc_info=True)
        give_back(bench, claims, f"unexpected {type(error).__name__}")


def give_back(bench: Workbench, claims: tuple[Claim, ...], reason: str, *, counted: bool = True) -> None:
    """Back into the queue after a pause, or given up when the attempts are used up. What is not held is left alone.

    Parameters
    ----------
    counted : bool
        False for a run that broke off without the study's doing (:func:`triage.repositories.analyses.retry_later`).
    """
    now = bench.clock()
    for claim in claims:
        with bench.database.write() as session:
            try:
                analysis = analyses.held(session, claim.analysis_id, claim.token)
            except LeaseLostError:
                continue  # its successor answers for it
            if counted and analysis.attempts >= bench.settings.analysis_attempts:
                analyses.fail(session, analysis, reason, at=now)
            else:
                analyses.retry_later(session, analysis, reason, at=now, counted=counted)
