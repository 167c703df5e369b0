"""How far the heat maps of a bundle can be believed, in figures: where they lie, and what they depend on.

Measured on true positives: findings that the image has (or, where nobody knows, may have) and the network calls
positive, for only these get a heat map in the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.evaluation import Interval, pointing_hit, proportion
from models.explaining.activation import Float32
from models.explaining.cases import MASK_STEP, Case
from models.explaining.deletion import areas, shuffled
from models.explaining.localisation import Mask, chance_of_hit, energy_share, overlap
from models.explaining.methods import Explain, explainer
from models.explaining.randomisation import cascade, predictor_of
from models.explaining.similarity import rank_correlation, structural_similarity
from models.inference import Predictor
from triage.errors import ExplanationError

if TYPE_CHECKING:
    from models.networks import Network

TOLERANCE = 16
"""Of the pointing game, pixels of the input: half a cell of a map with stride 32 (Zhang et al. 2018: 15)."""
Progress = Callable[[str, int], None]
"""Called with what is being done ("maps", "deletion", "randomisation") and how much of it is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How many maps the slow parts look at.

    Attributes
    ----------
    deletion : int
        Maps per finding; each costs 44 forward passes.
    randomisation : int
        Maps in all; each costs a forward pass, and a map, per stage of the network.
    """

    deletion: int = 40
    randomisation: int = 60


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExplainedCase:
    """One true positive with its heat map: ``row`` is the finding's place among the outputs."""

    case: Case
    row: int
    heat: Float32
    mask: Mask | None


def explained_cases(predictor: Predictor, explain: Explain, cases: Iterable[Case]) -> Iterator[ExplainedCase]:
    """Every true positive of the images.

    Raises
    ------
    ExplanationError
        A map could not be made.
    """
    findings = predictor.bundle.metadata.findings
    for case in cases:
        prediction = predictor.predict(case.image[None])
        rows = [
            row
            for row, finding in enumerate(findings)
            if prediction.probabilities[0, row] >= finding.threshold
            and (case.present is None or finding.key in case.present)
        ]
        if rows:
            maps = explain(case.image, prediction.features[0], rows)
            for row, heat in zip(rows, maps, strict=True):
                yield ExplainedCase(case=case, row=row, heat=heat, mask=case.masks.get(findings[row].key))


def measure(
    predictor: Predictor,
    cases: Iterable[Case],
    *,
    method: str | None = None,
    network: Network | None = None,
    seed: int = 0,
    budget: Budget = Budget(),
    progress: Progress = lambda _what, _done: None,
) -> dict[str, Any]:
    """Check the heat maps of a bundle.

    Parameters
    ----------
    cases : iterable of Case
        Images that training has not seen.
    method : str, optional
        In place of the bundle's own.
    network : Network, optional
        The bundle's weights in torch; without it the sanity check by randomisation is left out.
    seed : int
        Of random maps and of shuffled weights.

    Returns
    -------
    dict
        Plain JSON: ``method``; ``findings`` by key with ``maps`` and, as mean and 95 % interval, ``pointing``,
        ``pointing_inside``, ``iou``, ``energy`` (where masks are known), ``deletion`` and ``insertion`` with those of
        random maps and the gains over them; ``randomisation``, stage by stage from the head down. For
        :func:`models.explaining.verdict.judge`.

    Raises
    ------
    ExplanationError
        The bundle ships no maps and no method was named, or a map could not be made.
    """
    metadata = predictor.bundle.metadata
    method = method or metadata.explanation
    explain = explainer(predictor, method)
    if explain is None:
        raise ExplanationError(f"bundle {metadata.name} has no heat maps to check.", next_step="Name a method.")
    explained = []
    for found in explained_cases(predictor, explain, cases):
        explained.append(found)
        progress("maps", len(explained))
    by_finding = {
        finding.key: [one for one in explained if one.row == row] for row, finding in enumerate(metadata.findings)
    }
    figures: dict[str, Any] = {}
    for key, ours in by_finding.items():
        figures[key] = {"maps": len(ours), **_localisation([one for one in ours if one.mask is not None])}
        figures[key] |= _curves(predictor, ours[: budget.deletion], np.random.default_rng(seed), progress)
    result: dict[str, Any] = {"method": method, "tolerance_px": TOLERANCE, "findings": figures}
    chosen = _spread(by_finding, budget.randomisation)
    if network is not None and chosen:
        result["randomisation"] = _randomisation(predictor, network, method, chosen, seed, progress)
    return result


def _localisation(explained: Sequence[ExplainedCase]) -> dict[str, Any]:
    pairs = [(one.heat, one.mask) for one in explained if one.mask is not None]
    if not pairs:
        return {}
    tolerance = TOLERANCE / MASK_STEP
    near = [pointing_hit(heat, mask, tolerance=tolerance) for heat, mask in pairs]
    inside = [pointing_hit(heat, mask, tolerance=0.0) for heat, mask in pairs]
    energy = [energy_share(heat, mask) for heat, mask in pairs]
    area = [float(mask.mean()) for _, mask in pairs]
    return {
        "pointing": proportion(sum(near), len(near)).as_dict(),
        "pointing_by_chance": _rounded([chance_of_hit(mask, tolerance=tolerance) for _, mask in pairs]),
        "pointing_inside": proportion(sum(inside), len(inside)).as_dict(),
        "iou": mean([overlap(heat, mask) for heat, mask in pairs]).as_dict(),
        "energy": mean(energy).as_dict(),
        "energy_by_chance": _rounded(area),
        "energy_above_chance": mean([e - a for e, a in zip(energy, area, strict=True)]).as_dict(),
    }


def _curves(
    predictor: Predictor, explained: Sequence[ExplainedCase], rng: np.random.Generator, progress: Progress
) -> dict[str, Any]:
    if not explained:
        return {}
    ours, random = [], []
    for done, one in enumerate(explained, start=1):
        scores = _score_of(predictor, one.row)
        ours.append(areas(scores, one.case.image, one.heat, rng=rng))
        random.append(areas(scores, one.case.image, shuffled(one.heat, rng), rng=rng))
        progress("deletion", done)
    pairs = list(zip(ours, random, strict=True))
    return {
        "deletion": _rounded([a.deletion for a in ours]),
        "deletion_of_random": _rounded([a.deletion for a in random]),
        "deletion_gain": mean([theirs.deletion - own.deletion for own, theirs in pairs]).as_dict(),
        "insertion": _rounded([a.insertion for a in ours]),
        "insertion_of_random": _rounded([a.insertion for a in random]),
        "insertion_gain": mean([own.insertion - theirs.insertion for own, theirs in pairs]).as_dict(),
    }


def _score_of(predictor: Predictor, row: int) -> Callable[[Float32], Float32]:
    return lambda images: predictor.predict(images).probabilities[:, row]


def _randomisation(
    predictor: Predictor,
    network: Network,
    method: str,
    explained: Sequence[ExplainedCase],
    seed: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    stages = []
    for name, changed in cascade(network, seed):
        other = predictor_of(predictor.bundle, changed)
        explain = explainer(other, method, network=changed)
        if explain is None:
            raise ExplanationError("there is no method to compare.")
        correlation, structure = [], []
        for one in explained:
            features = other.predict(one.case.image[None]).features[0]
            (heat,) = explain(one.case.image, features, [one.row])
            correlation.append(rank_correlation(one.heat, heat))
            structure.append(structural_similarity(one.heat, heat))
        stages.append(
            {
                "down_to": name,
                "maps": len(explained),
                "rank_correlation": mean(correlation).as_dict(),
                "ssim": mean(structure).as_dict(),
            }
        )
        progress("randomisation", len(stages))
    return stages


def mean(values: Sequence[float]) -> Interval:
    """Mean with its 95 % interval by the normal distribution; one value alone says nothing about its spread."""
    array = np.asarray(values, np.float64)
    middle = float(array.mean())
    half = 1.96 * float(array.std(ddof=1)) / np.sqrt(len(array)) if len(array) > 1 else np.inf
    return Interval(middle, max(-1.0, middle - half), min(1.0, middle + half))


def _spread(by_finding: Mapping[str, Sequence[ExplainedCase]], most: int) -> list[ExplainedCase]:
    """As many of each finding as there is room for."""
    each = max(1, most // max(1, sum(1 for ours in by_finding.values() if ours)))
    return [one for ours in by_finding.values() for one in ours[:each]]


def _rounded(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)
