"""What the API says of site rules and of their dry runs."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from triage.findings import Urgency
from triage.rules import Rule


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class RulesOut(_Answer):
    """The site rules of the settings."""

    rules: tuple[Rule, ...]
    time_zone: str
    digest: str
    """Equal for rules that say the same; empty for none."""
    applied: bool
    """The cases that nobody has read are judged by these rules; false for some seconds after they have changed."""


class TriedRuleOut(_Answer):
    name: str
    urgency: Urgency
    matched: int
    """Cases that it holds for."""
    moved: int
    """Cases that get another class by it, and not by a higher rule or one before it by name."""


class MovedCaseOut(_Answer):
    """A case that the tried rules raise."""

    study_instance_uid: str
    accession_number: str
    received_at: datetime
    modality: str
    before: Urgency
    """Without any site rule."""
    after: Urgency
    now: Urgency
    """What it has, under the rules in force when it was last judged."""
    rule: str
    reason: str
    """The line that the list would show."""


class RuleTrialOut(_Answer):
    """A dry run of site rules."""

    cases: int
    """How many arrived in these days."""
    all_looked_at: bool
    """False when there were more than are looked at; the newest were."""
    stat_before: int
    stat_after: int
    moved: int
    rules: tuple[TriedRuleOut, ...]
    examples: tuple[MovedCaseOut, ...]
    """The newest of the moved cases."""
    warning: str
    """Not empty when more cases become STAT than `ai_stat_share` leaves to the AI."""
