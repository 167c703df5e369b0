"""The report as one HTML page: styles and plots inside it, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from models.evaluating.curves import stepped
from models.evaluating.plots import Range, Row, Series, chart, forest
from models.evaluating.subgroups import FEWEST

_HERE = Path(__file__).parent
Figures = Mapping[str, Any]


def render(report: Figures) -> str:
    """The page.

    Parameters
    ----------
    report : mapping
        As :func:`models.evaluating.run.evaluate` gives it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html").render(
        r=report,
        css=Markup((_HERE / "report.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        own={key: row.get("auc") for key, row in report["stated"].items()},
        forest=_forest(report),
        plots={key: _plots(key, report) for key in report["test"]["findings"]},
        fewest=FEWEST,
    )


def _forest(report: Figures) -> Markup:
    rows, lows = [], [0.45]
    for key, figures in report["test"]["findings"].items():
        others = {"model": figures}
        if report["external"]:
            others["external"] = report["external"]["findings"][key]
        for style, here in others.items():
            area = here["auc"]
            rows.append(Row(
                name=key if style == "model" else "external", style=style,
                value=(area["value"], area["low"], area["high"]) if area else None,
            ))  # fmt: skip
            lows.append(area["low"] if area else 1.0)
    return forest("Area under the ROC curve of each finding", rows, reference=0.5, x=(min(lows), 1.0))


def _plots(key: str, report: Figures) -> list[dict[str, Any]]:
    figures = report["test"]["findings"][key]
    external = report["external"]["findings"][key] if report["external"] else None
    if not figures["curves"]:
        return []
    both = [("model", figures)]
    if external is not None and external["curves"]:
        both.append(("external", external))
    return [_roc(both), _precision_recall(both, figures), _reliability(both), _decision(figures)]


def _roc(both: list[tuple[str, Figures]]) -> dict[str, Any]:
    lines = [Series(points=[(0, 0), (1, 1)], style="reference")]
    lines += [Series(points=figures["curves"]["roc"], style=style) for style, figures in both]
    for _, figures in both[:1]:
        lines.append(Series(points=[
            (1 - point["specificity"]["value"], point["sensitivity"]["value"])
            for point in figures["operating_points"] if point["sensitivity"] and point["specificity"]
        ], style="model", dots=True, line=False))  # fmt: skip
    return _plot("ROC curve", "1 − specificity", "sensitivity", lines,
                 _key(both) + Markup("; dots: the operating points below"))  # fmt: skip


def _precision_recall(both: list[tuple[str, Figures]], figures: Figures) -> dict[str, Any]:
    share = figures["positives"] / (figures["positives"] + figures["negatives"])
    lines = [Series(points=[(0, share), (1, share)], style="reference")]
    lines += [Series(points=stepped(one["curves"]["precision_recall"]), style=style) for style, one in both]
    return _plot("Precision and recall", "sensitivity (recall)", "PPV (precision)", lines,
                 _key(both) + Markup(' <span class="key reference"></span>share of positives'))  # fmt: skip


def _reliability(both: list[tuple[str, Figures]]) -> dict[str, Any]:
    lines = [Series(points=[(0, 0), (1, 1)], style="reference")]
    for style, figures in both:
        bins = figures["reliability"]
        lines.append(Series(
            points=[(b["stated"], b["observed"]["value"]) for b in bins], style=style, dots=True,
            spans=[(b["observed"]["low"], b["observed"]["high"]) for b in bins],
        ))  # fmt: skip
    return _plot("Reliability", "stated probability", "share that has it", lines,
                 _key(both) + Markup('; bins of equal size <span class="key reference"></span>true'))  # fmt: skip


def _decision(figures: Figures) -> dict[str, Any]:
    decision = figures["curves"]["decision"]
    thresholds = decision["threshold"]
    share = figures["positives"] / (figures["positives"] + figures["negatives"])
    top = 1.1 * max(share, *decision["model"])
    shown = [t for t, model in zip(thresholds, decision["model"], strict=True) if model > 0] or thresholds
    right = min(1.0, 1.15 * max(*shown, 0.1))
    bottom = -0.15 * top
    lines = [Series(points=[(0, 0), (right, 0)], style="reference")]
    for style, name in (("all", "treat_all"), ("model", "model")):
        points = [(t, y) for t, y in zip(thresholds, decision[name], strict=True) if t <= right and y >= bottom]
        lines.append(Series(points=points, style=style))
    useful = decision["useful"]
    text = (
        f"better than both from {useful[0]:g} to {useful[1]:g} at a stretch"
        if useful
        else "never better than treating all or none"
    )
    caption = Markup(
        '<span class="key model"></span>model <span class="key all"></span>treat all '
        '<span class="key reference"></span>treat none; {}'
    ).format(text)
    return _plot("Net benefit", "probability from which one would act", "net benefit", lines, caption,
                 x=(0.0, right), y=(bottom, top))  # fmt: skip


def _key(both: list[tuple[str, Figures]]) -> Markup:
    names = {"model": "these images", "external": "external set"}
    return Markup(" ").join(
        Markup('<span class="key {}"></span>{}').format(style, names[style]) for style, _ in both
    )  # fmt: skip


def _plot(
    title: str, x_label: str, y_label: str, lines: list[Series], caption: Markup,
    *, x: Range = (0.0, 1.0), y: Range = (0.0, 1.0),
) -> dict[str, Any]:  # fmt: skip
    return {"title": title, "svg": chart(title, x_label, y_label, lines, x=x, y=y), "caption": caption}
