"""Where the bars of a chart stand: numbers in, coordinates out. Pure; the template draws, the table beside it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from triage.findings import Urgency

WIDTH: Final = 720.0
HEIGHT: Final = 170.0
LEFT: Final = 52.0
"""Room for the scale."""
BOTTOM: Final = 18.0
"""Room for the labels."""
LABELS: Final = 12
"""At most so many, or they would run into each other on a phone."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One class of a bar."""

    urgency: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A stack, most urgent at the bottom; ``words`` say it, ``label`` stands below it or is empty."""

    x: float
    width: float
    pieces: Sequence[Piece]
    label: str
    words: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A chart of stacked bars, :data:`WIDTH` by :data:`HEIGHT`; ``lines`` are (y, what it stands for)."""

    bars: Sequence[Bar]
    lines: Sequence[tuple[float, int]]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    base: float = HEIGHT - BOTTOM


def stacked(rows: Sequence[tuple[str, str, Sequence[int]]]) -> Bars:
    """Bars of (label, words, count of each class in the order of :class:`Urgency`)."""
    top = nice_top(max((sum(counts) for _, _, counts in rows), default=0))
    base, room = HEIGHT - BOTTOM, HEIGHT - BOTTOM - 8
    step = (WIDTH - LEFT) / max(1, len(rows))
    every = -(-len(rows) // LABELS)
    bars = []
    for index, (label, words, counts) in enumerate(rows):
        pieces, y = [], base
        for urgency, count in zip(Urgency, counts, strict=True):
            height = room * count / top
            y -= height
            if count:
                pieces.append(Piece(urgency.lower(), round(y, 2), round(height, 2)))
        shown = label if index % every == 0 else ""
        bars.append(Bar(round(LEFT + step * (index + 0.1), 2), round(step * 0.8, 2), pieces, shown, words))
    return Bars(bars, [(round(base - room * value / top, 2), value) for value in (top // 2, top) if value])


def nice_top(highest: int) -> int:
    """The end of a scale: the next of 2, 4, 6, 8, 10, 20, 40, …, so that its half is a whole number too."""
    scale = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if step * scale >= highest:
                return step * scale
        scale *= 10


@dataclass(frozen=True, slots=True)
class Wait:
    """Turnaround of one class on a scale of 0 to 100 % of the chart; None where nothing was read."""

    median: float
    p90: float
    p95: float
    target: float


def wait_scale(rows: Sequence[tuple[float | None, float | None, float | None, float]]) -> list[Wait | None]:
    """Rows of (median, P90, P95, target) minutes on one scale, whose end is the greatest of them all."""
    highest = max((value for row in rows for value in row if value is not None), default=0) or 1.0

    def at(value: float) -> float:
        return round(100 * value / highest, 2)

    return [
        None if median is None or p90 is None or p95 is None else Wait(at(median), at(p90), at(p95), at(target))
        for median, p90, p95, target in rows
    ]
