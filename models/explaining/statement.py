"""What a bundle says about its heat maps: the field of its metadata, and the section of its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.explaining.verdict import judge
from models.metadata import BundleMetadata

Figures = Mapping[str, Any]

EXPLANATION = "explanation"
"""Where ``evaluation.json`` keeps the figures of :func:`models.explaining.faithfulness.measure`."""

_NAMES = {
    "cam": "class activation mapping (Zhou et al. 2016)",
    "grad-cam": "Grad-CAM (Selvaraju et al. 2017)",
    "grad-cam++": "Grad-CAM++ (Chattopadhay et al. 2018)",
    "hirescam": "HiResCAM (Draelos & Carin 2020)",
    "occlusion": "occlusion (Zeiler & Fergus 2014)",
    "integrated-gradients": "integrated gradients (Sundararajan et al. 2017)",
}
_COLUMNS = (
    ("pointing", "pointing game"),
    ("iou", "IoU"),
    ("energy", "energy on the mask"),
    ("deletion_gain", "deletion: gain over random"),
    ("insertion_gain", "insertion: gain over random"),
)


def settled(metadata: BundleMetadata, evaluation: Figures) -> BundleMetadata:
    """The metadata under the rule: a method whose maps failed their check is not shipped."""
    figures = evaluation.get(EXPLANATION)
    if not figures or figures["method"] != metadata.explanation or judge(figures).shown:
        return metadata
    return metadata.model_copy(update={"explanation": "none"})


def section(metadata: BundleMetadata, evaluation: Figures) -> list[str]:
    """Paragraphs of the model card, in Markdown."""
    figures = evaluation.get(EXPLANATION)
    method = settled(metadata, evaluation).explanation
    text = ["## Heat maps"]
    if not figures and method == "none":
        return [*text, "None: the bundle ships none."]
    if not figures:
        return [*text, f"By {_NAMES[method]}. Whether they can be believed was not measured."]
    verdict = judge(figures)
    checked = _NAMES[figures["method"]]
    if method == "none":
        text.append(f"**None.** Heat maps by {checked} were checked{_source(figures)} and are not shipped.")
    else:
        text.append(f"By {_NAMES[method]}; {checked} was checked{_source(figures)}.")
    text += ["\n".join(f"- {line}" for line in lines) for lines in (verdict.failures, verdict.unjudged) if lines]
    return [*text, _table(metadata, figures), *_cascade(figures), _WORDS]


def _source(figures: Figures) -> str:
    return f" on {figures['source']}" if "source" in figures else ""


def _table(metadata: BundleMetadata, figures: Figures) -> str:
    lines = ["| finding | maps | " + " | ".join(title for _, title in _COLUMNS) + " |"]
    lines.append("|---" * (len(_COLUMNS) + 2) + "|")
    for finding in metadata.findings:
        row = figures["findings"][finding.key]
        cells = " | ".join(_interval(row[name]) if name in row else "" for name, _ in _COLUMNS)
        lines.append(f"| {finding.key} | {row['maps']} | {cells} |")
    return "\n".join(lines)


def _cascade(figures: Figures) -> list[str]:
    stages = figures.get("randomisation")
    if not stages:
        return []
    lines = ["| weights shuffled from the head down to | rank correlation | SSIM |", "|---|---|---|"]
    lines += [f"| {s['down_to']} | {_interval(s['rank_correlation'])} | {_interval(s['ssim'])} |" for s in stages]
    return ["\n".join(lines)]


_WORDS = (
    "Maps of true positives; mean and 95 % interval. Pointing game (Zhang et al. 2018): the peak lies on the true mask "
    "or within 16 pixels of the input. Energy (Wang et al. 2020): share of the map inside the mask. Deletion and "
    "insertion (Petsiuk et al. 2018): by how much the areas under the curves are better than those of a map of the "
    "same values at random places. Shuffled weights (Adebayo et al. 2018): likeness of the maps to those of a network "
    "that has forgotten what it learned; near zero is good."
)


def _interval(figure: Figures) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
