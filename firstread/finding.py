"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    GOOD = "ok"
    WARNING = "warning"
    BAD = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``next_step`` says what to do; empty where all is well."""

    subject: str
    grade: Grade
    message: str
    next_step: str = ""
