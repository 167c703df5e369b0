"""Timing of calls that take turns, so that the machine's mood falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one call, one value per repeat."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def text(self, per: int = 1) -> str:
        """Median with minimum and maximum, of one of ``per`` things that a call does."""
        return f"{self.median / per:.2f} ({min(self.values) / per:.2f} to {max(self.values) / per:.2f})"


def alternate(
    calls: Mapping[str, Callable[[], Any]], repeats: int, *, at_least_ms: float = 60.0, seed: int = 0
) -> dict[str, Timing]:
    """Time each call ``repeats`` times, in another order each time, after one round that is not counted.

    A call shorter than ``at_least_ms`` is repeated within its turn, and the mean of the turn counts.
    """
    order, shuffle = list(calls), np.random.default_rng(seed).shuffle
    inner = {name: max(1, min(50, round(at_least_ms / max(_timed(calls[name], 1), 1e-3)))) for name in order}
    taken: dict[str, list[float]] = {name: [] for name in order}
    for _ in range(repeats):
        shuffle(order)
        for name in order:
            taken[name].append(_timed(calls[name], inner[name]))
    return {name: Timing(tuple(values)) for name, values in taken.items()}


def _timed(call: Callable[[], Any], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) * 1000 / times
