"""Questions about a period of arrivals, whose answers grow with what is asked, not with rows.

What became of the studies is counted here in one walk through them, because SQLite sorts what it groups: durations by
second or minute, and percentiles are taken from the counts. Every question begins at ``ix_studies_received_at``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from triage.columns import UtcDateTime
from triage.findings import NotAnalysedReason, Urgency
from triage.prepared import one
from triage.states import AnalysisStatus, ReadingStatus
from triage.statistics import QUARTER, Period
from triage.tables import Analysis, AnalysisImage, Study

READ: Final = Study.reading_status == ReadingStatus.READ
MINUTE: Final = 60
PART: Final = timedelta(days=1)
"""Of a period, whose cases are in memory together: few enough that Python's collector leaves them alone."""
_Moment = datetime | sa.BindParameter[datetime]
LATE, IN_TIME, WAITING, OVERDUE = range(4)
"""What became of a case: read, late or by its due time; unread, and past that."""


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
        return self.between(self.period.begins, self.period.ends)

    def parts(self) -> Iterator[tuple[datetime, datetime]]:
        """Beginnings and ends that together are the period."""
        begins = self.period.begins
        while begins < self.period.ends:
            ends = min(begins + PART, self.period.ends)
            yield begins, ends
            begins = ends

    def between(self, begins: _Moment, ends: _Moment) -> list[sa.ColumnElement[bool]]:
        """The conditions for a part."""
        found = [Study.received_at >= begins, Study.received_at < ends]
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


@dataclass(frozen=True, slots=True)
class Survey:
    """What became of the studies of a period.

    Attributes
    ----------
    arrivals : mapping
        (quarter of an hour since 1970 UTC, class) to count.
    turnaround, leads : mapping
        By the class that the cases have now; every class is there.
    sources : mapping
        By (modalities of the study, calling AE title), in their order; durations to the minute.
    """

    arrivals: Mapping[tuple[int, Urgency], int]
    turnaround: Mapping[Urgency, Read]
    sources: Mapping[tuple[str, str], Read]
    leads: Mapping[Urgency, Lead]


def survey(session: Session, scope: Scope, *, now: datetime) -> Survey:
    """Count what became of the studies, in one walk.

    The lead is of cases that somebody began to read: claimed, or marked as read without.
    """
    arrived: Counter[int] = Counter()
    became: Counter[int] = Counter()
    by_source: Counter[tuple[str, int]] = Counter()
    led: Counter[int | None] = Counter()
    for rows in filter(None, _told(session, scope, now)):
        quarters, durations, sources, leads = zip(*rows, strict=True)
        arrived.update(quarters)
        became.update(durations)
        minutes = [packed // (_KINDS * MINUTE) * _KINDS + packed % _KINDS for packed in durations]
        by_source.update(zip(sources, minutes, strict=True))
        led.update(leads)
    return Survey(
        arrivals={(packed // len(_CLASSES), _CLASSES[packed % len(_CLASSES)]): n for packed, n in arrived.items()},
        turnaround=_turnaround(became),
        sources=_by_source(by_source),
        leads=_leads(led),
    )


_CLASSES: Final = tuple(Urgency)
_KINDS: Final = len(_CLASSES) * 4
"""Of classes with what becomes of their cases."""
_ANY_LEAD: Final = 2**40
"""Seconds that make every lead positive."""
_BETWEEN: Final = "\n"


def _told(session: Session, scope: Scope, now: datetime) -> Iterator[Sequence[Any]]:
    """Four values of each study, many studies at a time: quarter and class in a number; seconds to read, class and what
    became of it in one; modalities and AE title in a text; lead and class in a number, the class alone without a
    result, None of a case that nobody began to read.

    Packed, and on the driver itself: numbers are counted faster than rows of SQLAlchemy's.
    """
    urgency = sa.case(*((Study.urgency == each, number) for number, each in enumerate(_CLASSES)))
    took = sa.case((READ, sa.func.coalesce(_seconds(Study.read_at, Study.received_at), 0)), else_=0)
    what = sa.case(
        (sa.and_(READ, Study.read_at <= Study.due_at), IN_TIME), (READ, LATE), (Study.due_at < now, OVERDUE),
        else_=WAITING,
    )  # fmt: skip
    began = sa.func.coalesce(Study.claimed_at, Study.read_at, type_=Study.read_at.type)
    first = (
        sa.select(Analysis.scored_at)
        .where(Analysis.study_id == Study.id, Analysis.scored_at.is_not(None))
        .order_by(Analysis.scored_at)
        .limit(1)
        .correlate(Study)
        .scalar_subquery()
    )
    lead = sa.func.coalesce((_seconds(began, first) + _ANY_LEAD) * len(_CLASSES), 0) + urgency
    query = sa.select(
        _epoch(Study.received_at) // QUARTER * len(_CLASSES) + urgency,
        took * _KINDS + urgency * 4 + what,
        Study.modality.concat(_BETWEEN).concat(Study.calling_ae_title),
        sa.case((began.is_not(None), lead)),
    )
    begins, ends = (sa.bindparam(name, type_=UtcDateTime()) for name in ("begins", "ends"))
    statement = one(query.where(*scope.between(begins, ends)), (begins, ends))
    for part in scope.parts():
        yield statement.run(session.connection(), 1, part)


def _turnaround(became: Mapping[int, int]) -> Mapping[Urgency, Read]:
    of: dict[Urgency, list[tuple[int, int]]] = {urgency: [] for urgency in Urgency}
    for packed, count in became.items():
        of[_CLASSES[packed % _KINDS // 4]].append((packed, count))
    return {urgency: _read(counted, grain=1) for urgency, counted in of.items()}


def _by_source(by_source: Mapping[tuple[str, int], int]) -> Mapping[tuple[str, str], Read]:
    of: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for (source, packed), count in by_source.items():
        modality, _, title = source.partition(_BETWEEN)
        of[modality, title].append((packed, count))
    return {source: _read(counted, grain=MINUTE) for source, counted in sorted(of.items())}


def _read(counted: Sequence[tuple[int, int]], *, grain: int) -> Read:
    """What became of cases, from (units to read with class and what became of them, count)."""
    arrived = dict.fromkeys(Urgency, 0)
    seconds: Counter[int] = Counter()
    became: Counter[int] = Counter()
    for packed, count in counted:
        took, kind = divmod(packed, _KINDS)
        urgency, what = divmod(kind, 4)
        arrived[_CLASSES[urgency]] += count
        became[what] += count
        if what in (LATE, IN_TIME):
            seconds[max(0, took) * grain] += count  # below 0: the clock was set back
    return Read(
        arrived=arrived,
        seconds=dict(seconds),
        in_time=became[IN_TIME],
        unread=became[WAITING] + became[OVERDUE],
        overdue=became[OVERDUE],
    )


def _leads(led: Mapping[int | None, int]) -> Mapping[Urgency, Lead]:
    before: dict[Urgency, Counter[int]] = {urgency: Counter() for urgency in Urgency}
    after: dict[Urgency, Counter[int]] = {urgency: Counter() for urgency in Urgency}
    without = dict.fromkeys(Urgency, 0)
    for packed, count in led.items():
        if packed is None:
            continue
        seconds, number = divmod(packed, len(_CLASSES))
        urgency = _CLASSES[number]
        if not seconds:
            without[urgency] += count
        elif seconds >= _ANY_LEAD:
            before[urgency][seconds - _ANY_LEAD] += count
        else:
            after[urgency][_ANY_LEAD - seconds] += count
    return {u: Lead(before=before[u], after=after[u], without=without[u]) for u in Urgency}


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


class _epoch(FunctionElement[int]):  # noqa: N801 - reads as the function it is
    """Whole seconds since 1970 of a UTC column, in the words of either database."""

    type = sa.BigInteger()
    name = "epoch"
    inherit_cache = True


class _seconds(FunctionElement[int]):  # noqa: N801 - as above
    """Seconds from the second of two UTC columns to the first, to the nearest."""

    type = sa.BigInteger()
    name = "seconds"
    inherit_cache = True


@compiles(_epoch, "sqlite")
def _epoch_on_sqlite(element: _epoch, compiler: SQLCompiler, **options: Any) -> str:
    # A third of the time of strftime('%s'), which also rounds fractions of a second up.
    days = f"julianday(substr({compiler.process(element.clauses, **options)}, 1, 19))"
    return f"CAST(round(({days} - 2440587.5) * 86400) AS INTEGER)"


@compiles(_epoch, "postgresql")
def _epoch_on_postgresql(element: _epoch, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(floor(date_part('epoch', {compiler.process(element.clauses, **options)})) AS BIGINT)"


@compiles(_seconds, "sqlite")
def _seconds_on_sqlite(element: _seconds, compiler: SQLCompiler, **options: Any) -> str:
    to, since = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST(round((julianday({to}) - julianday({since})) * 86400) AS INTEGER)"


@compiles(_seconds, "postgresql")
def _seconds_on_postgresql(element: _seconds, compiler: SQLCompiler, **options: Any) -> str:
    to, since = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST(round(date_part('epoch', {to} - {since})) AS BIGINT)"
