"""What the API says of workitems, as :mod:`worklist.schemas.cases` does of cases."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from triage.states import WorkitemStatus


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class WorkitemOut(_Answer):
    """A workitem (Unified Procedure Step) that a task manager has scheduled for this node."""

    id: int
    manager: str
    """Its address."""
    workitem_uid: str
    study_instance_uid: str | None
    """Of its input; none while that is not here."""
    status: WorkitemStatus
    reason: str
    """What it waits for, or how it ended."""
    priority: str
    """HIGH, MEDIUM or LOW, as the task manager says it."""
    progress: int
    """Percent, as the task manager was told."""
    found_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None


class TaskManagerOut(_Answer):
    """A system that is asked for workitems."""

    address: str
    answered_at: datetime | None
    problem: str
    """Why it could not be asked last; empty when it answered."""


class WorkitemPage(_Answer):
    """A page of workitems, newest first."""

    items: list[WorkitemOut]
    next_before: int | None
    managers: list[TaskManagerOut]
