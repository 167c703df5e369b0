"""Tolerant reading of an element's values: one that cannot be read is no reason to give up its image."""

from __future__ import annotations

import math
from typing import Any

from pydicom.dataset import Dataset


def values_of(dataset: Dataset, keyword: str) -> list[Any]:
    """The values of an element, none where it is absent or empty; ``[None]`` where it is there and cannot be read."""
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom parses an element when it is asked for, and may fail in any way
        return [None]
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    return list(value) if isinstance(value, list | tuple) or hasattr(value, "append") else [value]


def usable_number(value: object) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
