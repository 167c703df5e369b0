"""Several processes that train one network, as torchrun starts them. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from models import networks

_LONGEST_WAIT = timedelta(hours=12)
"""The first process reads and fits all images while the others wait."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among its fellows; alone by default.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and how many there are.
    local : int
        Its number on its own machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes, prints and measures."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            distributed.all_reduce(torch.zeros(1))

    def parallel(self, network: networks.Network) -> nn.Module:
        """The network with gradients averaged over all processes (DDP); itself where there is one process."""
        if self.size == 1:
            return network
        device = next(network.parameters()).device
        return nn.parallel.DistributedDataParallel(network, [device.index] if device.type == "cuda" else None)

    def share_buffers(self, network: nn.Module) -> None:
        """Running statistics of the first process for all: each has seen its own part of the last batch."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def part(self, count: int) -> slice:
        """This process's share of `count` rows, in order."""
        each = -(-count // self.size)
        return slice(self.rank * each, min(count, (self.rank + 1) * each))

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """All `count` rows from the shares of :meth:`part`: float32 (count, K) on every process."""
        if self.size == 1:
            return rows
        each = -(-count // self.size)
        padded = torch.zeros(each, rows.shape[1])
        padded[: len(rows)] = rows
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        return torch.cat(parts)[:count]

    def mean(self, value: float) -> float:
        """Of one number of each process."""
        if self.size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total) / self.size


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process among those that torchrun started with it; :data:`ALONE` where nobody did."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), distributed.get_node_local_rank(0))
    finally:
        distributed.destroy_process_group()
