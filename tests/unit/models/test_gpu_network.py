"""The path to a GPU, walked on the CPU: same numbers, cuDNN left on, a batch too large for the device read in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import networks
from models.bundle import Bundle
from models.cpu_network import CpuNetwork
from models.gpu_network import GpuNetwork
from triage.errors import InferenceError

CPU = torch.device("cpu")


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).normal(size=(count, 1, 64, 96)).astype(np.float32)


class Device(nn.Module):
    """A network on a device with room for so many images; remembers what it was given, and under which rules."""

    def __init__(self, room: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.room, self.error = room, error
        self.batches: list[int] = []
        self.cudnn: list[tuple[bool, bool]] = []

    def forward(self, batch: Tensor) -> Any:
        self.cudnn.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))
        if len(batch) > self.room:
            raise self.error("no room")
        self.batches.append(len(batch))
        return batch.mean(dim=(2, 3)), batch * 2


def test_the_same_numbers_as_on_the_cpu(tiny_bundle: Bundle) -> None:
    network = networks.restore("shufflenet_v2_x0_5", 2, tiny_bundle.weights)
    ours = GpuNetwork(network, CPU)(images(3))
    for found, expected in zip(ours, CpuNetwork(tiny_bundle.network)(images(3)), strict=True):
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_cudnn_stays_on_and_rounds_nothing() -> None:
    before = torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32
    device = Device(room=4)
    GpuNetwork(device, CPU)(images(1))
    assert device.cudnn == [(True, False)]
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32) == before


def test_a_batch_too_large_for_the_device_is_read_in_parts() -> None:
    device = Device(room=2)
    logits, features = GpuNetwork(device, CPU)(images(7))
    assert max(device.batches) <= 2
    assert sum(device.batches) == 7
    np.testing.assert_allclose(logits, images(7).mean(axis=(2, 3)), atol=1e-6)  # each in its place
    np.testing.assert_array_equal(features, images(7) * 2)


def test_a_device_without_room_for_one_image() -> None:
    with pytest.raises(InferenceError, match="too little memory") as caught:
        GpuNetwork(Device(room=0), CPU)(images(2))
    assert "device to cpu" in caught.value.advice()


def test_a_device_that_fails() -> None:
    with pytest.raises(InferenceError, match="RuntimeError"):
        GpuNetwork(Device(room=0, error=RuntimeError), CPU)(images(2))
