"""The network's numbers: finite, calibrated, of the right shape, the same everywhere, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_samples import DATA, make_dataset

from models import networks
from models.bundle import Bundle
from models.decoding import read
from models.inference import Outputs, Predictor, findings
from models.metadata import InputSpec
from models.preparation import Prepared, prepare
from models.routing import Refusal
from models.self_test import self_test_input
from triage.errors import BundleError, InferenceError
from triage.findings import NotAnalysedReason, Region, ScoreKind


@pytest.fixture(scope="module")
def predictor(tiny_bundle: Bundle) -> Predictor:
    return Predictor.load(tiny_bundle, device="cpu", threads=1)


def images(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, 1, 64, 96)).astype(np.float32)


def test_same_numbers_as_torch(predictor: Predictor, tiny_bundle: Bundle) -> None:
    network = networks.restore("shufflenet_v2_x0_5", 2, tiny_bundle.weights)
    batch = images(3)
    with torch.inference_mode():
        logits, features = network(torch.from_numpy(batch))
    prediction = predictor.predict(batch)
    np.testing.assert_allclose(prediction.logits, logits.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(prediction.features, features.numpy(), rtol=1e-3, atol=1e-4)


def test_a_batch_is_its_images(predictor: Predictor) -> None:
    batch = images(4)
    together = predictor.predict(batch)
    for index in range(4):
        alone = predictor.predict(batch[index : index + 1])
        np.testing.assert_allclose(together.logits[index], alone.logits[0], atol=1e-5)


def test_probabilities_are_calibrated_logits(predictor: Predictor) -> None:
    prediction = predictor.predict(images(5))
    temperature, bias = np.array([2.0, 1.0]), np.array([0.0, 0.3])
    expected = 1 / (1 + np.exp(-(prediction.logits / temperature + bias)))
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)
    assert prediction.probabilities.dtype == np.float32


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=2))
def test_any_logit_gives_a_score(predictor: Predictor, logits: list[float]) -> None:
    features = np.zeros((1, 4, 2, 2), np.float32)
    constant = Predictor(
        predictor.bundle, "cpu", predictor.class_weights, lambda _: Outputs(np.array([logits], np.float32), features)
    )
    row = constant.predict(images(1)).probabilities[0]
    assert ((row >= 0) & (row <= 1)).all()
    assert len(findings(predictor.bundle, row)) == 2


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 1, 64, 64), np.float32),
        np.zeros((1, 3, 64, 96), np.float32),
        np.zeros((1, 64, 96), np.float32),
        np.zeros((1, 1, 64, 96), np.float64),
        np.full((1, 1, 64, 96), np.nan, np.float32),
        np.full((1, 1, 64, 96), np.inf, np.float32),
    ],
)
def test_unusable_input(predictor: Predictor, batch: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(InferenceError):
        predictor.predict(batch)


@pytest.mark.parametrize(
    "outputs",
    [
        Outputs(np.full((1, 2), np.nan, np.float32), np.zeros((1, 4, 2, 2), np.float32)),
        Outputs(np.zeros((1, 2), np.float32), np.full((1, 4, 2, 2), np.inf, np.float32)),
        Outputs(np.zeros((1, 3), np.float32), np.zeros((1, 4, 2, 2), np.float32)),
        Outputs(np.zeros((1, 2), np.float32), np.zeros((2, 4, 2, 2), np.float32)),
        Outputs(np.zeros((1, 2), np.float32), np.zeros((1, 4), np.float32)),
    ],
)
def test_unusable_output(predictor: Predictor, outputs: Outputs) -> None:
    broken = Predictor(predictor.bundle, "cpu", predictor.class_weights, lambda _: outputs)
    with pytest.raises(InferenceError):
        broken.predict(images(1))


def test_graph_that_cannot_be_loaded(bundle_copy: Path) -> None:
    (bundle_copy / "network.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"network\.onnx"):
        Predictor.load(Bundle.load(bundle_copy), device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_said(tiny_bundle: Bundle) -> None:
    with pytest.raises(InferenceError, match="GPU"):
        Predictor.load(tiny_bundle, device="cuda")
    assert Predictor.load(tiny_bundle).device == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_gpu_gives_the_numbers_of_the_cpu(predictor: Predictor, tiny_bundle: Bundle) -> None:
    on_gpu = Predictor.load(tiny_bundle, device="cuda")
    assert on_gpu.device == "cuda"
    batch = np.concatenate([images(7), self_test_input(tiny_bundle.metadata.input, 7)])
    ours, theirs = on_gpu.predict(batch), predictor.predict(batch)
    np.testing.assert_allclose(ours.logits, theirs.logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.features, theirs.features, rtol=1e-3, atol=1e-3)


def test_worker_never_imports_torch(tiny_bundle: Bundle) -> None:
    program = (
        "import sys; from pathlib import Path; import models.explain, models.preparation\n"
        "from models.registry import Registry; from models.inference import Predictor\n"
        "from models.self_test import self_test_input, verify\n"
        f"bundle = Registry.load([Path({str(tiny_bundle.directory.parent)!r})]).get('tiny-cxr')\n"
        "Predictor.load(bundle, device='cpu').predict(self_test_input(bundle.metadata.input, 1))\n"
        "verify(bundle)\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=180)


# --- from numbers to findings ---


def test_findings_keep_the_bundles_order_and_words(tiny_bundle: Bundle) -> None:
    somewhere = Region(outline=((0, 0), (1, 0), (1, 1), (0, 0)), peak=(0.5, 0.5))
    pneumothorax, effusion = findings(tiny_bundle, np.array([0.5, 0.39], np.float32), [somewhere, somewhere])
    assert (pneumothorax.key, effusion.key) == ("pneumothorax", "pleural_effusion")
    assert pneumothorax.positive  # at the threshold
    assert pneumothorax.region is somewhere
    assert pneumothorax.site is not None
    assert not effusion.positive
    assert effusion.region is None  # positives only
    assert effusion.score.kind is ScoreKind.UNCALIBRATED_PROBABILITY


def test_findings_need_one_number_each(tiny_bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="zip"):
        findings(tiny_bundle, np.array([0.5], np.float32))


# --- from a data set to the input ---

SPEC = InputSpec(height=64, width=96, mean=0.5, std=0.25)


def test_prepared_image_fits_the_network(predictor: Predictor) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (300, 200)).astype(np.uint16)
    prepared = prepare(make_dataset(pixels, bits_stored=12), SPEC)
    assert isinstance(prepared, Prepared)
    assert prepared.display.shape == (300, 200)
    assert predictor.predict(prepared.image[None]).logits.shape == (1, 2)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelData": b""}, NotAnalysedReason.NO_PIXELS),
        ({"PixelData": b"\x00\x01"}, NotAnalysedReason.DECODE_ERROR),
        ({"HighBit": 3}, NotAnalysedReason.DECODE_ERROR),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, NotAnalysedReason.DECODE_ERROR),
        ({}, NotAnalysedReason.OUT_OF_DISTRIBUTION),
    ],
)
def test_image_without_a_score_has_a_reason(elements: dict[str, object], reason: NotAnalysedReason) -> None:
    refusal = prepare(make_dataset(np.zeros((300, 200), np.uint16), **elements), SPEC)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert refusal.reason is NotAnalysedReason.NO_PIXELS or refusal.detail


def test_real_radiograph_goes_all_the_way(test_data: Path, predictor: Predictor) -> None:
    prepared = prepare(read(DATA / "radiograph" / "RG1_J2KI.dcm"), SPEC)
    assert isinstance(prepared, Prepared)
    assert len(findings(predictor.bundle, predictor.predict(prepared.image[None]).probabilities[0])) == 2
