"""A site's own past as cases: what came and was read here, when, with what the orders and the AI said at the time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.errors import SettingsError
from triage.findings import Urgency
from triage.states import ReadingStatus
from triage.tables import Analysis, Study
from worklist.simulation.cases import Cases

LEAST: Final = 50
"""Fewer read cases than this say nothing about a department."""


def read_cases(session: Session, *, since: datetime, reading_minutes: float, most: int | None = None) -> Cases:
    """Cases that arrived since then and have been read.

    What was truly in them is not known here: they are grouped by the class they ended in. How long reading took is
    known where a case was claimed before it was read.

    Parameters
    ----------
    reading_minutes : float
        Where a case was never claimed.
    most : int, optional
        More cases are refused.

    Raises
    ------
    SettingsError
        There are fewer than :data:`LEAST`, or more than ``most``.
    """
    scored = (
        sa.select(Analysis.study_id, sa.func.min(Analysis.scored_at).label("at"))
        .where(Analysis.scored_at.is_not(None))
        .group_by(Analysis.study_id)
        .subquery()
    )
    query = (
        sa.select(
            Study.received_at, Study.claimed_at, Study.read_at, Study.order_urgency, Study.ai_urgency, Study.urgency,
            scored.c.at,
        )
        .outerjoin(scored, scored.c.study_id == Study.id)
        .where(Study.reading_status == ReadingStatus.READ, Study.received_at >= since)
        .order_by(Study.received_at, Study.id)
        .limit(None if most is None else most + 1)
    )  # fmt: skip
    rows = session.execute(query).all()
    if len(rows) < LEAST:
        raise SettingsError(
            f"Only {len(rows)} case{'' if len(rows) == 1 else 's'} arrived since {since:%Y-%m-%d} and left the list as "
            f"read; {LEAST} are the least.",
            next_step="Take a longer time (--days), or a scenario (--scenario chest).",
        )
    if most is not None and len(rows) > most:
        raise SettingsError(
            f"More than {most} cases have been read here since {since:%Y-%m-%d}; so many are not played at once.",
            next_step="Take fewer days.",
        )
    midnight = rows[0].received_at.replace(hour=0, minute=0, second=0, microsecond=0)

    def minutes(moment: datetime) -> float:
        since_midnight: timedelta = moment - midnight
        return since_midnight.total_seconds() / 60

    took = [minutes(r.read_at) - minutes(r.claimed_at) if r.claimed_at else reading_minutes for r in rows]
    classes = list(Urgency)
    final = np.array([r.urgency.rank for r in rows], np.int64)
    return Cases(
        arrived=np.array([minutes(r.received_at) for r in rows]),
        reading=np.maximum(np.array(took), 0.0),
        condition=final,
        names=[f"{one}" for one in classes],
        true_urgency=final,
        order_urgency=np.array([Urgency.highest(r.order_urgency).rank for r in rows], np.int64),
        ai_urgency=np.array([Urgency.highest(r.ai_urgency).rank for r in rows], np.int64),
        result_at=np.array([minutes(r.at) if r.at else np.inf for r in rows]),
    )
