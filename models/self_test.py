"""Does a bundle compute here what it computed where it was made? Checksums, shapes, and a stored input and answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.bundle import NETWORK, SELF_TEST, Bundle
from models.inference import Predictor
from models.metadata import InputSpec
from triage.errors import BundleError

_TOLERANCE = 1e-3


def verify(bundle: Bundle) -> None:
    """Check every byte, the shapes and the self-test. Takes about as long as loading the network.

    Raises
    ------
    BundleError
        A checksum differs, the weights do not fit the findings, or the self-test gives other logits.
    """
    bundle.check_files()
    head, _ = bundle.head()
    if head.shape[0] != len(bundle.metadata.findings):
        raise BundleError(f"{bundle.weights} has {head.shape[0]} outputs for {len(bundle.metadata.findings)} findings.")
    _run(bundle)


def self_test_input(spec: InputSpec, seed: int, channels: int = 1) -> NDArray[np.float32]:
    """A picture that every machine computes alike, as network input float32 (1, channels, height, width).

    display(r, c) = 0.5 + 0.5 sin(0.11 r + seed) cos(0.07 c), then (display - mean) / std; all channels show it.
    """
    rows = np.sin(0.11 * np.arange(spec.height) + seed)[:, None]
    columns = np.cos(0.07 * np.arange(spec.width))[None, :]
    display = 0.5 + 0.5 * rows * columns
    picture = np.asarray((display - spec.mean) / spec.std, dtype=np.float32)
    return np.repeat(picture[None, None], channels, axis=1)


def write_self_test(work: Path, spec: InputSpec, seed: int = 7, channels: int = 1) -> None:
    """Store what the network in ``work`` answers to :func:`self_test_input`."""
    session = onnxruntime.InferenceSession(str(work / NETWORK), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": self_test_input(spec, seed, channels)})
    record = {
        "formula": "display(r, c) = 0.5 + 0.5 sin(0.11 r + seed) cos(0.07 c); input = (display - mean) / std",
        "seed": seed,
        "logits": [float(value) for value in logits[0]],
        "tolerance": _TOLERANCE * max(1.0, float(np.abs(logits).max())),
    }
    (work / SELF_TEST).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _run(bundle: Bundle) -> None:
    try:
        record = json.loads((bundle.directory / SELF_TEST).read_bytes())
        seed, tolerance = int(record["seed"]), float(record["tolerance"])
        expected = np.asarray(record["logits"], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{bundle.directory / SELF_TEST} is not a self-test: {error!r}.") from error
    prediction = Predictor.load(bundle, device="cpu").predict(
        self_test_input(bundle.metadata.input, seed, bundle.metadata.channels)
    )
    actual = prediction.logits[0].astype(np.float64)
    if actual.shape != expected.shape or not np.abs(actual - expected).max() <= tolerance:
        raise BundleError(f"{bundle.network} does not give the logits of its self-test.")
    # The graph is a second copy of the weights: it must be a copy of *these* weights.
    weight, bias = bundle.head()
    pooled = prediction.features[0].mean(axis=(1, 2))
    if weight.shape[1] != pooled.shape[0] or not np.abs(weight @ pooled + bias - actual).max() <= tolerance:
        raise BundleError(f"{bundle.network} and {bundle.weights} do not belong together.")
