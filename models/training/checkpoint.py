"""The state of a run after an epoch: tensors in safetensors, the rest in JSON, replaced atomically. No pickle."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_TENSORS, _FACTS = "checkpoint.safetensors", "checkpoint.json"


@dataclass(slots=True)
class Progress:
    """How far a run has come.

    Attributes
    ----------
    epoch : int
        Epochs completed.
    best : float
        Best mean validation AUC so far, reached in `best_epoch`.
    history : list of dict
        One entry per epoch: losses, AUCs, learning rate.
    """

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)


def save(
    directory: Path,
    network: nn.Module,
    best: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    plan: str,
) -> None:
    """Write network, best weights so far and optimizer; `plan` marks the run they belong to."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    facts = {"plan": plan, **asdict(progress)}
    # The facts name the tensors' generation: a kill between the two replacements is seen on reading.
    temporary = directory / f"{_TENSORS}.part"
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()},
        temporary,
        {"epoch": str(progress.epoch)},
    )
    os.replace(temporary, directory / _TENSORS)  # noqa: PTH105
    temporary = directory / f"{_FACTS}.part"
    temporary.write_text(json.dumps(facts), encoding="utf-8")
    os.replace(temporary, directory / _FACTS)  # noqa: PTH105


def restore(
    directory: Path, network: nn.Module, optimizer: torch.optim.Optimizer, plan: str
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Continue where a killed run of the same plan stopped; None where there is nothing to continue."""
    if not ((directory / _FACTS).is_file() and (directory / _TENSORS).is_file()):
        return None
    facts = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
    if facts.pop("plan") != plan:
        return None
    tensors = load_file(directory / _TENSORS)
    if _epoch(directory / _TENSORS) != facts["epoch"]:
        return None
    network.load_state_dict(_below("network.", tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(**facts), _below("best.", tensors)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _epoch(path: Path) -> int:
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(path, framework="pt") as tensors:
        return int((tensors.metadata() or {}).get("epoch", -1))
