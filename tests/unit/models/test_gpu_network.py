"""The path to a GPU, walked on the CPU: same numbers, cuDNN left on, a batch too large for the device read in parts."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import networks
from models.bundle import Bundle
from models.cpu_network import CpuNetwork
from models.gpu_network import GpuNetwork, Run
from triage.errors import InferenceError

CPU = torch.device("cpu")


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).normal(size=(count, 1, 64, 96)).astype(np.float32)


def no_other(error: InferenceError) -> Run:
    raise error


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
    ours = GpuNetwork(network, CPU, no_other)(images(3))
    for found, expected in zip(ours, CpuNetwork(tiny_bundle.network)(images(3)), strict=True):
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_cudnn_stays_on_and_rounds_nothing() -> None:
    before = torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32
    device = Device(room=4)
    GpuNetwork(device, CPU, no_other)(images(1))
    assert device.cudnn == [(True, False)]
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32) == before


def test_a_batch_too_large_for_the_device_is_read_in_parts() -> None:
    device = Device(room=2)
    logits, features = GpuNetwork(device, CPU, no_other)(images(7))
    assert max(device.batches) <= 2
    assert sum(device.batches) == 7
    np.testing.assert_allclose(logits, images(7).mean(axis=(2, 3)), atol=1e-6)  # each in its place
    np.testing.assert_array_equal(features, images(7) * 2)


def test_a_device_without_room_for_one_image() -> None:
    with pytest.raises(InferenceError, match="too little memory") as caught:
        GpuNetwork(Device(room=0), CPU, no_other)(images(2))
    assert "device to cpu" in caught.value.advice()


def test_a_device_that_fails() -> None:
    with pytest.raises(InferenceError, match="RuntimeError"):
        GpuNetwork(Device(room=0, error=RuntimeError), CPU, no_other)(images(2))


def test_a_device_that_is_lost_is_not_asked_again() -> None:
    device, told = Device(room=0, error=torch.AcceleratorError), list[str]()

    def other(error: InferenceError) -> Run:
        told.append(error.advice())
        return lambda given: (given.mean(axis=(2, 3)), given)

    network = GpuNetwork(device, CPU, other)
    for count in (1, 2, 3):
        logits, _ = network(images(count))
        np.testing.assert_array_equal(logits, images(count).mean(axis=(2, 3)))
    assert len(device.cudnn) == len(told) == 1
    assert "restart the worker" in told[0]


def test_threads_take_turns_so_that_one_ends_with_the_switches_of_the_process() -> None:
    device, before = Device(room=4), torch.backends.cudnn.allow_tf32
    network, entered, leave = GpuNetwork(device, CPU, no_other), threading.Event(), threading.Event()
    inside = device.forward

    def slow(batch: Tensor) -> Any:
        entered.set()
        leave.wait(10)
        return inside(batch)

    device.forward = slow  # type: ignore[method-assign]
    threads = [threading.Thread(target=network, args=(images(1),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    entered.clear()
    assert not entered.wait(0.1)  # the second one is outside
    leave.set()
    for thread in threads:
        thread.join(10)
    assert device.cudnn == [(True, False)] * 2
    assert torch.backends.cudnn.allow_tf32 == before
