"""Whether the heat maps of a bundle may be shown: a rule on measured figures, and the reasons it gives.

A heat map that looks right and is not is worse than none: it lends a wrong score the look of a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What figures must reach.

    Attributes
    ----------
    fewest_maps : int
        A finding with fewer maps is not judged: its intervals would be as wide as the scale.
    pointing : float
        The lower bound of the pointing game lies above it: the map leads to the finding more often than not.
    head_correlation : float
        Mean rank correlation with the maps of a network whose head alone was shuffled: above it, more than half of the
        variance of the ranks (0.7 squared) has nothing to do with the finding.
    network_correlation : float
        The same with every weight shuffled: above it, more than a quarter shows the image and not the network.

    Without a number of its own: the map beats one with the same values at random places, in deletion, in insertion and
    in the share of its energy on the true mask, the 95 % interval of the difference lying wholly above zero. The
    overlap (IoU) is reported and not judged: a map as coarse as its cells cannot reach a high one.
    """

    fewest_maps: int = 20
    pointing: float = 0.5
    head_correlation: float = 0.7
    network_correlation: float = 0.5


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the check.

    Attributes
    ----------
    shown : bool
        False where a figure misses its limit: the bundle ships no heat maps.
    failures : tuple of str
        One sentence for each such figure.
    unjudged : tuple of str
        One sentence for each thing that could not be judged. It is no proof of anything, and no failure.
    """

    shown: bool
    failures: tuple[str, ...]
    unjudged: tuple[str, ...]


def judge(figures: Figures, limits: Limits = LIMITS) -> Verdict:
    """Apply the limits.

    Parameters
    ----------
    figures : mapping
        Of :func:`models.explaining.faithfulness.measure`.
    """
    failures: list[str] = []
    unjudged: list[str] = []
    for key, row in figures["findings"].items():
        if row["maps"] < limits.fewest_maps:
            unjudged.append(f"{key}: {row['maps']} maps are too few to judge (at least {limits.fewest_maps}).")
            continue
        failures += _of_finding(key, row, limits)
        if "pointing" not in row:
            unjudged.append(f"{key}: no true masks, so where its maps point is not known.")
    failures += _of_randomisation(figures.get("randomisation", ()), limits)
    if not figures.get("randomisation"):
        unjudged.append("No map of a shuffled network was compared.")
    return Verdict(shown=not failures, failures=tuple(failures), unjudged=tuple(unjudged))


def _of_finding(key: str, row: Figures, limits: Limits) -> list[str]:
    failures = []
    if "pointing" in row and row["pointing"]["low"] <= limits.pointing:
        failures.append(
            f"{key}: the peak lies on the finding in {_interval(row['pointing'])}, not surely more than "
            f"{limits.pointing:g}."
        )
    for name, words in (
        ("energy_above_chance", "the share of the map on the finding exceeds the finding's share of the image by"),
        ("deletion_gain", "deleting along the map lowers the score faster than along a random one by"),
        ("insertion_gain", "inserting along the map restores the score faster than along a random one by"),
    ):
        if name in row and row[name]["low"] <= 0.0:
            failures.append(f"{key}: {words} {_interval(row[name])}, which is not surely more than nothing.")
    return failures


def _of_randomisation(stages: Any, limits: Limits) -> list[str]:
    if not stages:
        return []
    failures = []
    for stage, limit, what in (
        (stages[0], limits.head_correlation, "its head"),
        (stages[-1], limits.network_correlation, "all of it"),
    ):
        if stage["rank_correlation"]["value"] > limit:
            failures.append(
                f"Maps of the network with {what} shuffled correlate with the true ones by "
                f"{_interval(stage['rank_correlation'])}, above {limit:g}: they show the image, not what was learned."
            )
    return failures


def _interval(figure: Figures) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
