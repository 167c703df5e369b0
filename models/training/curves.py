"""The curves of a run: as CSV and JSON for programs, as a page with drawings for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from models.training.durable import write_durably

History = Sequence[Mapping[str, Any]]

_WIDTH, _HEIGHT, _MARGIN = 640, 260, 44
_COLOURS = ("#0b63b0", "#c2410c", "#15803d", "#7e22ce", "#b45309", "#0f766e", "#be123c", "#4d4d4d")
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#444}table{border-collapse:collapse}"
    "td,th{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #ddd}"
)


def write(directory: Path, history: History, title: str) -> None:
    """Write ``history.json``, ``history.csv`` and ``curves.html``, each whole or not at all."""
    write_durably(directory / "history.json", (json.dumps(list(history), indent=1) + "\n").encode())
    columns = list(dict.fromkeys(key for entry in history for key in entry))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(history)
    write_durably(directory / "history.csv", text.getvalue().encode())
    write_durably(directory / "curves.html", page(history, title).encode())


def page(history: History, title: str) -> str:
    """One HTML page that needs nothing else: losses, AUC of each finding, learning rate, and the figures as a table."""
    areas = sorted({key for entry in history for key in entry if key.startswith("auc_")})
    parts = [
        chart("Loss", history, {"train_loss": "training", "validation_loss": "validation"}),
        chart("Validation AUC", history, {"mean_auc": "mean", **{key: key.removeprefix("auc_") for key in areas}}),
        chart("Learning rate of the head", history, {"learning_rate": "learning rate"}),
        _table(history),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}: training curves</title>'
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}: training curves</h1>\n" + "\n".join(parts) + "\n</html>\n"
    )


def chart(title: str, history: History, series: Mapping[str, str]) -> str:
    """A line chart over epochs as SVG.

    Parameters
    ----------
    series : mapping of str to str
        Key of a history entry → name in the legend; a series without any value is left out.
    """
    lines = {
        name: [(entry["epoch"], float(entry[key])) for entry in history if entry.get(key) is not None]
        for key, name in series.items()
    }
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""
    values = [value for points in lines.values() for _, value in points]
    low, high = min(values), max(values)
    pad = (high - low) * 0.05 or max(abs(high) * 0.05, 1e-6)
    low, high = low - pad, high + pad
    last = max(epoch for points in lines.values() for epoch, _ in points)

    def place(epoch: float, value: float) -> tuple[float, float]:
        across = (epoch - 1) / max(last - 1, 1)
        x = _MARGIN + across * (_WIDTH - 2 * _MARGIN)
        return round(x, 1), round(_HEIGHT - _MARGIN - (value - low) / (high - low) * (_HEIGHT - 2 * _MARGIN), 1)

    drawn = [_axis(place, low, high, last)]
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in points))
        x, y = place(*points[-1])
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        left = _MARGIN + (number % 5) * 120
        drawn.append(f'<text x="{left}" y="{14 + 14 * (number // 5)}" style="fill:{colour}">{escape(name)}</text>')
    label = escape(f"{title} over {last} epochs: {', '.join(lines)}")
    return (
        f"<h2>{escape(title)}</h2>\n"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'
    )


def _axis(place: Any, low: float, high: float, last: int) -> str:
    left, bottom = place(1, low)
    right, top = place(max(last, 2), high)
    marks = [f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#999"/>']
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        marks.append(f'<text x="{left - 6}" y="{place(1, value)[1] + 4}" text-anchor="end">{value:.3g}</text>')
    for epoch in sorted({1, (1 + last) // 2, last}):
        marks.append(f'<text x="{place(epoch, low)[0]}" y="{bottom + 18}" text-anchor="middle">{epoch}</text>')
    return "".join(marks)


def _table(history: History) -> str:
    columns = list(dict.fromkeys(key for entry in history for key in entry))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(_figure(entry.get(column)))}</td>" for column in columns) + "</tr>"
        for entry in history
    )
    return f"<h2>Figures</h2>\n<table><tr>{head}</tr>\n{rows}</table>"


def _figure(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
