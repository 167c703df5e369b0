"""The optimisation: epochs, losses, validation, early stopping, resuming."""

from __future__ import annotations

import csv
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models import evaluation, networks
from models.bundle import Bundle
from models.training import checkpoint
from models.training.checkpoint import Progress
from models.training.plan import TrainingPlan
from models.training.samples import Report, Samples, augment
from triage.errors import BundleError

_WARM_UP = 0.15
"""Share of the steps in which the learning rate rises."""
_MAX_POSITIVE_WEIGHT = 8.0
_CONTRAST = 4.0
"""The localisation loss sees the value of a cell times this, divided by the number of cells."""


def fit(
    plan: TrainingPlan, train: Samples, validation: Samples, directory: Path, digest: str, report: Report
) -> tuple[dict[str, Tensor], Progress]:
    """Train; returns the weights of the epoch with the best mean validation AUC and the run's history.

    ``history.json`` and ``history.csv`` in the run directory hold the curves. A second call with the same plan
    continues after the last completed epoch.
    """
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    network = networks.build(plan.architecture, len(plan.findings))
    if plan.start_from is not None:
        _transfer(network, plan.start_from, plan)
    optimizer = torch.optim.AdamW(_groups(network, plan), lr=plan.learning_rate)
    resumed = checkpoint.restore(directory, network, optimizer, digest)
    progress, best = resumed if resumed is not None else (Progress(), {})
    weights = _positive_weights(train.labels)

    while progress.epoch < plan.epochs and progress.epoch - max(progress.best_epoch, 0) <= plan.patience:
        started = time.monotonic()
        _freeze(network, plan, progress.epoch)
        loss = _epoch(network, optimizer, plan, train, weights, progress.epoch, report)
        figures = _validate(network, plan, validation)
        progress.epoch += 1
        if figures["mean_auc"] > progress.best:
            progress.best, progress.best_epoch = figures["mean_auc"], progress.epoch
            best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        entry = {
            "epoch": progress.epoch,
            "train_loss": round(loss, 5),
            **figures,
            "seconds": round(time.monotonic() - started, 1),
        }
        progress.history.append(entry)
        checkpoint.save(directory, network, best, optimizer, progress, digest)
        _write_curves(directory, progress.history)
        report("epoch", entry)
    return best, progress


def logits(network: nn.Module, samples: Samples, plan: TrainingPlan, *, features: bool = False) -> tuple[Any, Any]:
    """Logits float32 (N, K) and, if asked for, feature maps float16 (N, C, h, w) of all samples, as numpy."""
    network.eval()
    results, maps = [], []
    with torch.inference_mode():
        for start in range(0, len(samples), 64):
            batch = torch.from_numpy(samples.network_images(slice(start, start + 64), plan.input))
            values, feature = network(batch)
            results.append(values.numpy())
            if features:
                maps.append(feature.numpy().astype(np.float16))
    return np.concatenate(results), np.concatenate(maps) if features else None


def _epoch(
    network: networks.Network,
    optimizer: torch.optim.Optimizer,
    plan: TrainingPlan,
    train: Samples,
    weights: Tensor,
    epoch: int,
    report: Report,
) -> float:
    network.train()
    # Order, augmentation and dropout follow from seed and epoch: a resumed run ends with the same weights.
    rng = np.random.default_rng([plan.seed, epoch])
    torch.manual_seed(int(rng.integers(2**62)))
    order = rng.permutation(len(train))
    steps = max(1, len(order) // plan.batch)
    total = 0.0
    for step in range(steps):
        chosen = order[step * plan.batch : (step + 1) * plan.batch]
        _set_rate(optimizer, (epoch + step / steps) / plan.epochs)
        images, labels, masks = _batch(train, chosen, plan, rng)
        values, features = network(images)
        loss = _classification_loss(values, labels, weights)
        if masks is not None and plan.localisation_weight > 0:
            loss = loss + plan.localisation_weight * _localisation_loss(features, network.classifier.weight, masks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        total += loss.item()
        if step % 20 == 0:
            report("step", {"epoch": epoch + 1, "step": step, "of": steps, "loss": round(total / (step + 1), 4)})
    return total / steps


def _batch(
    train: Samples, chosen: NDArray[Any], plan: TrainingPlan, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    images: list[NDArray[Any]] = []
    masks: list[NDArray[Any]] = []
    for index in chosen:
        image, bits = augment(train.images[index], None if train.masks is None else train.masks[index], rng)
        images.append(image)
        if bits is not None:
            masks.append(bits)
    part = Samples(np.stack(images), train.labels[chosen])
    prepared = torch.from_numpy(part.network_images(slice(None), plan.input))
    where = None
    if masks:
        layers = np.stack(masks)[:, None] >> np.arange(len(plan.findings), dtype=np.uint8)[None, :, None, None]
        where = torch.from_numpy((layers & 1).astype(np.float32))
    return prepared, torch.from_numpy(part.labels), where


def _classification_loss(values: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Binary cross entropy over what is known, positives weighted up where they are rare."""
    known = ~torch.isnan(labels)
    loss = functional.binary_cross_entropy_with_logits(
        values, torch.nan_to_num(labels), pos_weight=weights, reduction="none"
    )
    return (loss * known).sum() / known.sum().clamp(min=1)


def _localisation_loss(features: Tensor, weight: Tensor, masks: Tensor) -> Tensor:
    """How far the class activation maps of present findings point outside their masks.

    The map of a finding, softmax over its cells, is read as the probability of pointing at each cell; the loss is
    -log of the probability of pointing into the mask. The logit is the mean of all cells, so a lesion in one cell has
    to stand out by about their number: the softmax works on cells divided by a share of it, or it would be content
    with a peak that drowns in the mean.
    """
    cells = torch.einsum("nchw,kc->nkhw", features, weight).flatten(2)
    cells = cells * (_CONTRAST / cells.shape[2])
    inside = functional.adaptive_avg_pool2d(masks, (features.shape[2], features.shape[3])).flatten(2)
    # A cell counts by how much of it the lesion fills, the best cell of a small lesion fully.
    inside = (inside / inside.amax(dim=2, keepdim=True).clamp(min=1e-6)).clamp(max=1)
    present = masks.flatten(2).amax(dim=2) > 0
    if not present.any():
        return features.sum() * 0
    inward = torch.logsumexp(cells + torch.log(inside + 1e-6), dim=2) - torch.logsumexp(cells, dim=2)
    return -(inward[present]).mean()


def _validate(network: networks.Network, plan: TrainingPlan, validation: Samples) -> dict[str, Any]:
    values, _ = logits(network, validation, plan)
    areas: dict[str, float] = {}
    for column, key in enumerate(plan.keys):
        truth = validation.labels[:, column]
        known = ~np.isnan(truth)
        if len(np.unique(truth[known])) == 2:
            areas[key] = round(evaluation.auc(truth[known], values[known, column]).value, 4)
    with torch.inference_mode():
        loss = _classification_loss(
            torch.from_numpy(values), torch.from_numpy(validation.labels), torch.ones(len(plan.findings))
        )
    mean = float(np.mean(list(areas.values()))) if areas else 0.0
    return {
        "validation_loss": round(float(loss), 5),
        "mean_auc": round(mean, 5),
        **{f"auc_{k}": v for k, v in areas.items()},
    }


def _groups(network: networks.Network, plan: TrainingPlan) -> list[dict[str, Any]]:
    """Weight decay for matrices and filters only; below a new head, known features learn ten times slower."""
    slow = 0.1 if plan.start_from is not None and not plan.keep_head else 1.0
    groups = []
    for head in (False, True):
        for decays in (False, True):
            chosen = [
                p
                for name, p in network.named_parameters()
                if (p.ndim > 1) == decays and name.startswith("classifier.") == head
            ]
            rate = plan.learning_rate * (1.0 if head else slow)
            groups.append(
                {"params": chosen, "weight_decay": plan.weight_decay if decays else 0.0, "lr": rate, "peak": rate}
            )
    return groups


def _set_rate(optimizer: torch.optim.Optimizer, done: float) -> None:
    """Linear warm-up, then half a cosine (Loshchilov & Hutter 2017)."""
    factor = done / _WARM_UP if done < _WARM_UP else 0.5 + 0.5 * math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * max(factor, 0.01)


def _freeze(network: networks.Network, plan: TrainingPlan, epoch: int) -> None:
    """Let those parameters learn whose turn it is."""
    learns = ("classifier.",) if epoch < plan.frozen_epochs else plan.learns or ("",)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(learns))


def _positive_weights(labels: NDArray[np.float32]) -> Tensor:
    positive = np.nansum(labels == 1, axis=0)
    negative = np.nansum(labels == 0, axis=0)
    ratio = np.sqrt(np.maximum(negative, 1) / np.maximum(positive, 1))
    return torch.tensor(np.clip(ratio, 1.0, _MAX_POSITIVE_WEIGHT), dtype=torch.float32)


def _transfer(network: networks.Network, directory: Path, plan: TrainingPlan) -> None:
    """Take the features of another bundle, and its head if the plan says so."""
    source = Bundle.load(directory)
    if source.metadata.architecture != plan.architecture:
        raise BundleError(f"{directory} is a {source.metadata.architecture}, not a {plan.architecture}.")
    trained = networks.restore(plan.architecture, len(source.metadata.findings), source.weights)
    network.features.load_state_dict(trained.features.state_dict())
    if plan.keep_head:
        if tuple(finding.key for finding in source.metadata.findings) != plan.keys:
            raise BundleError(f"{directory} has other findings: its head cannot be kept.")
        network.classifier.load_state_dict(trained.classifier.state_dict())


def _write_curves(directory: Path, history: list[dict[str, Any]]) -> None:
    (directory / "history.json").write_text(json.dumps(history, indent=1) + "\n", encoding="utf-8")
    columns = list(dict.fromkeys(key for entry in history for key in entry))
    with (directory / "history.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(history)
