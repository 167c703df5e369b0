"""What may be asked of the simulator, and what it answers. Light: the server knows these without playing anything."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Source(StrEnum):
    """Whose cases are played."""

    CHEST = "chest"
    HEAD = "head"
    HISTORY = "history"


class SimulatorQuery(BaseModel):
    """What to play; what is not given is the scenario's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: Source = Source.CHEST
    """A synthetic department, or `history`: this site's own arrivals and reading times."""
    sensitivity: float | None = Field(default=None, ge=0, le=1)
    """Of the model, for every finding. Not of `history`, where the model said what it said."""
    specificity: float | None = Field(default=None, ge=0, le=1)
    prevalence: float | None = Field(default=None, gt=0, le=1)
    """Share of cases that have any finding."""
    stat_share: float | None = Field(default=None, ge=0, le=0.9)
    """Share of cases ordered as STAT, whatever is in them."""
    readers: int | None = Field(default=None, ge=1, le=50)
    """People who read at once, in the hours in which anybody does; of `history` round the clock."""
    reading_minutes: float | None = Field(default=None, ge=0.5, le=120)
    """Mean time to read and report a case; of `history` where a case was not claimed before it was read."""
    days: int = Field(default=20, ge=1, le=90)
    """Days that are played; of `history` the last so many."""
    seed: int = Field(default=1, ge=0, le=2**31)
    """The same seed gives the same days."""


class PolicyOut(BaseModel):
    """Waits of a group under one order of the list, minutes from arrival until somebody begins to read."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    policy: str
    mean_minutes: float
    p95_minutes: float
    longest_minutes: float
    late: int
    """How many of the group began after their target."""
    change_minutes: float
    """Of the mean, against first in, first out."""


class GroupOut(BaseModel):
    """A group of cases, by what is truly in them."""

    model_config = ConfigDict(frozen=True)

    group: str
    cases: int
    policies: tuple[PolicyOut, ...]


class SimulationOut(BaseModel):
    """A play: the same cases under each order."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    inputs: SimulatorQuery
    """As played: what was not given is filled in where it is one figure."""
    groups: tuple[GroupOut, ...]
    gains: tuple[str, ...]
    """Who waits less than first in, first out, in words."""
    harms: tuple[str, ...]
    """Who waits more."""
