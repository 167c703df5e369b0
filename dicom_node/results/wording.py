"""The words of a result, the same in the report and on the picture: plain ASCII, no patient data."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from triage.findings import MISSED, AnalysisResult, Finding, ImageResult, Laterality, Score, ScoreKind, nothing_found

PRODUCT = "firstread"
LABEL = f"AI {PRODUCT}"
"""Starts every series description: people filter by it, hanging protocols match it, loop prevention knows it."""

_FEWEST_DECIMALS, _MOST_DECIMALS = 2, 6
CODED_DECIMALS = 4
"""Of scores that programs read: 0.9998 is not 1."""

_KINDS = {
    ScoreKind.CALIBRATED_PROBABILITY: "calibrated probability",
    ScoreKind.UNCALIBRATED_PROBABILITY: "uncalibrated probability",
    ScoreKind.OPERATING_POINT: "relative to the operating point, not a probability",
}

_SIDES = {Laterality.RIGHT: "right", Laterality.LEFT: "left", Laterality.BILATERAL: "both sides"}


def plain(text: str, limit: int | None = None) -> str:
    """The text in printable ASCII without backslash, accents dropped, cut to ``limit`` characters.

    Results keep the source's Specific Character Set; ASCII letters mean the same in all of them (PS3.5 6.1.2),
    and a backslash would split the value in two (PS3.5 6.2).
    """
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    kept = "".join("/" if c == "\\" else c if " " <= c <= "~" else "?" if c.isprintable() else " " for c in bare)
    return " ".join(kept.split())[:limit].rstrip()


def kind_in_words(kind: ScoreKind) -> str:
    """What the number means, for people and for Algorithm Parameters."""
    return _KINDS[kind]


def numbers(score: Score, fewest: int = _FEWEST_DECIMALS) -> tuple[str, str]:
    """Value and threshold with as few decimals, at least two, as still tell on which side the value lies.

    Rounding never makes 0.5996 look like it reached 0.60.

    Parameters
    ----------
    fewest : int
        Decimals to begin with: two for people, more for programs.
    """
    value, threshold = score.value, score.threshold
    for decimals in range(fewest, _MOST_DECIMALS + 1):
        shown = f"{value:.{decimals}f}", f"{threshold:.{decimals}f}"
        if (float(shown[0]) >= float(shown[1])) == score.positive:
            return shown
    return repr(value), repr(threshold)


def comparison(score: Score) -> str:
    """``0.94 >= 0.60`` or ``0.12 < 0.60``."""
    value, threshold = numbers(score)
    return f"{value} {'>=' if score.positive else '<'} {threshold}"


def name_of(finding: Finding) -> str:
    """``Pneumothorax``, or ``Pneumothorax (left)`` where the bundle knows the side."""
    side = "" if finding.laterality is None else f" ({_SIDES[finding.laterality]})"
    return f"{plain(finding.code.meaning)}{side}"


def verdict(finding: Finding) -> str:
    """``Pneumothorax 0.94 >= 0.60 POSITIVE``."""
    return f"{name_of(finding)} {comparison(finding.score)} {'POSITIVE' if finding.positive else 'negative'}"


def summary(result: AnalysisResult) -> str:
    """One sentence for the top of the report: what was found, and how urgent the algorithm thinks it is."""
    names = dict.fromkeys(name_of(f) for image in result.images for f in image.positives)
    algorithm = f"{plain(result.algorithm.name)} {plain(result.algorithm.version)}"
    if not names:
        missed = sum(left_out.reason in MISSED for left_out in result.not_analysed)
        return f"{LABEL} ({algorithm}): {nothing_found(len(result.images), missed)}."
    return f"{LABEL} ({algorithm}): {', '.join(names)} above threshold. AI triage class {result.urgency}."


def image_line(image: ImageResult) -> str:
    """What was said about one image, positives first."""
    negatives = (f for f in image.findings if not f.positive)
    place = f" ({plain(image.place)})" if image.place else ""
    return f"Image {image.sop_instance_uid}{place}: {'; '.join(verdict(f) for f in (*image.positives, *negatives))}."


def silent_line(images: Sequence[ImageResult]) -> str:
    """What a reader is told of slices that were read and have no finding of their own."""
    return f"{len(images)} further slices were read; a finding of a series stands on its key slice."
