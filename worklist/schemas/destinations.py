"""What the API says of destinations, field by field."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

from triage.repositories.previews import Standing
from worklist.schemas.cases import DeliveryOut
from worklist.schemas.errands import ErrandOut


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class DestinationOut(_Answer):
    """Who gets results, in which form, and how its deliveries stand."""

    address: str
    configured: bool
    """False: it is no longer in the settings, and what was owed to it stays on record."""
    kind: str = ""
    objects: list[str] = []
    """Kinds of objects or messages that it gets."""
    profile: dict[str, Any] | None = None
    """How it wants them; null for messages."""
    commitment: str = ""
    counts: dict[str, int]
    """Deliveries by state; those that arrived by their proof."""
    test: ErrandOut | None = None
    """The last test that was asked for."""


class DestinationTest(BaseModel):
    """Which destination to test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, StringConstraints(min_length=1, max_length=300)]


class DestinationPage(_Answer):
    items: list[DestinationOut]


class PreviewedOut(_Answer):
    """One object as a destination gets it."""

    kind: str
    variant: str
    standing: Standing
    revision: int
    bundle: str
    series_number: int | None
    series_description: str | None
    sop_instance_uid: str | None
    """Null while it is not built, like the next ones."""
    series_instance_uid: str | None
    transfer_syntax_uid: str | None
    size: int | None
    file_url: str | None
    delivery: DeliveryOut | None


class PreviewOut(_Answer):
    destination: str
    study_instance_uid: str
    items: list[PreviewedOut]
    rebuild_needed: bool
    """Some of it has to be built first; `note` says how."""
    note: str
