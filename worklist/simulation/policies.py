"""In which order a list may be read. Each policy gives a case a sort key, smaller first; ours is the product's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from triage.findings import Urgency
from triage.priority import Claims, Targets, place

Key: TypeAlias = tuple[float, float]
Policy: TypeAlias = Callable[[float, Urgency], Key]
"""(minute of arrival, class as known now) to sort key."""

_MIDNIGHT: Final = datetime(2000, 1, 1, tzinfo=UTC)


def first_in_first_out(arrived: float, urgency: Urgency) -> Key:  # noqa: ARG001 - it looks at nothing else
    """What most departments do today: the AI moves nothing."""
    return (0.0, arrived)


def strict_classes(arrived: float, urgency: Urgency) -> Key:
    """The class alone, and arrival within it: what is overlooked sinks, and nothing bounds its wait."""
    return (float(urgency.rank), arrived)


def our_order(targets: Targets) -> Policy:
    """The order of the product itself, by :func:`triage.priority.place`."""

    def key(arrived: float, urgency: Urgency) -> Key:
        placement = place(Claims(ai=urgency), _MIDNIGHT + timedelta(minutes=arrived), targets)
        return (float(placement.tier), (placement.due_at - _MIDNIGHT).total_seconds())

    return key


def policies(targets: Targets) -> dict[str, Policy]:
    """By the name that tables and pages show."""
    return {
        "first in, first out": first_in_first_out,
        "class alone": strict_classes,
        "firstread": our_order(targets),
    }
