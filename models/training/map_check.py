"""Whether a fresh bundle's heat maps can be believed: measured on its test side before it takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import networks
from models.bundle import Bundle
from models.explaining.cases import MASK_STEP as CASE_STEP
from models.explaining.cases import Case
from models.explaining.faithfulness import Budget, measure
from models.inference import Predictor
from models.training.plan import TrainingPlan
from models.training.samples import MASK_STEP, Report, Samples

_SHUFFLED = 40
"""Maps in all that are compared with those of shuffled weights."""
_CURVES = 200
"""Maps in all whose deletion and insertion are followed, 88 forward passes each: however many findings there are."""


def check_maps(bundle: Bundle, test: Samples, plan: TrainingPlan, report: Report) -> dict[str, Any] | None:
    """The figures of :func:`models.explaining.faithfulness.measure`, for ``evaluation.json``. Needs torch.

    Only images of the test side that show a finding are looked at, as many of each finding as the plan says, so the
    time is bounded whatever the size of the test side.

    Returns
    -------
    dict or None
        None for a bundle that ships no maps.
    """
    metadata = bundle.metadata
    if metadata.explanation == "none":
        return None
    chosen = _with_findings(test.labels, plan.checked_maps)
    network = networks.restore(metadata.architecture, len(metadata.findings), bundle.weights)
    report("note", {"text": f"checks the heat maps on {len(chosen)} images of the test side"})
    figures = measure(
        Predictor.load(bundle, "cpu", threads=plan.threads),
        _cases(test.take(chosen), plan),
        network=network,
        seed=plan.seed,
        budget=Budget(
            deletion=max(1, min(plan.checked_maps // 2, _CURVES // len(metadata.findings))),
            randomisation=min(plan.checked_maps, _SHUFFLED),
        ),
    )
    return {"source": f"{len(chosen)} images of the test side", **figures}


def _with_findings(labels: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Places of the first images of each finding, in their order."""
    first = [np.flatnonzero(column == 1)[:most] for column in labels.T]
    return np.unique(np.concatenate(first)).astype(np.int64)


def _cases(samples: Samples, plan: TrainingPlan) -> Iterator[Case]:
    assert MASK_STEP == CASE_STEP  # noqa: S101 - both lay masks on the same grid
    for index in range(len(samples)):
        (image,) = samples.network_images(slice(index, index + 1), plan.input)
        known = {key: k for k, key in enumerate(plan.keys) if samples.labels[index, k] == 1}
        case = Case(image=image, present=frozenset(known))
        if samples.masks is not None:
            bits = samples.masks[index]
            case = replace(case, masks={key: (bits >> k) & 1 > 0 for key, k in known.items()})
        yield case
