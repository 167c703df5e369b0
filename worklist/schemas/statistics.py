"""What the API says of a period. Flat rows, so that JSON and CSV have the same fields.

No share stands without its numbers: beside ``…_share`` are the count and what it is of, and the ends of Wilson's 95 %
interval as ``…_low`` and ``…_high``. Durations are minutes; percentiles are waits that somebody really had.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from triage.findings import NotAnalysedReason, Urgency
from triage.states import AnalysisStatus


class Table(StrEnum):
    """A table of the statistics, as a file is named."""

    DAYS = "days"
    HOURS = "hours"
    TURNAROUND = "turnaround"
    SOURCES = "sources"
    LEAD_TIME = "lead-time"
    MODELS = "models"
    SCANNERS = "scanners"
    ANALYSES = "analyses"
    ABSTENTIONS = "abstentions"


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class DayRow(_Row):
    """Arrivals on one day of the site."""

    day: date
    arrived: int
    stat: int
    urgent: int
    routine: int


class HourRow(_Row):
    """Arrivals in one hour of the day, over all days of the period."""

    hour: int
    arrived: int
    per_day: float
    """`arrived` by the days of the period that have begun."""
    stat: int
    urgent: int
    routine: int


class _Turnaround(_Row):
    arrived: int
    read: int
    median_minutes: float | None
    """Of the cases that were read, arrival to read."""
    p90_minutes: float | None
    p95_minutes: float | None
    longest_minutes: float | None
    in_time: int
    """Of the cases that were read, those read by their due time."""
    in_time_share: float | None
    in_time_low: float | None
    in_time_high: float | None
    unread: int
    """Arrived in the period and not read yet: no duration above knows of them."""
    overdue: int
    """Those of them whose due time has passed."""


class TurnaroundRow(_Turnaround):
    """Turnaround of one class, as the cases have it now."""

    urgency: Urgency
    target_minutes: float
    """As set now; due times were set when the case was placed."""


class SourceRow(_Turnaround):
    """The same of one source; durations to the minute."""

    modality: str
    """Modalities of the study, as in (0008,0061)."""
    calling_ae_title: str
    stat: int
    urgent: int
    routine: int


class LeadRow(_Row):
    """Whether the AI's first result was there when somebody began to read: claimed the case, or marked it as read."""

    urgency: Urgency
    begun: int
    """Cases whose reading has begun."""
    before: int
    median_lead_minutes: float | None
    """Of those: how long the result had been there."""
    p90_lead_minutes: float | None
    after: int
    """The result came after the reading had begun."""
    after_share: float | None
    """Of the cases that have a result."""
    after_low: float | None
    after_high: float | None
    longest_after_minutes: float | None
    without: int
    """No result at all so far."""


class ModelRow(_Row):
    """One finding of one bundle version: what it said of how many cases, and what readers said to that last.

    Readers judge what they choose to judge: `ppv` is of the judged positives, and `sensitivity` of what readers called
    the finding; what nobody noticed is in neither. A row without `key` counts what readers saw and the model does not
    look for.
    """

    bundle: str
    version: str
    research: bool
    key: str
    finding: str
    cases: int
    """Looked at for this finding; a case counts once, whatever the number of its images."""
    positive: int
    positive_share: float | None
    positive_low: float | None
    positive_high: float | None
    agreed: int
    """Of the positive ones."""
    disagreed: int
    """False positives, as readers say."""
    cannot_tell: int
    unjudged: int
    ppv: float | None
    """Positive predictive value: agreed / (agreed + disagreed)."""
    ppv_low: float | None
    ppv_high: float | None
    missed: int
    """Negative cases of which a reader said that the finding is there: disagreed with the model, or marked it."""
    missed_marked: int
    """Those of them that a reader marked as missed by the AI."""
    negatives_judged: int
    """Negative cases that a reader agreed or disagreed with, or marked."""
    sensitivity: float | None
    """agreed / (agreed + missed)."""
    sensitivity_low: float | None
    sensitivity_high: float | None


class ScannerRow(ModelRow):
    """The same apart by where the images come from."""

    manufacturer: str
    calling_ae_title: str


class OutcomeRow(_Row):
    """How analyses of the cases stand or ended."""

    status: AnalysisStatus
    reason: str
    analyses: int


class AbstentionRow(_Row):
    """Why images were left out."""

    reason: NotAnalysedReason
    sentence: str
    images: int
    cases: int


class PeriodOut(_Row):
    """Whole days of the site, both included."""

    since: date
    until: date
    days: int
    time_zone: str
    begins_at: datetime
    ends_at: datetime


class StatisticsOut(_Row):
    """A period in figures. Studies count that arrived in it."""

    period: PeriodOut
    as_of: datetime
    days: tuple[DayRow, ...]
    hours: tuple[HourRow, ...]
    turnaround: tuple[TurnaroundRow, ...]
    sources: tuple[SourceRow, ...]
    lead_time: tuple[LeadRow, ...]
    models: tuple[ModelRow, ...]
    scanners: tuple[ScannerRow, ...]
    analyses: tuple[OutcomeRow, ...]
    abstentions: tuple[AbstentionRow, ...]
