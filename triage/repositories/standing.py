"""How far a study is, for whoever asked for its analysis: waiting, under way, told, or not to be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus, terminal
from triage.tables import Analysis, Delivery, ResultObject, Study

HELD: Final = (DeliveryStatus.SENT, DeliveryStatus.COMMITTED)
ON_ITS_WAY: Final = (DeliveryStatus.PENDING, DeliveryStatus.SENDING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """A result object, and the addresses of the destinations that took it."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    destinations: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How far a study is.

    Attributes
    ----------
    percent : int
        0 to 100; 100 is final.
    words : str
        What it waits for, or why there is nothing to be had; free of patient data.
    outputs : sequence of Delivered
        Results that a destination took; with ``percent`` 100, empty means that there are none.
    unsuitable : bool
        There are none because nothing in the study is for a network.
    bundles : sequence of str
        Name and version of the bundles whose results they are.
    """

    percent: int
    words: str
    outputs: Sequence[Delivered] = ()
    unsuitable: bool = False
    bundles: Sequence[str] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None


def standing(session: Session, study_id: int) -> Standing:
    """How far a study is with all its bundles: final only when nothing of it is under way any more."""
    study = session.get_one(Study, study_id)
    query = (
        sa.select(Analysis)
        .where(Analysis.study_id == study_id)
        .order_by(Analysis.revision, Analysis.id)
        .options(selectinload(Analysis.result_objects).selectinload(ResultObject.deliveries))
    )
    analyses = session.scalars(query).all()
    open_ones = [analysis for analysis in analyses if not terminal(analysis.status)]
    if study.status is StudyStatus.RECEIVING or open_ones or not analyses:
        scored = bool(open_ones) and all(analysis.scored_at is not None for analysis in open_ones)
        return Standing(percent=50 if scored else 10, words="scored" if scored else "received")
    issued = _issued(analyses)
    if not issued:
        return _without_result(analyses)
    rows = [row for analysis in issued for row in analysis.result_objects if row.sop_class_uid]
    if any(_on_its_way(row) for row in rows):
        return Standing(percent=80, words="results are being sent")
    outputs = [_delivered(row) for row in rows if any(d.status in HELD for d in row.deliveries)]
    if not outputs:
        return Standing(percent=100, words="the results were taken by no destination")
    return Standing(
        percent=100,
        words="done",
        outputs=outputs,
        bundles=[f"{analysis.bundle_name} {analysis.bundle_version}" for analysis in issued],
        started_at=min((a.started_at for a in issued if a.started_at is not None), default=None),
        ended_at=_last(issued, [delivery for row in rows for delivery in row.deliveries]),
    )


def _on_its_way(row: ResultObject) -> bool:
    """No destination has it yet, and one may still take it: one that is away for days holds up nobody."""
    states = {delivery.status for delivery in row.deliveries}
    return states.isdisjoint(HELD) and not states.isdisjoint(ON_ITS_WAY)


def _issued(analyses: Sequence[Analysis]) -> list[Analysis]:
    """Of each bundle the newest analysis that issued results: a later one without new images lets them stand."""
    newest = {a.bundle_name: a for a in analyses if a.status is AnalysisStatus.SUCCEEDED and a.result_objects}
    return list(newest.values())


def _without_result(analyses: Sequence[Analysis]) -> Standing:
    newest = {a.bundle_name: a for a in analyses}
    reasons = dict.fromkeys(a.reason or str(a.status) for a in newest.values())
    return Standing(
        percent=100,
        words="; ".join(reasons),
        unsuitable=all(a.status is AnalysisStatus.NOT_ANALYSED for a in newest.values()),
    )


def _delivered(row: ResultObject) -> Delivered:
    return Delivered(
        series_instance_uid=row.series_instance_uid,
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        destinations=[delivery.destination for delivery in row.deliveries if delivery.status in HELD],
    )


def _last(analyses: Sequence[Analysis], deliveries: Sequence[Delivery]) -> datetime | None:
    times = [a.finished_at for a in analyses] + [d.sent_at for d in deliveries]
    return max((at for at in times if at is not None), default=None)
