"""Who learns, how fast, and when: parameter groups, stages, the learning rate over a run. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from models import networks
from models.training.plan import TrainingPlan

_WARM_UP = 0.15
"""Share of the steps in which the learning rate rises."""
_SLOWER = 0.1
"""Rate of known features below a new head, as a share of the head's."""


def optimiser(network: networks.Network, plan: TrainingPlan) -> torch.optim.AdamW:
    """AdamW; weight decay for matrices and filters only, one rate for the features and one for the head."""
    slow = plan.feature_rate
    if slow is None:
        slow = _SLOWER if plan.start_from is not None and not plan.keep_head else 1.0
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
    return torch.optim.AdamW(groups, lr=plan.learning_rate)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its own rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * max(factor, 0.01)


def rate_factor(plan: TrainingPlan, done: float, history: Sequence[Mapping[str, Any]]) -> float:
    """What the learning rate is multiplied by.

    Parameters
    ----------
    done : float
        Share of the epochs, [0, 1].
    history : sequence of mapping
        The epochs so far: a plateau is read from them, so a resumed run needs no memory of its own.
    """
    if plan.schedule == "constant":
        return 1.0
    if plan.schedule == "plateau":
        return float(0.5 ** _plateaus([entry["mean_auc"] for entry in history], plan.plateau))
    if done < _WARM_UP:
        return done / _WARM_UP
    # Half a cosine (Loshchilov & Hutter 2017).
    return 0.5 + 0.5 * math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))


def freeze(network: networks.Network, plan: TrainingPlan, epoch: int) -> tuple[str, ...]:
    """Let those parameters learn whose turn it is; returns the beginnings of their names."""
    learns = ("classifier.",) if epoch < plan.frozen_epochs else plan.learns or ("",)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(learns))
    return learns


def set_training_mode(network: networks.Network, plan: TrainingPlan) -> None:
    """Training mode; frozen normalisation layers keep their statistics where the plan says so."""
    network.train()
    network.dropout.p = plan.dropout
    if plan.frozen_statistics:
        for module in network.features.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(p.requires_grad for p in own):
                module.eval()


def _plateaus(areas: Sequence[float], length: int) -> int:
    best, waited, seen = -math.inf, 0, 0
    for area in areas:
        waited = 0 if area > best else waited + 1
        best = max(best, area)
        if waited >= length:
            seen, waited = seen + 1, 0
    return seen
