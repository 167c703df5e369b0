"""What a person sends with a step through a case."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from triage.findings import Urgency
from worklist.schemas.texts import ONE_LINE


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=ONE_LINE)]


class PriorityChange(_Request):
    """A person's class for a case. It wins over order, rules and AI until it is withdrawn."""

    urgency: Urgency | None
    """Null takes an earlier one back."""
    reason: Reason = Field(min_length=1)
    """Shown in the list and kept in the audit trail; no patient data."""
