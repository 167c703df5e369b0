"""From trained weights to a bundle: calibrate and choose thresholds on validation, measure once on the test set."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models import calibration, card, evaluation, networks
from models.bundle import Bundle
from models.bundle_writer import write_again, write_bundle
from models.explaining.statement import EXPLANATION
from models.guard import GUARD
from models.metadata import BundleMetadata, Calibration, FindingSpec, TrainingSummary
from models.training.checkpoint import Progress
from models.training.guarding import fit_guard
from models.training.map_check import check_maps
from models.training.plan import TrainingPlan
from models.training.precision import choose_device
from models.training.samples import MASK_STEP, Report, Samples
from models.training.scoring import logits, pooled_features
from triage.findings import ScoreKind

UNSEEN_SCANNER = "unseen_scanner"
"""Where ``evaluation.json`` keeps the figures on phantoms of the scanner that no training saw."""
TOLERANCE = 16
"""Of the pointing game, in pixels of the network's input: half a cell of a map with stride 32 (Zhang et al.: 15)."""


def finish(
    plan: TrainingPlan,
    weights: dict[str, Tensor],
    progress: Progress,
    splits: tuple[Samples, Samples, Samples],
    directory: Path,
    report: Report,
    unseen: Samples | None = None,
    division: Mapping[str, float] | None = None,
) -> Bundle:
    """Calibrate, evaluate, check the heat maps, write ``<directory>/<name>`` and return it, verified.

    Parameters
    ----------
    unseen : Samples, optional
        Of the scanner that no training saw; measured beside the test side and used for nothing else.
    division : mapping, optional
        :attr:`models.training.data.Data.division`; stated, so that an evaluation can find the patients held out.
    """
    train, validation, test = splits
    network = networks.build(plan.architecture, len(plan.findings), channels=plan.input.channels)
    network.load_state_dict(weights)
    network = network.to(choose_device(plan.device))
    findings = _operating_points(plan, logits(network, validation, plan)[0], validation.labels)
    result = {
        "test": _figures(network, plan, findings, test),
        **({UNSEEN_SCANNER: _figures(network, plan, findings, unseen)} if unseen is not None else {}),
        "validation": {"images": len(validation), "used_for": "early stopping, calibration, thresholds"},
        "training": {
            "images": len(train),
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            "curve": progress.history,
            "division": division,
        },
        "thresholds": f"Youden's among those with specificity >= {plan.min_specificity:g} on the validation set",
        "confidence": "95 % intervals: DeLong for AUC, Wilson for rates",
        "pointing_tolerances": _tolerances(),
    }
    guarded = fit_guard(lambda some: pooled_features(network, some, plan), train, validation, test)
    if guarded is not None:
        result["guard"] = guarded.figures
    metadata = _metadata(plan, findings, len(train), len(validation))
    work = directory / "unchecked"
    try:
        unchecked = write_bundle(
            work / plan.describe.name,
            metadata,
            weights,
            evaluation=result,
            model_card=card.render(metadata, result),
            extra_files={GUARD: guarded.guard.to_bytes()} if guarded is not None else None,
        )
        checked = check_maps(unchecked, test, plan, report)
        if checked is not None:
            result[EXPLANATION] = checked
        return write_again(unchecked, directory / plan.describe.name, result)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _figures(
    network: networks.Network, plan: TrainingPlan, findings: tuple[FindingSpec, ...], samples: Samples
) -> dict[str, Any]:
    """What the finished network is worth on samples that had no part in making it."""
    values, features = logits(network, samples, plan, features=samples.masks is not None)
    probabilities = np.column_stack(
        [calibration.Calibrator(f.temperature, f.bias).probabilities(values[:, k]) for k, f in enumerate(findings)]
    )
    pointing = _pointing(findings, probabilities, features, network.classifier.weight.detach().cpu().numpy(), samples)
    return evaluation.evaluate(
        plan.keys, samples.labels, probabilities, {f.key: f.threshold for f in findings}, pointing=pointing
    )


def _operating_points(plan: TrainingPlan, values: NDArray[Any], labels: NDArray[Any]) -> tuple[FindingSpec, ...]:
    specs = []
    for column, finding in enumerate(plan.findings):
        known = ~np.isnan(labels[:, column])
        truth, raw = labels[known, column], values[known, column]
        fitted = calibration.fit(raw, truth)
        chances = fitted.probabilities(raw)
        threshold = calibration.operating_point(truth, chances, min_specificity=plan.min_specificity)
        specs.append(
            FindingSpec(
                **{name: getattr(finding, name) for name in ("key", "code", "site", "urgency")},
                threshold=round(threshold, 4),
                temperature=round(fitted.temperature, 6),
                bias=round(fitted.bias, 6),
            )
        )
    return tuple(specs)


def _tolerances() -> dict[str, float]:
    return {"inside": 0.0, f"within_{TOLERANCE}_px": float(TOLERANCE)}


def _pointing(
    findings: tuple[FindingSpec, ...], probabilities: NDArray[Any], features: NDArray[Any] | None,
    weight: NDArray[np.float32], test: Samples,
) -> dict[str, dict[str, list[bool]]]:  # fmt: skip
    """For each finding and tolerance, a hit or miss per true positive."""
    if features is None or test.masks is None:
        return {}
    hits: dict[str, dict[str, list[bool]]] = {}
    for column, finding in enumerate(findings):
        hits[finding.key] = {name: [] for name in _tolerances()}
        positive = (probabilities[:, column] >= finding.threshold) & (test.labels[:, column] == 1)
        for index in np.flatnonzero(positive):
            heat = np.einsum("chw,c->hw", features[index].astype(np.float32), weight[column])
            mask = (test.masks[index] >> column) & 1 > 0
            for name, tolerance in _tolerances().items():
                hits[finding.key][name].append(evaluation.pointing_hit(heat, mask, tolerance=tolerance / MASK_STEP))
    return hits


def _metadata(plan: TrainingPlan, findings: tuple[FindingSpec, ...], images: int, validation: int) -> BundleMetadata:
    describe = asdict(plan.describe)
    data, notes = describe.pop("data"), describe.pop("notes")
    return BundleMetadata(
        format_version=1,
        **describe,
        architecture=plan.architecture,
        input=plan.input,
        findings=findings,
        calibration=Calibration(
            score_kind=ScoreKind.CALIBRATED_PROBABILITY, method=f"temperature and bias on {validation} held-out images"
        ),
        routing=plan.routing,
        training=TrainingSummary(data=data, images=images, seed=plan.seed, date=plan.date, notes=notes),
    )
