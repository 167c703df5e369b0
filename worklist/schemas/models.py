"""What the API says of bundles: which read, at which operating points, proven by what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from triage.findings import Urgency
from worklist.schemas.errands import ErrandOut
from worklist.schemas.texts import ONE_LINE

Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=ONE_LINE)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PointOut(_Answer):
    """A finding and from which score on it is positive."""

    finding: str
    meaning: str
    threshold: float
    """In effect."""
    urgency: Urgency
    """In effect: what a positive asks for."""
    bundle_threshold: float
    bundle_urgency: Urgency
    site_threshold: float | None
    """The site's own; null where it has set none."""
    site_urgency: Urgency | None
    lapsed: bool
    """The site's threshold was set for other weights and has no effect on these."""
    sensitivity: float | None
    """Measured by the maker at `bundle_threshold`; of another threshold nobody knows."""
    specificity: float | None


class FigureOut(_Answer):
    """One acceptance criterion and what was measured."""

    subject: str
    required: str
    measured: str
    met: bool


class AcceptanceOut(_Answer):
    """What was proven about a bundle on this installation."""

    at: datetime
    who: str
    met: bool
    data: str
    """Where the figures come from."""
    figures: list[FigureOut]


class ModelOut(_Answer):
    """A bundle of this installation."""

    name: str | None
    """Null where its metadata cannot be read; `problem` says why."""
    directory: str
    version: str | None
    source: str
    """"shipped" or "site"."""
    available: bool
    """It reads."""
    enabled: bool
    note: str
    """Why it is not enabled."""
    problem: str
    """Why it should read and cannot."""
    research: bool | None
    disclaimer: str = ""
    intended_use: str = ""
    limits: list[str] = []
    """What it cannot do, one sentence each."""
    score_kind: str = ""
    calibration: str = ""
    """How its scores became what they are; thresholds do not change it."""
    weights_sha256: str | None
    acceptance: AcceptanceOut | None
    points: list[PointOut]
    change: ErrandOut | None = None
    """The last change that was asked for here."""


class ReaderOut(_Answer):
    """A process that analyses, and the bundles it has open."""

    name: str
    bundles: list[str]


class ModelList(_Answer):
    revision: int
    """Of the site's decisions, for If-Match."""
    at: datetime | None
    """When a worker last looked; null before the first look."""
    items: list[ModelOut]
    """In the order in which they are asked for an image."""
    readers: list[ReaderOut]
    """They notice a change between two analyses, without a restart."""


class Enabling(_Request):
    """Let a bundle read."""

    shipped: bool = False
    """The shipped one, where the site has a bundle of this name."""


class Disabling(_Request):
    """Let a bundle read no more."""

    reason: Why
    """Shown with the images that it would have read; no patient data."""


class PointChange(_Request):
    """The site's own word on a finding; what is null stays as it is."""

    threshold: float | None = Field(default=None, ge=0, le=1)
    urgency: Urgency | None = None
    reason: Why

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.threshold is None and self.urgency is None:
            raise ValueError("threshold or urgency: one of them is needed")
        return self


class PointReset(_Request):
    """Back to the bundle's own operating point."""

    reason: Why


def describe_model(row: dict[str, Any], change: ErrandOut | None) -> ModelOut:
    """A bundle as a worker has written it down; fields of a later version are left out."""
    return ModelOut.model_validate({**row, "change": change})
