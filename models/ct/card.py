"""The model card of a bundle that reads series (Mitchell et al. 2019): what it states and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models.card_opening import opening
from models.metadata import BundleMetadata, SeriesSpec

Figures = Mapping[str, Any]

_SETS = {"test": "unseen phantoms", "unseen_scanner": "the scanner that no training saw"}


def render(metadata: BundleMetadata, series: SeriesSpec, evaluation: Figures) -> str:
    """The card as Markdown.

    Parameters
    ----------
    evaluation : mapping
        Content of ``evaluation.json`` as :mod:`models.training.series` writes it; without a ``test`` part the card says
        that nothing was measured.
    """
    parts = [
        *opening(metadata),
        _score(metadata, series),
        "## Measured",
        *_measured(metadata, evaluation),
        "## Series it reads",
        "\n".join(_routing(metadata, series)),
        "## How it was made",
        "\n".join(_making(metadata, series, evaluation)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _score(metadata: BundleMetadata, series: SeriesSpec) -> str:
    kind = metadata.calibration.score_kind.value.replace("_", " ").lower()
    return (
        f"A score belongs to a series: the mean logit of its {series.top} highest slices, then "
        f"sigmoid(logit / temperature + bias), a {kind} (calibration: {metadata.calibration.method}). The key slice is "
        "the one with the highest logit. Probabilities hold for series like those it was calibrated on, at their share "
        "of positives."
    )


def _measured(metadata: BundleMetadata, evaluation: Figures) -> Iterator[str]:
    sets = [name for name in _SETS if name in evaluation]
    if not sets:
        yield "Nothing: this bundle was not evaluated."
        return
    yield (
        "Whole series that neither training, nor calibration, nor the choice of the threshold had seen "
        f"({evaluation['confidence']}). Threshold: {evaluation['thresholds']}."
    )
    lines = [
        "| series | finding | positives / negatives | AUC | sensitivity | specificity | ECE | Brier |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sets:
        for f in metadata.findings:
            row = evaluation[name]["findings"][f.key]
            lines.append(
                f"| {_SETS[name]} | {f.key} | {row['positives']} / {row['negatives']} | {_interval(row['auc'])} | "
                f"{_interval(row['sensitivity'])} | {_interval(row['specificity'])} | "
                f"{row['expected_calibration_error']:.3f} | {row['brier_score']:.3f} |"
            )
    yield "\n".join(lines)
    names = list(evaluation["pointing_tolerances"])
    lines = [
        f"| series | the key slice shows it | heat map {' | heat map '.join(n.replace('_', ' ') for n in names)} |",
        "|---" * (len(names) + 2) + "|",
    ]
    for name in sets:
        for f in metadata.findings:
            game = evaluation[name]["findings"][f.key].get("pointing_game", {})
            shown = evaluation[name].get("key_slice_shows_it")
            cells = [_interval(shown) if shown else "", *(_interval(game[n]) if n in game else "" for n in names)]
            lines.append(f"| {_SETS[name]} | {' | '.join(cells)} |")
    yield (
        "Of the true positives: the share whose key slice holds the true mask, and whose heat map there peaks inside "
        f"it, or within the tolerance of it, in pixels of the {metadata.input.height} x {metadata.input.width} input "
        "(pointing game, Zhang et al. 2018)."
    )
    yield "\n".join(lines)
    yield "Sensitivity by kind of bleeding; a head may have two:"
    kinds = list(dict.fromkeys(kind for name in sets for kind in evaluation[name].get("sensitivity_by_kind", {})))
    lines = [f"| series | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for name in sets:
        rates = evaluation[name].get("sensitivity_by_kind", {})
        lines.append(f"| {_SETS[name]} | {' | '.join(_interval(rates[k]) if k in rates else '' for k in kinds)} |")
    yield "\n".join(lines)


def _routing(metadata: BundleMetadata, series: SeriesSpec) -> Iterator[str]:
    r = metadata.routing
    regions = ", ".join(r.body_parts)
    yield f"- Modality {', '.join(r.modalities)}; body part {regions}; at least {r.min_side} pixels a side"
    yield (
        f"- {series.min_slices} to {series.max_slices} slices that cover at least {series.min_extent_mm:g} mm, at most "
        f"{series.max_spacing_mm:g} mm apart, all distances within {series.spacing_tolerance:.0%} of the median, at "
        f"most {series.max_angle_degrees:g} degrees from axial"
    )
    limits = (("at least", series.min_field_mm), ("at most", series.max_field_mm))
    field = " and ".join(f"{word} {limit:g} mm" for word, limit in limits if limit)
    yield "- The front of the patient is at the upper edge" + (f"; the field is {field} wide" if field else "")
    yield f"- Series with contrast medium: {'read' if series.contrast else 'left out'}"
    if r.manufacturer_equals:
        yield f"- Only where Manufacturer is {' or '.join(repr(m) for m in r.manufacturer_equals)}"
    if r.manufacturer_not:
        yield f"- Never where Manufacturer is {' or '.join(repr(m) for m in r.manufacturer_not)}"


def _making(metadata: BundleMetadata, series: SeriesSpec, evaluation: Figures) -> Iterator[str]:
    training = evaluation.get("training", {})
    heads = f" of {training['heads']} heads" if "heads" in training else ""
    yield (
        f"- Data: {metadata.training.data} ({metadata.training.images} slices{heads}, seed {metadata.training.seed})"
    )
    windows = ", ".join(f"{w.centre:g}/{w.width:g}" for w in series.windows)
    slab = f", {series.slab} neighbouring slices" if series.slab > 1 else ""
    yield (
        f"- Network: {metadata.architecture}, windows {windows} HU as channels{slab}, {metadata.input.height} x "
        f"{metadata.input.width} ({metadata.input.fit}), heat map by class activation mapping (Zhou et al. 2016)"
    )
    if "epochs" in training:
        yield f"- {training['epochs']} epochs"
    if metadata.training.notes:
        yield f"- {metadata.training.notes}"
    yield f"- {metadata.manufacturer}, {metadata.training.date}; licence of the weights: {metadata.licence}"


def _interval(figure: Figures) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
