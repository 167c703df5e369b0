"""When this version was made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""No machine runs this version before: a clock that says so has lost its battery or its time server. Moved at releases,
never past the day of one."""
