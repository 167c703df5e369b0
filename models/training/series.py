"""Training of a bundle that reads series: slices are learned, series are calibrated and measured. Needs torch."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from models import calibration, card, evaluation, networks
from models.bundle import Bundle
from models.bundle_writer import write_bundle
from models.ct.aggregation import key_slices, series_logits
from models.metadata import (
    BundleMetadata,
    Calibration,
    FindingSpec,
    InputSpec,
    RoutingConditions,
    SeriesSpec,
    TrainingSummary,
)
from models.phantom.head_bleeding import KINDS
from models.training.plan import Description, FindingPlan
from models.training.samples import Report
from models.training.series_samples import HeadSample, Slices, training_slices, whole_heads
from triage.errors import BundleError
from triage.findings import ScoreKind

_CHUNK = 40
TOLERANCE = 8
"""Of the pointing game, in pixels of the network's input: half a cell of a map with stride 16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesPlan:
    """One training run on head-CT phantoms from data to bundle; plain data that is written beside its results.

    Attributes
    ----------
    train, validation, test : int
        Heads. Training draws from ``seed``, validation from seed + 1, the test from ``test_seed``; as many as ``test``
        again, of test_seed + 1, come from the scanner that no training saw.
    every : int
        Each so many-th slice of a training head is learned from.
    localisation_weight : float
        Of the loss that draws the class activation map onto the blood.
    min_specificity : float
        Of series, which the threshold must reach on the validation set.
    """

    finding: FindingPlan
    describe: Description
    routing: RoutingConditions
    series: SeriesSpec
    input: InputSpec
    architecture: str
    train: int
    validation: int
    test: int
    every: int
    seed: int
    test_seed: int
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    localisation_weight: float
    min_specificity: float
    threads: int
    date: str


def train_series(plan: SeriesPlan, run_directory: Path, report: Report = lambda _event, _figures: None) -> Bundle:
    """Draw, train, calibrate, measure, write ``<run_directory>/<name>``.

    Phantoms, weights and what they say of each head are kept in the run directory: called again with the same plan
    after a kill, it continues, except that an unfinished training begins anew. Another plan wants another directory.

    Raises
    ------
    BundleError
        The directory holds another run, or the bundle could not be written or does not verify.
    """
    run_directory.mkdir(parents=True, exist_ok=True)
    _keep_plan(plan, run_directory / "plan.json")
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    slices = training_slices(
        run_directory / "phantoms", plan.train, seed=plan.seed, every=plan.every, series=plan.series, spec=plan.input,
        report=report,
    )  # fmt: skip
    report("data", {"slices": len(slices), "with_blood": int(np.nansum(slices.labels))})
    weights, history = run_directory / "weights.safetensors", run_directory / "history.json"
    if not history.is_file():
        network = networks.build(plan.architecture, 1, channels=plan.series.channels)
        curve = _fit(network, plan, slices, report)
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, weights)
        history.write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
    network = networks.restore(plan.architecture, 1, weights)
    return _finish(network, plan, len(slices), json.loads(history.read_bytes()), run_directory, report)


def _keep_plan(plan: SeriesPlan, path: Path) -> None:
    text = json.dumps(_plain(plan), indent=1) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise BundleError(f"{path.parent} holds a run of another plan.", next_step="Name another run directory.")
    path.write_text(text, encoding="utf-8")


def _fit(network: networks.Network, plan: SeriesPlan, slices: Slices, report: Report) -> list[dict[str, Any]]:
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    known = np.flatnonzero(~np.isnan(slices.labels))
    steps = len(known) // plan.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.learning_rate, total_steps=plan.epochs * steps, pct_start=0.2
    )
    curve = []
    for epoch in range(plan.epochs):
        started, total = time.monotonic(), 0.0
        rng = np.random.default_rng([plan.seed, epoch])
        torch.manual_seed(int(rng.integers(2**62)))
        order = rng.permutation(known)
        network.train()
        for step in range(steps):
            chosen = order[step * plan.batch : (step + 1) * plan.batch]
            loss = _loss(network, plan, slices, chosen)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
            if step % 20 == 0:
                report("step", {"epoch": epoch + 1, "step": step, "of": steps, "loss": round(total / (step + 1), 4)})
        curve.append(
            {
                "epoch": epoch + 1,
                "train_loss": round(total / steps, 5),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
        report("epoch", curve[-1])
    return curve


def _loss(network: networks.Network, plan: SeriesPlan, slices: Slices, chosen: NDArray[Any]) -> Tensor:
    images = torch.from_numpy(slices.images[chosen]).float() / 255
    masks = torch.from_numpy(slices.masks[chosen]).float()[:, None] / 255
    images, masks = _augmented(images, masks)
    values, features = network((images - plan.input.mean) / plan.input.std)
    labels = torch.from_numpy(slices.labels[chosen])
    loss = functional.binary_cross_entropy_with_logits(values[:, 0], labels)
    return loss + plan.localisation_weight * _astray(features, network.classifier.weight, masks, labels)


def _augmented(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Another head: mirrored, turned, moved, enlarged, its grey values shifted, some noise."""
    count = len(images)
    angle, zoom = torch.randn(count) * 0.12, torch.exp(torch.randn(count) * 0.07)
    mirror = torch.randint(0, 2, (count,)) * 2.0 - 1.0
    cosine, sine, shift = torch.cos(angle) / zoom, torch.sin(angle) / zoom, torch.randn(count, 2) * 0.05
    first = torch.stack([cosine * mirror, -sine, shift[:, 0]], dim=1)
    second = torch.stack([sine * mirror, cosine, shift[:, 1]], dim=1)
    matrix = torch.stack([first, second], dim=1)

    def moved(pictures: Tensor) -> Tensor:
        grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
        return functional.grid_sample(pictures, grid, align_corners=False)

    images = moved(images)
    images = images * torch.exp(torch.randn(count, 1, 1, 1) * 0.06) + torch.randn(count, 1, 1, 1) * 0.02
    images = images + torch.randn_like(images) * torch.rand(count, 1, 1, 1) * 0.05
    return images.clamp(0, 1), moved(masks)


def _astray(features: Tensor, weight: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
    """-log of the share of the class activation map that lies on the blood, mean over slices with blood."""
    cells = functional.relu(torch.einsum("nchw,c->nhw", features, weight[0]))
    inside = functional.adaptive_max_pool2d(masks, (features.shape[2], features.shape[3]))[:, 0]
    shown = (labels == 1) & (inside.amax(dim=(1, 2)) > 0.3)
    if not shown.any():
        return features.sum() * 0
    share = (cells * (inside > 0.3)).sum(dim=(1, 2)) / (cells.sum(dim=(1, 2)) + 1e-3)
    return -torch.log(share[shown] + 1e-3).mean()


def _finish(
    network: networks.Network, plan: SeriesPlan, slices: int, curve: list[dict[str, Any]], directory: Path,
    report: Report,
) -> Bundle:  # fmt: skip
    judge = _Judge(network, plan, directory / "judged", report)
    calibrating = judge.of(plan.validation, plan.seed + 1)
    fitted = calibration.fit(calibrating.logits, calibrating.labels)
    chances = fitted.probabilities(calibrating.logits)
    threshold = calibration.operating_point(calibrating.labels, chances, min_specificity=plan.min_specificity)
    finding = FindingSpec(
        **{name: getattr(plan.finding, name) for name in ("key", "code", "site", "urgency")},
        threshold=round(threshold, 4), temperature=round(fitted.temperature, 6), bias=round(fitted.bias, 6),
    )  # fmt: skip
    sets = {
        "test": judge.of(plan.test, plan.test_seed),
        "unseen_scanner": judge.of(plan.test, plan.test_seed + 1, unseen=True),
    }
    calibrator = calibration.Calibrator(finding.temperature, finding.bias)
    figures = {name: _figures(judged, calibrator, finding) for name, judged in sets.items()}
    report("measured", {name: figure["findings"][finding.key]["auc"]["value"] for name, figure in figures.items()})
    result = {
        **figures,
        "unit": "series",
        "validation": {"images": plan.validation, "used_for": "calibration, threshold"},
        "training": {"images": slices, "heads": plan.train, "epochs": plan.epochs, "curve": curve},
        "thresholds": f"Youden's among those with specificity >= {plan.min_specificity:g} on the validation set",
        "confidence": "95 % intervals: DeLong for AUC, Wilson for rates",
        "pointing_tolerances": {"inside": 0.0, f"within_{TOLERANCE}_px": float(TOLERANCE)},
    }
    describe = asdict(plan.describe)
    data, notes = describe.pop("data"), describe.pop("notes")
    metadata = BundleMetadata(
        format_version=1,
        **describe,
        architecture=plan.architecture,
        input=plan.input,
        findings=(finding,),
        calibration=Calibration(
            score_kind=ScoreKind.CALIBRATED_PROBABILITY,
            method=f"temperature and bias on {plan.validation} held-out series",
        ),
        routing=plan.routing,
        training=TrainingSummary(data=data, images=slices, seed=plan.seed, date=plan.date, notes=notes),
        series=plan.series,
    )
    return write_bundle(
        directory / plan.describe.name, metadata, dict(network.state_dict()), evaluation=result,
        model_card=card.render(metadata, result),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """What the network says of N whole heads.

    Attributes
    ----------
    logits : ndarray
        float32 (N,), of the series.
    kinds : ndarray of bool
        (N, kinds), the truth.
    on_blood : ndarray of bool
        (N,), whether the key slice shows blood.
    pointed : ndarray of bool
        (N, 2), whether the heat map peaks inside the blood, and within the tolerance.
    """

    logits: NDArray[np.float32]
    kinds: NDArray[np.bool_]
    on_blood: NDArray[np.bool_]
    pointed: NDArray[np.bool_]

    @property
    def labels(self) -> NDArray[np.float32]:
        return np.asarray(self.kinds.any(axis=1), dtype=np.float32)


class _Judge:
    """Has the network read whole heads; what it said is kept, some heads to a file."""

    def __init__(self, network: networks.Network, plan: SeriesPlan, directory: Path, report: Report) -> None:
        self._network, self._plan, self._directory, self._report = network, plan, directory, report
        self._weight = network.classifier.weight.detach().numpy()[0]

    def of(self, count: int, seed: int, *, unseen: bool = False) -> _Judged:
        """The heads 0 to count - 1 of a seed."""
        self._directory.mkdir(parents=True, exist_ok=True)
        parts = []
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            path = self._directory / f"{seed}-{start}-{stop}.npz"
            if not path.is_file():
                self._keep(path, range(start, stop), seed, unseen)
                self._report("judged", {"seed": seed, "done": stop, "of": count})
            with np.load(path, allow_pickle=False) as stored:
                parts.append([stored[name] for name in _Judged.__slots__])
        return _Judged(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _keep(self, path: Path, heads: range, seed: int, unseen: bool) -> None:
        samples = whole_heads(heads, seed=seed, series=self._plan.series, spec=self._plan.input, unseen=unseen)
        columns = zip(*map(self._one, samples), strict=True)
        part = path.with_suffix(".part.npz")
        arrays: dict[str, Any] = {n: np.array(v) for n, v in zip(_Judged.__slots__, columns, strict=True)}
        np.savez(part, **arrays)
        os.replace(part, path)  # noqa: PTH105

    def _one(self, head: HeadSample) -> tuple[np.float32, list[bool], bool, list[bool]]:
        with torch.inference_mode():
            values, features = self._network(torch.from_numpy(head.inputs))
        (key,) = key_slices(values.numpy())
        heat = np.einsum("chw,c->hw", features[key].numpy(), self._weight)
        blood = head.blood[key]
        pointed = [evaluation.pointing_hit(heat, blood, tolerance=t) for t in (0.0, float(TOLERANCE))]
        logit = series_logits(values.numpy(), self._plan.series.top)[0]
        return logit, [kind in head.present for kind in KINDS], bool(blood.any()), pointed


def _figures(judged: _Judged, calibrator: calibration.Calibrator, finding: FindingSpec) -> dict[str, Any]:
    chances = calibrator.probabilities(judged.logits)
    found = (chances >= finding.threshold) & (judged.labels == 1)
    names = ("inside", f"within_{TOLERANCE}_px")
    hits = {name: judged.pointed[found, column].tolist() for column, name in enumerate(names)}
    figures = evaluation.evaluate(
        (finding.key,), judged.labels[:, None], chances[:, None], {finding.key: finding.threshold},
        pointing={finding.key: hits},
    )  # fmt: skip
    if found.any():
        shown = int(judged.on_blood[found].sum())
        figures["key_slice_shows_it"] = evaluation.proportion(shown, int(found.sum())).as_dict()
    figures["sensitivity_by_kind"] = {
        kind: evaluation.proportion(int(found[having].sum()), int(having.sum())).as_dict()
        for kind, having in zip(KINDS, judged.kinds.T, strict=True)
        if having.any()
    }
    return figures


def _plain(plan: SeriesPlan) -> dict[str, Any]:
    """The plan as JSON writes it, without its date: a run that goes on tomorrow is the same run."""
    fields: dict[str, Any] = {}
    for name in plan.__slots__:
        value = getattr(plan, name)
        if isinstance(value, BaseModel):
            fields[name] = value.model_dump(mode="json")
        else:
            fields[name] = asdict(value) if isinstance(value, FindingPlan | Description) else value
    del fields["date"]
    return fields
