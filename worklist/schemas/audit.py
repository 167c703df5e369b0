"""What the API says of the audit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from triage.repositories.audit import AuditFilter

_PLAIN: Final = r"^[^\x00-\x1f\x7f]*$"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a moment that UTC cannot say") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class AuditEntryOut(_Answer):
    """A change of the house itself."""

    id: int
    at: datetime
    who: str
    action: str
    subject: str
    """Kind and name of what was changed, such as "peer:CT1"."""
    before: dict[str, Any] | None
    """Null: there was nothing."""
    after: dict[str, Any] | None
    """Null: there is nothing any more."""


class AuditPage(_Answer):
    items: list[AuditEntryOut]
    next_before: int | None
    """Send it as `before` for the next page; null on the last one."""


class AuditQuery(BaseModel):
    """Which entries, the same for API and page."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    who: str = Field(default="", max_length=100, pattern=_PLAIN)
    action: str = Field(default="", max_length=100, pattern=_PLAIN)
    subject: str = Field(default="", max_length=300, pattern=_PLAIN)
    """A whole subject ("peer:CT1"), or a kind with its colon ("peer:") for all of that kind."""
    since: Moment | None = None
    """From this moment on, with its zone."""
    until: Moment | None = None
    """Before this moment."""
    before: int | None = Field(default=None, ge=1, le=2**62)
    """`next_before` of the page before."""
    limit: int = Field(default=50, ge=1, le=200)

    @property
    def wanted(self) -> AuditFilter:
        return AuditFilter(self.who.strip(), self.action.strip(), self.subject.strip(), self.since, self.until)
