"""The tables of a period, one function each: what the repositories count, as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy.orm import Session

from triage.assessment import Opinion
from triage.findings import Urgency
from triage.priority import Targets
from triage.repositories import judged
from triage.repositories import statistics as counted
from triage.repositories.judged import ELSEWHERE, Judged
from triage.repositories.statistics import Lead, Read, Scope, Survey
from triage.states import AnalysisStatus
from triage.statistics import Period, Proportion, Spread, arrivals, spread
from worklist.schemas.statistics import (
    AbstentionRow,
    DayRow,
    HourRow,
    LeadRow,
    ModelRow,
    OutcomeRow,
    ScannerRow,
    SourceRow,
    Table,
    TurnaroundRow,
)


@dataclass(frozen=True)
class Question:
    """Which studies, as of when, against which targets; and the session to ask, once for what several tables need."""

    session: Session
    scope: Scope
    targets: Targets
    now: datetime

    @cached_property
    def survey(self) -> Survey:
        return counted.survey(self.session, self.scope, now=self.now)

    @cached_property
    def judged(self) -> tuple[list[Judged], list[Judged]]:
        return judged.judged(self.session, self.scope)


def _days(asked: Question) -> list[DayRow]:
    by_day = arrivals(asked.survey.arrivals, asked.scope.period).by_day
    return [DayRow(day=day, **_classes(classes)) for day, classes in by_day.items()]


def _hours(asked: Question) -> list[HourRow]:
    period = asked.scope.period
    by_hour = arrivals(asked.survey.arrivals, period).by_hour
    today = Period.until(asked.now, days=1, zone=period.zone).last
    begun = max(1, min(period.days, (today - period.first).days + 1))
    return [
        HourRow(hour=hour, per_day=round(sum(classes.values()) / begun, 2), **_classes(classes))
        for hour, classes in by_hour.items()
    ]


def _turnaround(asked: Question) -> list[TurnaroundRow]:
    return [
        TurnaroundRow(urgency=urgency, target_minutes=asked.targets.of(urgency).total_seconds() / 60, **_read(read))
        for urgency, read in asked.survey.turnaround.items()
    ]


def _sources(asked: Question) -> list[SourceRow]:
    return [
        SourceRow(modality=modality, calling_ae_title=title, **_read(read), **_split(read.arrived))
        for (modality, title), read in asked.survey.sources.items()
    ]


def _lead_times(asked: Question) -> list[LeadRow]:
    return [_lead(urgency, lead) for urgency, lead in asked.survey.leads.items()]


def _models(asked: Question) -> list[ModelRow]:
    return [ModelRow(**_judged(row)) for row in asked.judged[0]]


def _scanners(asked: Question) -> list[ScannerRow]:
    return [
        ScannerRow(**_judged(row), manufacturer=row.model.manufacturer, calling_ae_title=row.model.ae_title)
        for row in asked.judged[1]
    ]


def _analyses(asked: Question) -> list[OutcomeRow]:
    """What follows a colon in a reason to leave a study out is of that study: reasons are counted without it."""
    count: Counter[tuple[AnalysisStatus, str]] = Counter()
    for (status, reason), analyses in counted.outcomes(asked.session, asked.scope).items():
        short = reason.partition(": ")[0] if status is AnalysisStatus.NOT_ANALYSED else reason
        count[status, short] += analyses
    return [OutcomeRow(status=s, reason=reason, analyses=n) for (s, reason), n in count.most_common()]


def _abstentions(asked: Question) -> list[AbstentionRow]:
    left_out = counted.abstentions(asked.session, asked.scope)
    return [
        AbstentionRow(reason=reason, sentence=reason.sentence, images=images, cases=cases)
        for reason, (images, cases) in sorted(left_out.items(), key=lambda one: -one[1][0])
    ]


TABLES: Final[Mapping[Table, tuple[type[BaseModel], Callable[[Question], Sequence[BaseModel]]]]] = {
    Table.DAYS: (DayRow, _days),
    Table.HOURS: (HourRow, _hours),
    Table.TURNAROUND: (TurnaroundRow, _turnaround),
    Table.SOURCES: (SourceRow, _sources),
    Table.LEAD_TIME: (LeadRow, _lead_times),
    Table.MODELS: (ModelRow, _models),
    Table.SCANNERS: (ScannerRow, _scanners),
    Table.ANALYSES: (OutcomeRow, _analyses),
    Table.ABSTENTIONS: (AbstentionRow, _abstentions),
}
"""What a row of each table is, and how its rows are found."""


def _classes(count: Mapping[Urgency, int]) -> dict[str, int]:
    return {"arrived": sum(count.values()), **_split(count)}


def _split(count: Mapping[Urgency, int]) -> dict[str, int]:
    return {urgency.lower(): count[urgency] for urgency in Urgency}


def _read(read: Read) -> dict[str, Any]:
    took = spread(read.seconds)
    in_time = Proportion(read.in_time, took.count if took else 0)
    return {
        "arrived": sum(read.arrived.values()),
        "read": in_time.total,
        "median_minutes": _minutes(took, "median"),
        "p90_minutes": _minutes(took, "p90"),
        "p95_minutes": _minutes(took, "p95"),
        "longest_minutes": _minutes(took, "longest"),
        "in_time": read.in_time,
        **_interval("in_time", in_time),
        "unread": read.unread,
        "overdue": read.overdue,
    }


def _lead(urgency: Urgency, lead: Lead) -> LeadRow:
    before, after = spread(lead.before), spread(lead.after)
    late = Proportion(after.count if after else 0, sum(lead.before.values()) + sum(lead.after.values()))
    return LeadRow(
        urgency=urgency,
        begun=late.total + lead.without,
        before=late.total - late.count,
        median_lead_minutes=_minutes(before, "median"),
        p90_lead_minutes=_minutes(before, "p90"),
        after=late.count,
        **_interval("after", late),
        longest_after_minutes=_minutes(after, "longest"),
        without=lead.without,
    )


def _judged(row: Judged) -> dict[str, Any]:
    said, model = Counter(row.positive), row.model
    of_negatives = Counter(row.negative)
    positive = Proportion(said.total(), said.total() + of_negatives.total())
    right = Proportion(said[Opinion.AGREE], said[Opinion.AGREE] + said[Opinion.DISAGREE])
    missed = of_negatives[Opinion.DISAGREE]
    seen = Proportion(said[Opinion.AGREE], 0 if model.key == ELSEWHERE else said[Opinion.AGREE] + missed)
    return {
        "bundle": model.bundle,
        "version": model.version,
        "research": model.research,
        "key": model.key,
        "finding": model.meaning,
        "cases": positive.total,
        "positive": positive.count,
        **_interval("positive", positive),
        "agreed": said[Opinion.AGREE],
        "disagreed": said[Opinion.DISAGREE],
        "cannot_tell": said[Opinion.CANNOT_TELL],
        "unjudged": said[None],
        "ppv": right.rate,
        "ppv_low": right.low,
        "ppv_high": right.high,
        "missed": missed,
        "missed_marked": row.marked,
        "negatives_judged": missed + of_negatives[Opinion.AGREE],
        "sensitivity": seen.rate,
        "sensitivity_low": seen.low,
        "sensitivity_high": seen.high,
    }


def _interval(name: str, of: Proportion) -> dict[str, float | None]:
    return {f"{name}_share": of.rate, f"{name}_low": of.low, f"{name}_high": of.high}


def _minutes(of: Spread | None, name: str) -> float | None:
    return None if of is None else round(getattr(of, name) / 60, 2)
