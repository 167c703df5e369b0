"""The gate's network: seven small convolutions and a layer that still knows where in the picture a thing lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.gate.view import CHANNELS, SIDE

_STEPS = ((16, 2), (24, 2), (24, 1), (48, 2), (48, 1), (64, 2), (64, 1))
"""Channels and stride of each convolution."""
_CELLS = (SIDE // 16) ** 2
EMBEDDING = 48


class GateNetwork(nn.Module):
    """float32 (N, 2, 96, 96) → logits (N, K), embedding (N, 48)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = CHANNELS
        for channels, stride in _STEPS:
            layers += [
                nn.Conv2d(before, channels, 3, stride, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            before = channels
        layers += [nn.Conv2d(before, 16, 1), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.embed = nn.Sequential(nn.Dropout(0.3), nn.Linear(16 * _CELLS, EMBEDDING), nn.ReLU(inplace=True))
        self.head = nn.Linear(EMBEDDING, classes)

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.embed(self.body(view).flatten(1))
        return self.head(embedding), embedding


def parameters(network: nn.Module) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def deterministic(seed: int) -> None:
    """The same seed gives the same weights, on one thread of a CPU."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
