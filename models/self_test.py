"""Does a bundle compute here what it computed where it was made? Checksums, shapes, and a stored input and answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from models.bundle import METADATA, NETWORK, SELF_TEST, Bundle
from models.guard import Guard
from models.inference import Predictor
from models.metadata import ONNX, InputSpec
from models.preprocessing import normalise
from triage.errors import BundleError, InferenceError

_TOLERANCE = 1e-3
"""Of logits, as a share of the largest one (of 1 at least): what processors and runtimes differ by."""
_WIDEST = 10 * _TOLERANCE
"""A stored tolerance beyond it would let other weights pass."""
_FLOATS = frozenset({"F16", "F32", "F64"})


def verify(bundle: Bundle) -> None:
    """Check every byte, the shapes and the self-test. Takes about as long as loading the network.

    Raises
    ------
    BundleError
        A checksum differs, the weights do not fit the findings, the guard does not fit the features, or the self-test
        gives other logits.
    """
    bundle.check_files()
    _check_numbers(bundle)
    head, _ = bundle.head()
    if head.shape[0] != len(bundle.metadata.findings):
        raise BundleError(f"{bundle.weights} has {head.shape[0]} outputs for {len(bundle.metadata.findings)} findings.")
    Guard.of(bundle)
    _run(bundle)


def verify_architecture(bundle: Bundle) -> None:
    """Check that the weights are those of the architecture that the metadata name, and the graph's. Needs torch.

    A CPU worker runs the exported graph, one with a GPU the weights: both have to give the same scores.

    Raises
    ------
    BundleError
        The architecture is unknown, a tensor is missing, unknown or of another shape, or the weights do not give the
        logits of the self-test.
    """
    import torch  # noqa: PLC0415 - only where a bundle is added

    from models import networks  # noqa: PLC0415

    metadata = bundle.metadata
    if metadata.architecture == ONNX:
        return
    network = networks.restore(metadata.architecture, len(metadata.findings), bundle.weights)
    stored = _Stored.read(bundle)
    try:
        with torch.inference_mode():
            logits, _ = network(torch.from_numpy(self_test_input(metadata.input, stored.seed, metadata.channels)))
    except RuntimeError as error:
        raise BundleError(f"{bundle.weights} do not take the input that {METADATA} describes.") from error
    if not stored.equals(logits[0].numpy()):
        raise BundleError(f"{bundle.network} and {bundle.weights} do not belong together.")


def _check_numbers(bundle: Bundle) -> None:
    """Every weight is a number: NaN may hide in a part of the network that the self-test's picture does not reach."""
    try:
        with safe_open(bundle.weights, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no mapping
                if tensors.get_slice(name).get_dtype() in _FLOATS and not np.isfinite(tensors.get_tensor(name)).all():
                    raise BundleError(f"{bundle.weights}: {name} has values that are not numbers.")
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{bundle.weights} is no safetensors file of weights: {error}.") from error


def self_test_input(spec: InputSpec, seed: int, channels: int | None = None) -> NDArray[np.float32]:
    """A picture that every machine computes alike, as network input float32 (1, channels, height, width).

    display(r, c) = 0.5 + 0.5 sin(0.11 r + seed) cos(0.07 c), then :func:`models.preprocessing.normalise`.

    Parameters
    ----------
    channels : int, optional
        Of a bundle that reads series, whose channels all show it; else as many as ``spec`` says.
    """
    rows = np.sin(0.11 * np.arange(spec.height) + seed)[:, None]
    columns = np.cos(0.07 * np.arange(spec.width))[None, :]
    display = 0.5 + 0.5 * rows * columns
    image = normalise(display, spec).astype(np.float32)[None]
    return image if channels is None else np.repeat(image, channels // image.shape[1], axis=1)


def write_self_test(
    work: Path, spec: InputSpec, seed: int = 7, *, channels: int | None = None, outputs: Sequence[str] = ()
) -> None:
    """Store what the network in ``work`` answers to :func:`self_test_input`.

    Parameters
    ----------
    channels : int, optional
        As of :func:`self_test_input`.
    outputs : sequence of str
        Keys of the findings, in the network's order: labels that were swapped later are found out.
    """
    session = onnxruntime.InferenceSession(str(work / NETWORK), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": self_test_input(spec, seed, channels)})
    record = {
        "formula": "display(r, c) = 0.5 + 0.5 sin(0.11 r + seed) cos(0.07 c); input = (display - mean) / std",
        "seed": seed,
        "outputs": list(outputs),
        "logits": [float(value) for value in logits[0]],
        "tolerance": _TOLERANCE * max(1.0, float(np.abs(logits).max())),
    }
    (work / SELF_TEST).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """A stored self-test: the input's seed, the logits float64 (K,) that it must give, and how nearly."""

    seed: int
    logits: NDArray[np.float64]
    tolerance: float

    @classmethod
    def read(cls, bundle: Bundle) -> _Stored:
        path = bundle.directory / SELF_TEST
        try:
            record = json.loads(path.read_bytes())
            seed, tolerance = int(record["seed"]), float(record["tolerance"])
            logits = np.asarray(record["logits"], dtype=np.float64)
            outputs = [str(key) for key in record.get("outputs", ())]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise BundleError(f"{path} is not a self-test: {error!r}.") from error
        if outputs and outputs != [finding.key for finding in bundle.metadata.findings]:
            raise BundleError(
                f"{bundle.directory}: findings stand in another order than when the self-test was stored."
            )
        if not tolerance <= _WIDEST * max(1.0, float(np.abs(logits).max(initial=0.0))):
            raise BundleError(f"{path} is a self-test that proves nothing: it allows logits to be {tolerance:g} off.")
        return cls(seed, logits, tolerance)

    def equals(self, logits: NDArray[Any]) -> bool:
        """Whether these logits (K,) are the stored ones."""
        same_size = logits.shape == self.logits.shape and logits.size > 0
        return same_size and bool(np.abs(logits - self.logits).max() <= self.tolerance)


def _run(bundle: Bundle) -> None:
    stored = _Stored.read(bundle)
    image = self_test_input(bundle.metadata.input, stored.seed, bundle.metadata.channels)
    try:
        prediction = Predictor.load(bundle, device="cpu").predict(image)
    except InferenceError as error:
        reason = str(error).rstrip(".")
        raise BundleError(f"{bundle.network} does not read what {METADATA} describes: {reason}.") from error
    if not stored.equals(prediction.logits[0]):
        raise BundleError(f"{bundle.network} does not give the logits of its self-test.")
    # The graph is a second copy of the weights: it must be a copy of *these* weights.
    weight, _ = bundle.head()
    pooled = prediction.features[0].mean(axis=(1, 2))
    if weight.shape[1] != pooled.shape[0] or not stored.equals(_answer(bundle, pooled)):
        raise BundleError(f"{bundle.network} and {bundle.weights} do not belong together.")


def _answer(bundle: Bundle, pooled: NDArray[np.float32]) -> NDArray[np.float64]:
    """The logits (K,) that the head in the weights file gives for a pooled feature map (C,)."""
    weight, bias = bundle.head()
    scores = np.asarray(weight @ pooled + bias, dtype=np.float64)
    rest = bundle.rest()
    if rest is None:
        return scores
    every = np.concatenate([scores, rest[0] @ pooled + rest[1]])
    others = np.where(np.eye(len(scores), len(every), dtype=bool), -np.inf, every)
    return np.asarray(scores - np.logaddexp.reduce(others, axis=1), dtype=np.float64)
