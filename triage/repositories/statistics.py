"""Questions about a period of arrivals: one grouped query each, whose answer grows with what is asked, not with rows.

Durations are counted by second or minute in the database, and percentiles taken from the counts, because neither
database has them in common. Every question begins at ``ix_studies_received_at``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from triage.assessment import Opinion
from triage.findings import NotAnalysedReason, Urgency
from triage.states import AnalysisStatus, ReadingStatus
from triage.statistics import QUARTER, Period
from triage.tables import Analysis, AnalysisImage, Finding, FindingVerdict, Instance, Study

READ: Final = Study.reading_status == ReadingStatus.READ
MINUTE: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Which studies count: arrived in the period, and the like of what is not empty."""

    period: Period
    urgency: Urgency | None = None
    modality: str = ""
    """Studies that contain it."""
    ae_title: str = ""
    """Calling AE title that sent the first instance."""

    @property
    def conditions(self) -> list[sa.ColumnElement[bool]]:
        found = [Study.received_at >= self.period.begins, Study.received_at < self.period.ends]
        if self.urgency is not None:
            found.append(Study.urgency == self.urgency)
        if self.modality:
            found.append(("\\" + Study.modality + "\\").contains(f"\\{self.modality}\\", autoescape=True))
        if self.ae_title:
            found.append(Study.calling_ae_title == self.ae_title)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What became of the cases of one class, or of one source.

    Attributes
    ----------
    seconds : mapping
        From arrival to read, counted.
    in_time : int
        Read by their due time.
    unread, overdue : int
        Not read yet, and those of them whose due time has passed.
    """

    arrived: Mapping[Urgency, int]
    seconds: Mapping[int, int]
    in_time: int
    unread: int
    overdue: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lead:
    """How long before somebody began to read the first AI result was there, for cases of one class.

    Attributes
    ----------
    before : mapping
        Seconds of lead, counted.
    after : mapping
        Seconds by which the result came after the reading had begun, counted.
    without : int
        Cases that were read without any result.
    """

    before: Mapping[int, int]
    after: Mapping[int, int]
    without: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One finding of one bundle version; of one scanner where that was asked."""

    bundle: str
    version: str
    research: bool
    key: str
    meaning: str
    manufacturer: str = ""
    ae_title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Cases that a bundle looked at, by what it said and what people said last: None is nobody."""

    model: Model
    positive: Mapping[Opinion | None, int]
    negative: Mapping[Opinion | None, int]


def arrivals(session: Session, scope: Scope) -> Mapping[tuple[int, Urgency], int]:
    """How many arrived: (quarter of an hour since 1970 UTC, class) to count."""
    quarter = (_epoch(Study.received_at) // QUARTER).label("quarter")
    query = sa.select(quarter, Study.urgency, sa.func.count()).where(*scope.conditions)
    return {(q, urgency): count for q, urgency, count in session.execute(query.group_by("quarter", Study.urgency))}


def turnaround(session: Session, scope: Scope, *, now: datetime) -> Mapping[Urgency, Read]:
    """What became of the cases, by the class they have now; every class is there."""
    rows = _read(session, scope, (Study.urgency,), grain=1, now=now)
    return {urgency: _summed(rows.get((urgency,), ()), grain=1) for urgency in Urgency}


def sources(session: Session, scope: Scope, *, now: datetime) -> Mapping[tuple[str, str], Read]:
    """The same by (modalities of the study, calling AE title); durations to the minute."""
    rows = _read(session, scope, (Study.modality, Study.calling_ae_title), grain=MINUTE, now=now)
    return {(modality, title): _summed(found, grain=MINUTE) for (modality, title), found in sorted(rows.items())}


def _read(
    session: Session, scope: Scope, by: Sequence[Any], *, grain: int, now: datetime
) -> Mapping[tuple[Any, ...], list[Any]]:
    took = _epoch(Study.read_at) - _epoch(Study.received_at)
    took_units = sa.case((READ, took // grain)).label("took")
    query = (
        sa.select(
            *by,
            Study.urgency.label("asked"),
            took_units,
            sa.func.count().label("count"),
            _count_if(sa.and_(READ, Study.read_at <= Study.due_at)).label("in_time"),
            _count_if(~READ).label("unread"),
            _count_if(sa.and_(~READ, Study.due_at < now)).label("overdue"),
        )
        .where(*scope.conditions)
        .group_by(*by, Study.urgency, "took")
    )
    grouped: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for row in session.execute(query):
        grouped[tuple(row[: len(by)])].append(row)
    return grouped


def _summed(rows: Iterable[Any], *, grain: int) -> Read:
    arrived = dict.fromkeys(Urgency, 0)
    seconds: defaultdict[int, int] = defaultdict(int)
    in_time = unread = overdue = 0
    for row in rows:
        arrived[row.asked] += row.count
        in_time, unread, overdue = in_time + row.in_time, unread + row.unread, overdue + row.overdue
        if row.count > row.unread:
            seconds[max(0, row.took or 0) * grain] += row.count - row.unread  # below 0: the clock was set back
    return Read(arrived=arrived, seconds=dict(seconds), in_time=in_time, unread=unread, overdue=overdue)


def lead_times(session: Session, scope: Scope) -> Mapping[Urgency, Lead]:
    """For cases that somebody began to read (claimed, or marked as read without), by class; every class is there."""
    began = sa.func.coalesce(Study.claimed_at, Study.read_at)
    first = (
        sa.select(sa.func.min(Analysis.scored_at)).where(Analysis.study_id == Study.id).correlate(Study)
    ).scalar_subquery()
    lead = (_epoch(began) - _epoch(first)).label("lead")
    query = (
        sa.select(Study.urgency, lead, sa.func.count())
        .where(*scope.conditions, began.is_not(None))
        .group_by(Study.urgency, "lead")
    )
    before: dict[Urgency, dict[int, int]] = {urgency: {} for urgency in Urgency}
    after: dict[Urgency, dict[int, int]] = {urgency: {} for urgency in Urgency}
    without = dict.fromkeys(Urgency, 0)
    rows: Iterable[Any] = session.execute(query)
    for urgency, seconds, count in rows:
        if seconds is None:
            without[urgency] += count
        elif seconds >= 0:
            before[urgency][seconds] = count
        else:
            after[urgency][-seconds] = count
    return {u: Lead(before=before[u], after=after[u], without=without[u]) for u in Urgency}


def models(session: Session, scope: Scope, *, by_scanner: bool = False) -> list[Judged]:
    """What each bundle version said of how many cases, and what people said to that.

    A case counts once for each finding, whatever the number of its images and of looks at it: it is positive when any
    image was, and judged by the latest verdict on one of those images.

    Parameters
    ----------
    by_scanner : bool
        Also apart by manufacturer of the images and calling AE title.
    """
    scanner = (Instance.manufacturer, Study.calling_ae_title) if by_scanner else ()
    by = (
        Analysis.bundle_name, Analysis.bundle_version, Analysis.research, Finding.key, Finding.code_meaning, *scanner,
    )  # fmt: skip
    is_positive = sa.func.max(sa.case((Finding.positive, 1), else_=0))
    on_positive = sa.func.max(sa.case((Finding.positive, FindingVerdict.id)))
    verdict = sa.case((is_positive == 1, on_positive), else_=sa.func.max(FindingVerdict.id))
    looked = (
        sa.select(*by, is_positive.label("is_positive"), verdict.label("verdict"))
        .select_from(Study)
        .join(Analysis, Analysis.study_id == Study.id)
        .join(AnalysisImage, AnalysisImage.analysis_id == Analysis.id)
        .join(Finding, Finding.image_id == AnalysisImage.id)
        .outerjoin(FindingVerdict, FindingVerdict.finding_id == Finding.id)
        .where(*scope.conditions)
        .group_by(Study.id, *by)
    )
    if by_scanner:
        looked = looked.join(Instance, Instance.id == AnalysisImage.instance_id)
    case = looked.subquery()
    names = [case.c[column.name] for column in by]
    query = (
        sa.select(*names, case.c.is_positive, FindingVerdict.opinion, sa.func.count())
        .outerjoin(FindingVerdict, FindingVerdict.id == case.c.verdict)
        .group_by(*names, case.c.is_positive, FindingVerdict.opinion)
        .order_by(*names)
    )
    found: dict[Model, tuple[dict[Opinion | None, int], dict[Opinion | None, int]]] = {}
    for *said, positive, opinion, count in session.execute(query):
        bundle, version, research, key, meaning, *of_scanner = said
        manufacturer, title = of_scanner or ("", "")
        model = Model(
            bundle=bundle, version=version, research=research, key=key, meaning=meaning, manufacturer=manufacturer,
            ae_title=title,
        )  # fmt: skip
        found.setdefault(model, ({}, {}))[0 if positive else 1][opinion] = count
    return [Judged(model=model, positive=yes, negative=no) for model, (yes, no) in found.items()]


def outcomes(session: Session, scope: Scope) -> Mapping[tuple[AnalysisStatus, str], int]:
    """How analyses stand or ended: (status, reason) to count."""
    query = (
        sa.select(Analysis.status, Analysis.reason, sa.func.count())
        .join(Study, Study.id == Analysis.study_id)
        .where(*scope.conditions)
        .group_by(Analysis.status, Analysis.reason)
    )
    return {(status, reason): count for status, reason, count in session.execute(query)}


def abstentions(session: Session, scope: Scope) -> Mapping[NotAnalysedReason, tuple[int, int]]:
    """Why images were left out: (images, cases)."""
    query = (
        sa.select(AnalysisImage.reason, sa.func.count(), sa.func.count(sa.distinct(Study.id)))
        .join(Analysis, Analysis.id == AnalysisImage.analysis_id)
        .join(Study, Study.id == Analysis.study_id)
        .where(*scope.conditions, AnalysisImage.reason.is_not(None))
        .group_by(AnalysisImage.reason)
    )
    return {reason: (images, cases) for reason, images, cases in session.execute(query) if reason is not None}


def _count_if(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


class _epoch(FunctionElement[int]):  # noqa: N801 - reads as the function it is
    """Whole seconds since 1970 of a UTC column, in the words of either database."""

    type = sa.BigInteger()
    name = "epoch"
    inherit_cache = True


@compiles(_epoch, "sqlite")
def _epoch_on_sqlite(element: _epoch, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **options)}) AS INTEGER)"


@compiles(_epoch, "postgresql")
def _epoch_on_postgresql(element: _epoch, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(floor(extract(epoch FROM {compiler.process(element.clauses, **options)})) AS BIGINT)"
