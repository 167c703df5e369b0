"""A period in figures, as API, page and CSV ask for it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.orm import Session

from triage.findings import Urgency
from triage.repositories.statistics import Scope
from triage.statistics import MOST_DAYS, Period
from worklist.context import Context
from worklist.schemas.statistics import PeriodOut, StatisticsOut
from worklist.statistics_tables import TABLES, Question

_Day = Annotated[date, Field(ge=date(1990, 1, 1), le=date(2199, 12, 31))]


class StatisticsQuery(BaseModel):
    """Which period and which studies."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    days: int = Field(default=7, ge=1, le=MOST_DAYS)
    """The last so many days of the site, today included; where `since` is not given."""
    since: _Day | None = None
    """First day of the period, in the site's time zone."""
    until: _Day | None = None
    """Last day of the period, today without; at most 400 days after the first."""
    urgency: Urgency | None = None
    """Studies that are of this class now."""
    modality: str = Field(default="", max_length=16, pattern=r"^[A-Za-z0-9_ ]*$")
    """Studies that contain this modality."""
    ae_title: str = Field(default="", max_length=16)
    """Studies whose first instance came from this calling AE title."""

    @field_validator("since", "until", "urgency", mode="before")
    @classmethod
    def _empty_is_any(cls, value: object) -> object:
        return value or None  # a form sends its empty fields too

    def scope(self, *, now: datetime, zone: str) -> Scope:
        """The studies meant.

        Raises
        ------
        IdentifierError
            The period is turned round or too long.
        """
        latest = Period.until(now, days=self.days, zone=zone)
        last = self.until or latest.last
        first = self.since or (last - (latest.last - latest.first))
        return Scope(
            period=Period(first, last, zone),
            urgency=self.urgency,
            modality=self.modality.strip().upper(),
            ae_title=self.ae_title.strip(),
        )


def question(here: Context, session: Session, query: StatisticsQuery) -> Question:
    """The query, put to a session as of now.

    Raises
    ------
    IdentifierError
        The period is turned round or too long.
    """
    now = here.clock()
    scope = query.scope(now=now, zone=here.settings.time_zone)
    return Question(session, scope, here.settings.targets, now)


def read_statistics(here: Context, query: StatisticsQuery) -> StatisticsOut:
    """All tables of a period, as of one moment.

    Raises
    ------
    IdentifierError
        The period is turned round or too long.
    """
    with here.database.read() as session:
        asked = question(here, session, query)
        tables = {table.replace("-", "_"): rows(asked) for table, (_, rows) in TABLES.items()}
    return StatisticsOut.model_validate({"period": describe_period(asked.scope.period), "as_of": asked.now, **tables})


def describe_period(period: Period) -> PeriodOut:
    """Its days and what they are in UTC."""
    return PeriodOut(
        since=period.first,
        until=period.last,
        days=period.days,
        time_zone=period.zone or "UTC",
        begins_at=period.begins,
        ends_at=period.ends,
    )
