"""Train the gate, set its operating point, measure it, write it. Needs torch; one CPU core for some minutes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.gate.appearance import Appearance
from models.gate.view import gate_view
from models.training.gate.chests import varied
from models.training.gate.drawing import Picture
from models.training.gate.network import GateNetwork, deterministic
from models.training.gate.plan import GatePlan
from models.training.gate.samples import Sources, Views, draw_heads, draw_phantoms, make
from models.training.gate.table import read_chests
from models.training.gate.writing import write_gate

Report = Callable[[str], None]
_UNSEEN = 1000
"""Added to the seed of a plan: for what is measured, never for what is learned."""


def train_gate(images: Path, table: Path, directory: Path, plan: GatePlan, *, date: str, report: Report) -> Path:
    """Make a gate of real chests and drawings.

    Parameters
    ----------
    images, table : Path
        As of :func:`models.training.gate.table.read_chests`.
    directory : Path
        Receives the gate; what is there is replaced only when all is done.
    date : str
        YYYY-MM-DD, for the card.

    Returns
    -------
    Path
        ``directory``.

    Raises
    ------
    TrainingDataError
        The real chests cannot be read.
    BundleError
        The exported graph does not give the numbers of the network.
    """
    deterministic(plan.seed)
    cv2.setNumThreads(1)
    real = read_chests(images, table, plan.seed)
    report(f"{', '.join(f'{len(chests)} real chests for {side}' for side, chests in real.items())}")
    phantoms = draw_phantoms(plan.seed, plan.phantoms)
    unseen = draw_phantoms(plan.seed + _UNSEEN, plan.phantoms // 4)
    train = make(Sources(real["train"], phantoms, draw_heads(plan.seed)), plan.samples, plan.seed)
    heads = draw_heads(plan.seed + _UNSEEN)
    validation = make(Sources(real["validation"], unseen, heads), plan.validation, plan.seed + _UNSEEN)
    report(f"{len(train)} samples drawn")
    network = _learn(train, validation, plan, report)
    accept = _operating_point(network, [*real["validation"], *unseen[: len(real["validation"])]], plan)
    report(f"a frontal chest from {accept:.3f} on")
    fresh = draw_phantoms(plan.seed + 2 * _UNSEEN, plan.phantoms // 4)
    drawn = make(Sources(real["test"], fresh, heads), plan.validation, plan.seed + 2 * _UNSEEN)
    evaluation = {
        "accept": accept,
        "test": {
            "real": _measured(network, real["test"], accept),
            "phantoms": _measured(network, fresh, accept),
            "drawn": _confusion(network, drawn, accept),
        },
    }
    report(json.dumps(evaluation["test"]))
    return write_gate(directory, network, plan, evaluation, real_chests=len(real["train"]), date=date)


def _learn(train: Views, validation: Views, plan: GatePlan, report: Report) -> GateNetwork:
    network = GateNetwork(len(Appearance))
    steps = max(1, len(train) // plan.batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.learning_rate, plan.epochs * steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=plan.smoothing)
    classes = torch.from_numpy(train.classes)
    for epoch in range(plan.epochs):
        network.train()
        order = np.random.default_rng([plan.seed, epoch]).permutation(len(train))
        total = 0.0
        for step in range(steps):
            chosen = order[step * plan.batch : (step + 1) * plan.batch]
            logits, _ = network(torch.from_numpy(train.views[chosen].astype(np.float32) / 255))
            loss = loss_of(logits, classes[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        right = float((_probabilities(network, validation.views).argmax(axis=1) == validation.classes).mean())
        report(f"epoch {epoch + 1} of {plan.epochs}: loss {total / steps:.3f}, {right:.1%} of validation right")
    return network.eval()


def _operating_point(network: GateNetwork, chests: Sequence[Picture], plan: GatePlan) -> float:
    rng = np.random.default_rng(plan.seed)
    views = [gate_view(varied(chest, rng)) for chest in chests for _ in range(plan.variations)]
    frontal = _of_views(network, views)[:, 0]
    wanted = float(np.quantile(frontal, 1 - plan.acceptance))
    return round(min(max(wanted, plan.lowest_accept), plan.highest_accept), 3)


def _measured(network: GateNetwork, chests: Sequence[Picture], accept: float) -> dict[str, Any]:
    """Chests as they are, and what a wrong header or a wrong turn makes of them: how many pass."""
    turns = {f"turned_{90 * k}": [np.ascontiguousarray(np.rot90(chest, k)) for chest in chests] for k in (1, 2, 3)}
    kinds = {"upright": list(chests), "inverted": [1 - chest for chest in chests], **turns}
    passed = {
        kind: int((_of_views(network, [gate_view(p) for p in pictures])[:, 0] >= accept).sum())
        for kind, pictures in kinds.items()
    }
    return {"images": len(chests), "accepted": passed}


def _confusion(network: GateNetwork, drawn: Views, accept: float) -> dict[str, Any]:
    passed = _probabilities(network, drawn.views)[:, 0] >= accept
    return {
        name.value: {"images": int((drawn.classes == n).sum()), "accepted": int(passed[drawn.classes == n].sum())}
        for n, name in enumerate(Appearance)
    }


def _of_views(network: GateNetwork, views: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return _probabilities(network, np.round(np.stack(views) * 255).astype(np.uint8))


def _probabilities(network: GateNetwork, views: NDArray[np.uint8]) -> NDArray[np.float32]:
    network.eval()
    with torch.inference_mode():
        parts = [
            torch.softmax(network(torch.from_numpy(views[n : n + 256].astype(np.float32) / 255))[0], 1)
            for n in range(0, len(views), 256)
        ]
    return np.asarray(torch.cat(parts).numpy(), np.float32)
