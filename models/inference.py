"""Run a bundle's network on prepared images: ONNX Runtime on the CPU, torch where there is a GPU.

On a machine without a GPU nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.cpu_network import CpuNetwork
from models.guard import Guard
from models.metadata import ONNX
from models.routing import Refusal
from triage.errors import InferenceError
from triage.findings import Finding, Region, Score

Float32 = NDArray[np.float32]
Device = Literal["auto", "cpu", "cuda"]


class Outputs(NamedTuple):
    logits: Float32
    features: Float32


_Run = Callable[[Float32], tuple[Float32, Float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the network says about N images.

    Attributes
    ----------
    logits : ndarray
        float32 (N, K), as the network gives them.
    probabilities : ndarray
        float32 (N, K) in [0, 1]: sigmoid(logit / temperature + bias) per finding.
    features : ndarray
        float32 (N, C, h, w), the last feature map, for :mod:`models.explain`; >= 0 in networks that end in ReLU.
    """

    logits: Float32
    probabilities: Float32
    features: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A bundle's network, loaded and ready. Safe to share between threads.

    Attributes
    ----------
    device : str
        "cpu" (ONNX Runtime) or "cuda" (torch).
    class_weights : ndarray
        float32 (K, C), weight of the last layer, for :func:`models.explain.class_activation_map`.
    guard : Guard or None
        Tells from the features of a prediction which images are unlike those of training; None: the bundle has none.
    """

    bundle: Bundle
    device: Literal["cpu", "cuda"]
    class_weights: Float32
    _run: _Run
    guard: Guard | None = None

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        device: Device = "auto",
        *,
        threads: int = 0,
        on_loss: Callable[[InferenceError], None] | None = None,
    ) -> Predictor:
        """Load the network. Checksums are :meth:`~models.bundle.Bundle.verify`'s job, not this one's.

        Parameters
        ----------
        device : {"auto", "cpu", "cuda"}
            "auto" takes the first GPU where the machine has one that torch can use. A bundle that is an ONNX graph
            alone runs on the CPU in any case.
        threads : int
            CPU cores to use; 0 for all.
        on_loss : callable, optional
            Told when a GPU fails for good; the CPU reads from then on.

        Raises
        ------
        BundleError
            The network file or the guard cannot be loaded.
        InferenceError
            "cuda" was asked for and torch finds no usable GPU, or none with room.
        """
        class_weights, _ = bundle.head()
        guard = Guard.of(bundle)
        has_network = bundle.metadata.architecture != ONNX
        if has_network and (device == "cuda" or (device == "auto" and _gpu_device_file())):
            from models import gpu_network  # noqa: PLC0415 - torch, only where a GPU is present or asked for

            def cpu_instead(error: InferenceError) -> _Run:
                if on_loss is not None:
                    on_loss(error)
                return CpuNetwork(bundle.network, threads)

            on_gpu = gpu_network.load(bundle, cpu_instead)
            if on_gpu is not None:
                return cls(bundle, "cuda", class_weights, on_gpu, guard)
            if device == "cuda":
                raise InferenceError(
                    "torch finds no usable GPU, or it has no room.", next_step="Set the device to cpu or auto."
                )
        return cls(bundle, "cpu", class_weights, CpuNetwork(bundle.network, threads), guard)

    def predict(self, images: Float32) -> Prediction:
        """Run the network.

        Parameters
        ----------
        images : ndarray
            float32 (N, channels, H, W) from :func:`models.preprocessing.network_input` or
            :func:`models.ct.slices.slab_input`, N >= 1.

        Raises
        ------
        InferenceError
            Wrong shape, input or output not finite, or the runtime failed.
        """
        spec, outputs = self.bundle.metadata.input, len(self.bundle.metadata.findings)
        expected = (self.bundle.metadata.channels, spec.height, spec.width)
        if images.dtype != np.float32 or images.ndim != 4 or images.shape[1:] != expected:
            shape = ", ".join(map(str, expected))
            raise InferenceError(f"network input is {images.dtype} {images.shape}, expected float32 (N, {shape}).")
        if not np.isfinite(images).all():
            raise InferenceError("network input has values that are not numbers.")
        logits, features = self._run(np.ascontiguousarray(images))
        count = images.shape[0]
        if logits.shape != (count, outputs) or features.ndim != 4 or features.shape[0] != count:
            raise InferenceError(f"network output has shape {logits.shape}, expected ({count}, {outputs}).")
        if not (np.isfinite(logits).all() and np.isfinite(features).all()):
            raise InferenceError("network output has values that are not numbers.")
        return Prediction(logits, self.calibrated(logits), features)

    def refusals(self, prediction: Prediction) -> list[Refusal | None]:
        """What the guard says to each of N predicted images: why it must not be told, or None. No second pass."""
        if self.guard is None:
            return [None] * len(prediction.logits)
        return [self.guard.refusal(float(distance)) for distance in self.guard.distances(prediction.features)]

    def calibrated(self, logits: Float32) -> Float32:
        """Probabilities float32 (N, K) in [0, 1] of logits (N, K): sigmoid(logit / temperature + bias)."""
        findings = self.bundle.metadata.findings
        temperature = np.array([finding.temperature for finding in findings], dtype=np.float64)
        bias = np.array([finding.bias for finding in findings], dtype=np.float64)
        exponent = np.clip(-(logits / temperature + bias), -700.0, 700.0)
        return (1.0 / (1.0 + np.exp(exponent))).astype(np.float32)


def findings(
    bundle: Bundle, probabilities: Float32, regions: Sequence[Region | None] | None = None
) -> tuple[Finding, ...]:
    """Name one image's numbers.

    Parameters
    ----------
    probabilities : ndarray
        float32 (K,): one row of :attr:`Prediction.probabilities`.
    regions : sequence of Region or None, optional
        One per finding; kept for positive findings only.

    Returns
    -------
    tuple of Finding
        In the bundle's order, negatives included.
    """
    specs = bundle.metadata.findings
    named = []
    for spec, value, region in zip(specs, probabilities, regions or [None] * len(specs), strict=True):
        score = Score(value=float(value), threshold=spec.threshold, kind=bundle.metadata.calibration.score_kind)
        named.append(
            Finding(
                key=spec.key,
                code=spec.code,
                site=spec.site,
                laterality=spec.laterality,
                score=score,
                urgency=spec.urgency,
                region=region if score.positive else None,
            )
        )
    return tuple(named)


def _gpu_device_file() -> bool:
    """Whether a driver shows a GPU (Linux, Windows' Linux): answered without importing torch."""
    return Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()
