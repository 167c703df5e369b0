"""A network on a GPU, by torch: batches, through memory that the device reads and writes by itself.

Importing this imports torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import networks
from models.bundle import Bundle
from triage.errors import InferenceError

Float32 = NDArray[np.float32]
Run = Callable[[Float32], tuple[Float32, Float32]]

_ONE_AT_A_TIME: Final = threading.Lock()
"""cuDNN's switches are the process's: two threads that set them for a while would leave each other's behind. A device
runs one network after the other anyway."""


def load(bundle: Bundle, instead: Callable[[InferenceError], Run]) -> GpuNetwork | None:
    """The bundle's network on the first GPU; None where torch cannot use one, or it has no room for the network.

    Parameters
    ----------
    instead : callable
        As of :class:`GpuNetwork`.
    """
    if not torch.cuda.is_available():
        return None
    metadata = bundle.metadata
    network = networks.restore(metadata.architecture, len(metadata.findings), bundle.weights)
    try:
        return GpuNetwork(network, torch.device("cuda"), instead)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        return None


class GpuNetwork:
    """A network (N, channels, H, W) → logits (N, K), features (N, C, h, w) on a device. Safe to share between threads.

    Parameters
    ----------
    device : torch.device
        Also "cpu", which shows everything but the speed.
    instead : callable
        Called once, with the reason, when the device is lost; gives what reads from then on. After such an error every
        call of the driver fails until the process ends, and studies would be left unread that long.
    """

    def __init__(self, network: nn.Module, device: torch.device, instead: Callable[[InferenceError], Run]) -> None:
        self._device = device
        self._instead = instead
        self._other: Run | None = None
        self._network: Any = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, images: Float32) -> tuple[Float32, Float32]:
        """Logits and features, float32. A batch that the device has no memory for is read in halves.

        Raises
        ------
        InferenceError
            torch failed, or a single image needs more memory than there is.
        """
        if self._other is not None:
            return self._other(images)
        try:
            return self._forward(images)
        except torch.AcceleratorError as error:
            lost = InferenceError(
                f"the GPU is lost to this process: {type(error).__name__}.",
                next_step="The CPU reads meanwhile. See what nvidia-smi says, then restart the worker.",
            )
            self._other = self._instead(lost)
            return self._other(images)
        except torch.OutOfMemoryError as error:
            if len(images) == 1:
                raise InferenceError(
                    "the GPU has too little memory for one image.",
                    next_step="Free it from other programs, or set the device to cpu.",
                ) from error
        except RuntimeError as error:
            raise InferenceError(f"torch failed on the GPU: {type(error).__name__}.") from error
        torch.cuda.empty_cache()  # nothing where there is no GPU
        middle = len(images) // 2
        logits, features = zip(self(images[:middle]), self(images[middle:]), strict=True)
        return np.concatenate(logits), np.concatenate(features)

    def _forward(self, images: Float32) -> tuple[Float32, Float32]:
        # TF32 would save little here and cost agreement with the CPU: the same image, the same score. cuDNN is named
        # because these flags switch it off unless asked.
        with _ONE_AT_A_TIME, torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            batch = self._pinned(torch.from_numpy(images)).to(self._device, non_blocking=True)
            logits, features = self._network(batch.contiguous(memory_format=torch.channels_last))
            results = [self._fetched(output) for output in (logits, features)]
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()  # both copies run until here
            first, second = (result.numpy() for result in results)
            return first, second

    def _pinned(self, tensor: Tensor) -> Tensor:
        """In page-locked memory: the copy to the device need not wait for a copy on the host."""
        return tensor.pin_memory() if self._device.type == "cuda" else tensor

    def _fetched(self, output: Tensor) -> Tensor:
        """On its way back to the host; there when the stream has been waited for."""
        plain = output.contiguous()
        if self._device.type != "cuda":
            return plain
        host = torch.empty(plain.shape, dtype=plain.dtype, pin_memory=True)
        return host.copy_(plain, non_blocking=True)
