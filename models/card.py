"""The model card (Mitchell et al. 2019), written from what a bundle states and what was measured: no typed figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.card_opening import opening
from models.ct import card as series_card
from models.explaining import statement
from models.metadata import BundleMetadata

Figures = Mapping[str, Any]
_CHANNELS = {1: "one grey channel", 3: "the grey image in three channels"}


def render(metadata: BundleMetadata, evaluation: Figures) -> str:
    """The card as Markdown.

    Parameters
    ----------
    evaluation : mapping
        Content of ``evaluation.json`` as :mod:`models.training` writes it, or of a ``report.json`` of
        :mod:`models.evaluating`; without a ``test`` part the card says that nothing was measured.
    """
    if metadata.series is not None:
        return series_card.render(metadata, metadata.series, evaluation)
    parts = [
        *opening(metadata),
        _score_sentence(metadata),
        *_measured(metadata, evaluation),
        *statement.section(metadata, evaluation),
        "## Images it reads",
        _routing(metadata),
        _guarded(evaluation),
        "## How it was made",
        _making(metadata, evaluation),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _score_sentence(metadata: BundleMetadata) -> str:
    kind = metadata.calibration.score_kind.value.replace("_", " ").lower()
    return (
        f"A score is sigmoid(logit / temperature + bias), a {kind} (calibration: {metadata.calibration.method}). "
        "Probabilities hold for images like those it was calibrated on, at their share of positives."
    )


def _measured(metadata: BundleMetadata, evaluation: Figures) -> list[str]:
    test = evaluation.get("test")
    if not test:
        return ["## Measured", "Nothing: this bundle was not evaluated."]
    lines = [
        "| finding | positives / negatives | AUC | sensitivity | specificity | ECE | Brier |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in metadata.findings:
        row = test["findings"][f.key]
        lines.append(
            f"| {f.key} | {row['positives']} / {row['negatives']} | {_interval(row['auc'])} | "
            f"{_interval(row['sensitivity'])} | {_interval(row['specificity'])} | "
            f"{_number(row['expected_calibration_error'])} | {_number(row['brier_score'])} |"
        )
    thresholds = evaluation.get("thresholds", "as stated")
    text = [
        "## Measured",
        f"{_provenance(evaluation)} ({evaluation.get('confidence', 'intervals in parentheses')}). "
        f"Thresholds: {thresholds}.",
        *evaluation.get("notes", ()),
        "\n".join(lines),
    ]
    areas = {f.key: test["findings"][f.key]["auc"] for f in metadata.findings}
    unmeasured = [key for key, area in areas.items() if area is None]
    if unmeasured:
        text.append(f"**Not measured** for want of positives or negatives: {', '.join(unmeasured)}.")
    chance = [key for key, area in areas.items() if area is not None and area["low"] <= 0.5]
    if chance:
        text.append(f"**No better than chance** (the interval of the AUC reaches 0.5): {', '.join(chance)}.")
    normals = test["normals"]
    if normals["images"]:
        text.append(
            f"Of {normals['images']} images without any of these findings, a share of "
            f"{_interval(normals['without_any_positive'])} stays without any positive."
        )
    return [*text, *_left_out(evaluation), *_elsewhere(metadata, evaluation), *_groups(metadata, evaluation),
            *_pointing(metadata, evaluation), *_unseen_scanner(metadata, evaluation)]  # fmt: skip


def _provenance(evaluation: Figures) -> str:
    images = evaluation["test"]["images"]
    if "provenance" in evaluation:
        return f"{evaluation['provenance']}: {images} test images"
    return f"On {images} test images that neither training, nor calibration, nor the choice of thresholds had seen"


def _left_out(evaluation: Figures) -> list[str]:
    side = evaluation.get("left_out", {}).get("test")
    if side is None:
        return []
    if not side["left_out"]:
        return [f"None of the {side['images']} test images was left out."]
    reasons = "; ".join(f"{reason['sentence']} ({reason['images']})" for reason in side["reasons"])
    return [
        f"**Left out**: {side['left_out']} of {side['images']} test images, {side['with_findings']} of them with a "
        f"finding, have no score: {reasons}."
    ]


def _unseen_scanner(metadata: BundleMetadata, evaluation: Figures) -> list[str]:
    other = evaluation.get("unseen_scanner")
    if not other:
        return []
    names = list(evaluation.get("pointing_tolerances", {}))
    heat = "".join(f" heat map {name.replace('_', ' ')} |" for name in names)
    lines = [
        f"| finding | positives / negatives | AUC | sensitivity | specificity | ECE |{heat}",
        "|---" * (6 + len(names)) + "|",
    ]
    for f in metadata.findings:
        row = other["findings"][f.key]
        game = row.get("pointing_game", {})
        cells = [_interval(row[name]) for name in ("auc", "sensitivity", "specificity")]
        cells += [_number(row["expected_calibration_error"]), *(_interval(game[n]) if n in game else "" for n in names)]
        lines.append(f"| {f.key} | {row['positives']} / {row['negatives']} | {' | '.join(cells)} |")
    return [
        f"On {other['images']} phantoms of **the scanner that no training saw** (another curve, window, sharpness, "
        "noise and scatter than any in training), with the same calibration and thresholds:",
        "\n".join(lines),
    ]


def _elsewhere(metadata: BundleMetadata, evaluation: Figures) -> list[str]:
    external = evaluation.get("external")
    if not external:
        return []
    lines = ["| finding | positives / negatives | AUC elsewhere | less the AUC above |", "|---|---|---|---|"]
    for f in metadata.findings:
        row, less = external["findings"][f.key], evaluation["differences"][f.key]["auc"]
        lines.append(
            f"| {f.key} | {row['positives']} / {row['negatives']} | {_interval(row['auc'])} | {_interval(less)} |"
        )
    return [f"On {external['images']} images from elsewhere:", "\n".join(lines)]


def _groups(metadata: BundleMetadata, evaluation: Figures) -> list[str]:
    """Subgroups large enough to say something; the others are counted."""
    lines, small = ["| finding | group | images | AUC | sensitivity | specificity |", "|---|---|---|---|---|---|"], 0
    for f in metadata.findings:
        for axis, rows in evaluation["test"]["findings"][f.key].get("subgroups", {}).items():
            small += sum(bool(row["note"]) for row in rows)
            lines.extend(
                f"| {f.key} | {axis}: {row['group']} | {row['images']} | {_interval(row['auc'])} | "
                f"{_interval(row['sensitivity'])} | {_interval(row['specificity'])} |"
                for row in rows
                if not row["note"]
            )
    if not small and len(lines) == 2:
        return []
    left = [f"{small} further subgroups are too small to say anything."] if small else []
    return [*(["Subgroups:", "\n".join(lines)] if len(lines) > 2 else []), *left]


def _pointing(metadata: BundleMetadata, evaluation: Figures) -> list[str]:
    rows = evaluation["test"]["findings"]
    names = list(evaluation.get("pointing_tolerances", {}))
    if not any("pointing_game" in row for row in rows.values()):
        if "provenance" in evaluation:
            return ["Where the heat map points was not measured here."]
        return ["No true masks exist for these images: where the heat map points was not measured."]
    title = " | ".join(name.replace("_", " ") for name in names)
    lines = [f"| finding | {title} |", "|---" * (len(names) + 1) + "|"]
    for f in metadata.findings:
        game = rows[f.key].get("pointing_game", {})
        lines.append(f"| {f.key} | " + " | ".join(_interval(game[n]) if n in game else "" for n in names) + " |")
    return [
        "Pointing game (Zhang et al. 2018): the share of true positives whose heat map peaks inside the true mask, or "
        f"within the tolerance of it, in pixels of the {metadata.input.height} x {metadata.input.width} input.",
        "\n".join(lines),
    ]


def _routing(metadata: BundleMetadata) -> str:
    r = metadata.routing
    lines = [
        f"- Modality {', '.join(r.modalities)}; body part {', '.join(r.body_parts)}; view {', '.join(r.views)}; "
        f"at least {r.min_side} pixels on the shorter side",
    ]
    if r.manufacturer_equals:
        lines.append(f"- Only where Manufacturer is {' or '.join(repr(m) for m in r.manufacturer_equals)}")
    if r.manufacturer_not:
        lines.append(f"- Never where Manufacturer is {' or '.join(repr(m) for m in r.manufacturer_not)}")
    ages = [
        f"from {r.min_age_years:g} years" if r.min_age_years is not None else "",
        f"to {r.max_age_years:g} years" if r.max_age_years is not None else "",
    ]
    if r.asks_gate:
        lines.append(
            "- Only pictures that the gate takes for a frontal chest (card: models/gate/shipped/MODEL_CARD.md)"
        )
    if any(ages):
        lines.append(f"- Patients {' '.join(a for a in ages if a)}; an unknown age passes and is recorded")
    return "\n".join(lines)


def _guarded(evaluation: Figures) -> str:
    guard = evaluation.get("guard")
    if not guard:
        return "It has no guard: an image unlike those it was trained on is read like any other."
    return (
        f"Its guard keeps back what is unlike the images it was trained on: a distance beyond {guard['limit']:.2f}, "
        f"which is {guard['margin']:g} times what {guard['acceptance']:.0%} of {guard['validation_images']} validation "
        f"images stay within. Of {guard['test_images']} test images {guard['test_kept_back']} are kept back."
    )


def _making(metadata: BundleMetadata, evaluation: Figures) -> str:
    training = evaluation.get("training", {})
    lines = [
        f"- Data: {metadata.training.data} ({metadata.training.images} training images, seed {metadata.training.seed})",
        f"- Network: {metadata.architecture}, {_CHANNELS[metadata.input.channels]}, {metadata.input.height} x "
        f"{metadata.input.width} ({metadata.input.fit})",
    ]
    if training:
        lines.append(
            f"- {training['epochs']} epochs, the weights of epoch {training['best_epoch']} (best validation AUC)"
        )
    if metadata.training.notes:
        lines.append(f"- {metadata.training.notes}")
    lines.append(f"- {metadata.manufacturer}, {metadata.training.date}; licence of the weights: {metadata.licence}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(figure: Figures | None) -> str:
    if figure is None:
        return "cannot be said"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
