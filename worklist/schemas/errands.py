"""What the API says of errands: what a person has asked a worker to do."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from triage.states import ErrandKind, ErrandStatus
from triage.tables import Errand


class ErrandOut(BaseModel):
    """Something that was asked for. Ask for it by its id until `ended_at` is set; most take less than a second."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: int
    kind: ErrandKind
    subject: str
    """Kind and name of what it is about, such as "destination:PACS@10.0.0.5:104"."""
    status: ErrandStatus
    """DONE: it worked. FAILED: it did not, and is not tried again by itself."""
    asked_by: str
    asked_at: datetime
    ended_at: datetime | None
    message: str
    """What came of it."""
    next_step: str
    """What to do about it; empty where all is well."""


def describe_errand(row: Errand) -> ErrandOut:
    """An errand as API and page say it."""
    return ErrandOut.model_validate(row, from_attributes=True)
