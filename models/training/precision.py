"""Mixed precision on a GPU, plain float32 on a CPU. Needs torch."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from models.training.errors import TrainingError

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str, local: int = 0) -> torch.device:
    """The processor that trains.

    Parameters
    ----------
    wanted : str
        "auto", "cpu" or "cuda".
    local : int
        Number of this process on its machine: each takes a GPU of its own.

    Raises
    ------
    TrainingError
        "cuda" is asked for and torch finds none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise TrainingError(
            'the plan says device = "cuda", and torch finds no GPU.', next_step='Use "auto" or "cpu", or another host.'
        )
    return torch.device("cuda", local) if there and wanted != "cpu" else torch.device("cpu")


class Precision:
    """Autocast and, for fp16, a gradient scaler (Micikevicius et al. 2018).

    Attributes
    ----------
    note : str
        What differs from the plan; empty where nothing does.
    """

    def __init__(self, wanted: str, device: torch.device) -> None:
        self.note = ""
        self._device = device
        self._dtype = _HALF.get(wanted)
        if self._dtype is not None and device.type != "cuda":
            self.note = f"{wanted} is for GPUs; this run computes in float32"
            self._dtype = None
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype is torch.float16)

    def autocast(self) -> AbstractContextManager[None]:
        """Around the forward pass; losses are computed in float32."""
        return torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None)

    def step(self, loss: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer, clip: float) -> None:
        """Backward, clip, step. A step whose scaled gradients overflow is left out and the scale halved."""
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), clip)
        self._scaler.step(optimizer)
        self._scaler.update()

    @property
    def scale(self) -> float:
        """Of the gradients, for the checkpoint; 1 where nothing is scaled."""
        return float(self._scaler.get_scale())

    def resume(self, scale: float) -> None:
        if self._scaler.is_enabled():
            self._scaler.update(scale)
