"""The images of an epoch in their order, varied, a batch ahead of the network that learns. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.training.augmentation import augment
from models.training.plan import TrainingPlan
from models.training.ranks import Ranks
from models.training.samples import Samples, in_256_steps

_MOST_OFTEN = 8.0
"""Oversampling draws no image more than so many times as often as a normal one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """This process's part of one batch.

    Attributes
    ----------
    step : int
        From 0.
    images : Tensor
        float32 (n, 1, height, width).
    labels : Tensor
        float32 (n, K).
    masks : Tensor or None
        float32 (n, K, height / 4, width / 4).
    known_in_all : int
        Known labels of the whole batch, over all processes.
    """

    step: int
    images: Tensor
    labels: Tensor
    masks: Tensor | None
    known_in_all: int


def order_of(labels: NDArray[np.float32], plan: TrainingPlan, epoch: int) -> NDArray[Any]:
    """int (N,): which image comes when. It follows from seed and epoch, whoever asks and how often.

    With "oversample" in the plan, N images are drawn with replacement: one with a rare finding as often as the root
    of negatives per positive says (at most eight times), one with several findings as its rarest.
    """
    rng = np.random.default_rng([plan.seed, epoch])
    if "oversample" not in plan.imbalance:
        return rng.permutation(len(labels))
    positive, negative = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    often = np.clip(np.sqrt(negative / np.maximum(positive, 1)), 1.0, _MOST_OFTEN)
    weight = np.where(labels == 1, often, 1.0).max(axis=1)
    return rng.choice(len(labels), size=len(labels), p=weight / weight.sum())


def batches(train: Samples, plan: TrainingPlan, epoch: int, first: int, ranks: Ranks) -> Iterator[Batch]:
    """The batches of an epoch from step `first` on; the next one is made while the network learns from this one."""
    order = order_of(train.labels, plan, epoch)
    steps = step_count(len(train), plan)
    with ThreadPoolExecutor(plan.threads) as pool:

        def start(step: int) -> list[Future[tuple[NDArray[Any], NDArray[Any] | None]]]:
            places = range(step * plan.batch, min((step + 1) * plan.batch, len(order)))[ranks.rank :: ranks.size]
            return [pool.submit(_varied, train, order, place, plan, epoch) for place in places]

        coming = start(first) if first < steps else []
        for step in range(first, steps):
            made = [future.result() for future in coming]
            coming = start(step + 1) if step + 1 < steps else []
            chosen = order[step * plan.batch : (step + 1) * plan.batch]
            yield _batch(step, made, train.labels[chosen], plan, ranks)


def step_count(images: int, plan: TrainingPlan) -> int:
    """Whole batches in an epoch; one smaller one where there are fewer images than that."""
    return max(1, images // plan.batch)


def _varied(
    train: Samples, order: NDArray[Any], place: int, plan: TrainingPlan, epoch: int
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    # A random state of its own for each place: the same picture whichever process or thread makes it.
    rng = np.random.default_rng([plan.seed, epoch, place])
    index = order[place]
    bits = None if train.masks is None else train.masks[index]
    return augment(in_256_steps(train.images[index]), bits, rng, plan.augmentation)


def _batch(
    step: int,
    made: list[tuple[NDArray[Any], NDArray[Any] | None]],
    labels: NDArray[np.float32],
    plan: TrainingPlan,
    ranks: Ranks,
) -> Batch:
    own = Samples(np.stack([image for image, _ in made]), labels[ranks.rank :: ranks.size])
    masks = [bits for _, bits in made if bits is not None]
    where = None
    if masks:
        layers = np.stack(masks)[:, None] >> np.arange(len(plan.findings), dtype=np.uint8)[None, :, None, None]
        where = torch.from_numpy((layers & 1).astype(np.float32))
    images = torch.from_numpy(own.network_images(slice(None), plan.input))
    return Batch(step, images, torch.from_numpy(own.labels), where, int((~np.isnan(labels)).sum()))
