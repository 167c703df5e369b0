"""Curves as inline SVG: no script, colours from the page's style sheet, so that light, dark and print all read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

WIDTH: Final = 340.0
HEIGHT: Final = 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 10.0, 40.0

Point = tuple[float, float]
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A line, dots or both.

    Attributes
    ----------
    points : sequence of (x, y)
    style : str
        Class of the style sheet: ``model``, ``external``, ``reference``, ``all``.
    dots : bool
        Each point is marked.
    line : bool
    spans : sequence of (low, high)
        One vertical interval per point, or none.
    """

    points: Sequence[Point]
    style: str
    dots: bool = False
    line: bool = True
    spans: Sequence[Range] = ()


def chart(
    title: str, x_label: str, y_label: str, series: Sequence[Series], *, x: Range = (0.0, 1.0), y: Range = (0.0, 1.0)
) -> Markup:
    """Axes with ticks and labels, and the series; what lies outside the axes is cut off.

    Parameters
    ----------
    title : str
        For people who do not see it.
    """
    frame = _Frame(x, y)
    parts = [frame.axes(x_label, y_label)]
    for one in series:
        parts.extend(frame.drawn(one))
    return _svg(title, WIDTH, HEIGHT, parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line of a forest plot: value with interval, or None where nothing can be said."""

    name: str
    value: tuple[float, float, float] | None
    style: str = "model"


def forest(title: str, rows: Sequence[Row], *, reference: float, x: Range) -> Markup:
    """Values with their intervals below each other, beside the value that would mean "knows nothing"."""
    left, line, height = 118.0, 24.0, 24.0 * len(rows) + 30.0
    width = 460.0

    def across(value: float) -> float:
        low, high = x
        return left + (min(max(value, low), high) - low) / (high - low) * (width - left - 16)

    parts = [Markup('<line class="reference" x1="{0:.1f}" x2="{0:.1f}" y1="4" y2="{1:.1f}"/>').format(
        across(reference), height - 24)]  # fmt: skip
    for tick in ticks(x, 10):
        parts.append(Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(
            across(tick), height - 8, _number(tick)))  # fmt: skip
    for index, row in enumerate(rows):
        y = 16 + line * index
        parts.append(Markup('<text class="name" x="{:.0f}" y="{:.1f}" text-anchor="end">{}</text>').format(
            left - 10, y + 4, row.name))  # fmt: skip
        if row.value is None:
            parts.append(Markup('<text class="tick" x="{:.0f}" y="{:.1f}">cannot be said</text>').format(left, y + 4))
            continue
        value, low, high = (across(part) for part in row.value)
        parts.append(Markup('<line class="{0} span" x1="{1:.1f}" x2="{2:.1f}" y1="{3:.1f}" y2="{3:.1f}"/>').format(
            row.style, low, high, y))  # fmt: skip
        parts.append(Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(row.style, value, y))
    return _svg(title, width, height, parts)


def ticks(limits: Range, count: int = 5) -> list[float]:
    """Round numbers within the limits, about so many of them."""
    low, high = limits
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class _Frame:
    """From the units of the axes to the picture's."""

    x: Range
    y: Range

    def place(self, x: float, y: float) -> Point:
        inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return (
            _LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * inner_width,
            HEIGHT - _BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * inner_height,
        )

    def axes(self, x_label: str, y_label: str) -> Markup:
        left, bottom = self.place(self.x[0], self.y[0])
        right, top = self.place(self.x[1], self.y[1])
        parts = []
        for tick in ticks(self.x):
            at, _ = self.place(tick, self.y[0])
            parts.append(Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>'
                '<text class="tick" x="{0:.1f}" y="{3:.1f}" text-anchor="middle">{4}</text>').format(
                at, top, bottom, bottom + 14, _number(tick)))  # fmt: skip
        for tick in ticks(self.y):
            _, at = self.place(self.x[0], tick)
            parts.append(Markup('<line class="grid" x1="{0:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{2:.1f}"/>'
                '<text class="tick" x="{3:.1f}" y="{4:.1f}" text-anchor="end">{5}</text>').format(
                left, right, at, left - 6, at + 4, _number(tick)))  # fmt: skip
        parts.append(Markup('<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(
            (left + right) / 2, HEIGHT - 6, x_label))  # fmt: skip
        parts.append(Markup('<text class="label" transform="translate(12 {:.1f}) rotate(-90)" text-anchor="middle">{}'
            '</text>').format((top + bottom) / 2, y_label))  # fmt: skip
        return Markup("").join(parts)

    def drawn(self, series: Series) -> list[Markup]:
        parts = []
        placed = [self.place(*point) for point in series.points]
        if series.line and placed:
            parts.append(Markup('<polyline class="{}" points="{}"/>').format(
                series.style, " ".join(f"{px:.1f},{py:.1f}" for px, py in self._inside(series.points))))  # fmt: skip
        for (px, _), (low, high) in zip(placed, series.spans, strict=False):
            (_, bottom), (_, top) = self.place(0, low), self.place(0, high)
            parts.append(Markup('<line class="{0} span" x1="{1:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{3:.1f}"/>').format(
                series.style, px, bottom, top))  # fmt: skip
        if series.dots:
            parts.extend(Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.2"/>').format(series.style, px, py)
                         for px, py in placed)  # fmt: skip
        return parts

    def _inside(self, points: Sequence[Point]) -> list[Point]:
        low, high = self.y
        return [self.place(x, min(max(y, low), high)) for x, y in points]


def _svg(title: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        width, height, title, Markup("").join(parts))  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) > 1e-9 else "0"
