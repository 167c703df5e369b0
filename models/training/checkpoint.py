"""The state of a run: one safetensors file, its facts in the header, replaced as a whole. No pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from models.training.durable import write_durably
from models.training.errors import TrainingError

_FILE = "checkpoint.safetensors"


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
    step : int
        Steps done in the epoch under way, and the sum of their losses.
    scale : float
        Of fp16 gradients.
    """

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    loss: float = 0.0
    scale: float = 1.0


def save(
    directory: Path,
    network: nn.Module,
    best: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    run: str,
) -> None:
    """Write network, best weights so far and optimizer; `run` is the digest of plan and data they belong to.

    Raises
    ------
    TrainingError
        The disk is full; the checkpoint before stays.
    """
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    # detach, copy: safetensors wants no two tensors of one memory.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_durably(directory / _FILE, to_bytes(plain, {"run": run, "progress": json.dumps(asdict(progress))}))


def restore(
    directory: Path, network: nn.Module, optimizer: torch.optim.Optimizer, run: str
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Continue where a killed run of the same plan and data stopped; None where there is nothing to continue.

    Raises
    ------
    TrainingError
        The checkpoint is damaged.
    """
    path = directory / _FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stored:
            facts = stored.metadata() or {}
            if facts.get("run") != run:
                return None
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        progress = Progress(**json.loads(facts["progress"]))
        network.load_state_dict(_below("network.", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below("optimizer.", tensors).items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} is damaged ({error}).", next_step="Move it away to begin this run anew, or restore a copy."
        ) from error
    return progress, _below("best.", tensors)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
