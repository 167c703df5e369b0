"""Heat maps by every method: equal where theory says so, complete, deterministic, and on the planted patch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_samples import make_metadata
from numpy.typing import NDArray

from models import networks
from models.bundle import Bundle
from models.explaining.activation import class_activation_map, to_peak
from models.explaining.gradients import (
    grad_cam,
    grad_cam_plus_plus,
    head_gradients,
    hirescam,
    pooled_linear_gradients,
)
from models.explaining.integrated import integrated_gradients
from models.explaining.methods import METHODS, explainer
from models.explaining.occlusion import covered, occlusion_maps
from models.inference import Outputs, Predictor
from triage.errors import ExplanationError

Float32 = NDArray[np.float32]
seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int) -> tuple[Float32, Float32]:
    """A feature map after ReLU and the weights of two classes."""
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.normal(size=(6, 4, 5)), 0).astype(np.float32)
    return features, rng.normal(size=(2, 6)).astype(np.float32)


def pooled_head(weights: Float32) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda features: features.mean(dim=(2, 3)) @ torch.from_numpy(weights).T


# --- the family of CAM ---


@given(seeds)
def test_cam_is_grad_cam_and_hirescam_where_pooling_and_one_layer_end_the_network(seed: int) -> None:
    features, weights = drawn(seed)
    gradients = head_gradients(pooled_head(weights), features, 1)
    cam = class_activation_map(features, weights[1])
    np.testing.assert_allclose(grad_cam(features, gradients), cam, atol=1e-4)
    np.testing.assert_allclose(hirescam(features, gradients), cam, atol=1e-4)
    np.testing.assert_allclose(pooled_linear_gradients(weights[1], 4, 5), gradients, rtol=1e-5)


def test_grad_cam_and_hirescam_differ_where_a_gradient_changes_from_cell_to_cell() -> None:
    """Draelos & Carin 2020: the average over cells is what blurs Grad-CAM."""
    features, _ = drawn(3)
    gradients = np.random.default_rng(4).normal(size=features.shape).astype(np.float32)
    by_hand = np.maximum((gradients * features).sum(axis=0), 0)
    np.testing.assert_allclose(hirescam(features, gradients), by_hand / by_hand.max(), rtol=1e-5)
    assert np.abs(hirescam(features, gradients) - grad_cam(features, gradients)).max() > 0.1


@given(seeds)
def test_grad_cam_plus_plus_weighs_as_its_paper_does(seed: int) -> None:
    """Chattopadhay et al. 2018, equation 19, channel by channel, for a score exp(logit)."""
    features, weights = drawn(seed)
    gradients = pooled_linear_gradients(weights[0], 4, 5).astype(np.float64)
    evidence = np.zeros((4, 5))
    for channel, (a, g) in enumerate(zip(features.astype(np.float64), gradients, strict=True)):
        alpha = [[g[i, j] ** 2 / (2 * g[i, j] ** 2 + a.sum() * g[i, j] ** 3) for j in range(5)] for i in range(4)]
        weight = sum(alpha[i][j] * max(g[i, j], 0.0) for i in range(4) for j in range(5))
        evidence += weight * features[channel]
    expected = to_peak(evidence.astype(np.float32))
    np.testing.assert_allclose(grad_cam_plus_plus(features, gradients.astype(np.float32)), expected, atol=1e-4)


@given(seeds)
def test_maps_of_all_classes_at_once_are_those_of_each(seed: int) -> None:
    features, weights = drawn(seed)
    together = class_activation_map(features, weights)
    for row in range(2):
        np.testing.assert_allclose(together[row], class_activation_map(features, weights[row]), atol=1e-6)
    assert together.dtype == np.float32
    assert set(together.max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
    assert together.min() >= 0.0


def test_nothing_speaks_for_the_class() -> None:
    assert not class_activation_map(np.ones((2, 3, 3), np.float32), np.array([-1, -2], np.float32)).any()


def test_gradients_that_are_no_numbers_are_refused() -> None:
    features, _ = drawn(1)
    with pytest.raises(ExplanationError, match="finite"):
        head_gradients(lambda f: torch.sqrt(f - f).sum(dim=(1, 2, 3))[:, None], features, 0)


def test_the_closed_form_is_grad_cam_of_the_whole_network(tiny_bundle: Bundle) -> None:
    """Selvaraju et al. 2017, equations 1 and 2, by automatic differentiation; ours from ONNX Runtime's features."""
    network = networks.restore("shufflenet_v2_x0_5", 2, tiny_bundle.weights)
    image = torch.randn(1, 1, 64, 96, generator=torch.Generator().manual_seed(3))
    predictor = Predictor.load(tiny_bundle, device="cpu")
    prediction = predictor.predict(image.numpy())
    for row in range(2):
        features = network.features(image).detach().requires_grad_()
        logit = network.classifier(features.mean(dim=(2, 3)))[0, row]
        (gradient,) = torch.autograd.grad(logit, features)
        theirs = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1))[0].detach()
        for method in ("cam", "grad-cam", "hirescam"):
            explain = explainer(predictor, method)
            assert explain is not None
            (ours,) = explain(image.numpy()[0], prediction.features[0], [row])
            np.testing.assert_allclose(ours, (theirs / theirs.max()).numpy(), atol=1e-3)


# --- a network whose reason is known: the mean of a patch ---


PATCH = np.s_[8:16, 16:24]


def patch_network(images: Float32) -> Float32:
    """Logit 0 rises with the brightness of one patch, logit 1 falls with it."""
    inside = images[:, 0, *PATCH].mean(axis=(1, 2))
    return np.stack([inside, -inside], axis=1)


def test_occlusion_finds_the_planted_patch() -> None:
    image = np.full((1, 32, 32), 0.1, np.float32)
    image[0, *PATCH] = 1.0
    maps = occlusion_maps(patch_network, image, passes=49)
    assert maps.shape == (2, 8, 8)  # 4 pixels a cell
    patch = np.zeros((8, 8), bool)
    patch[2:4, 4:6] = True
    assert to_peak(maps[0])[patch].min() > 2 * to_peak(maps[0])[~patch].max()
    assert maps[1][patch].max() < 0  # it speaks against the other
    assert np.abs(maps[:, :, 7]).max() == 0


def test_occlusion_keeps_to_its_number_of_passes() -> None:
    seen: list[int] = []

    def logits(images: Float32) -> Float32:
        seen.append(len(images))
        return patch_network(images)

    occlusion_maps(logits, np.zeros((1, 32, 32), np.float32), passes=60, batch=8)
    assert sum(seen) <= 61
    assert max(seen) <= 8
    with pytest.raises(ValueError, match="no map"):
        occlusion_maps(logits, np.zeros((1, 32, 32), np.float32), passes=4)


@given(seeds)
def test_integrated_gradients_add_up(seed: int) -> None:
    """Completeness (Sundararajan et al. 2017, proposition 1) on a small network with a kink in it."""
    torch.manual_seed(seed % 1000)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(3, 2),
    ).eval()  # fmt: skip
    image = np.random.default_rng(seed).normal(size=(1, 12, 10)).astype(np.float32)
    found = integrated_gradients(network, image, 1, baseline=-2.0)
    with torch.inference_mode():
        ends = network(torch.stack([torch.full((1, 12, 10), -2.0), torch.from_numpy(image)]))[:, 1]
    assert found.values.shape == (12, 10)
    assert float(found.values.sum()) == pytest.approx(
        float(ends[1] - ends[0]), abs=0.05 * max(abs(found.difference), 0.1)
    )
    heat = found.heat()
    assert heat.min() >= 0.0
    assert heat.max() in {0.0, 1.0}


def test_integrated_gradients_find_the_pixel_that_counts() -> None:
    image = np.full((1, 8, 8), 0.5, np.float32)
    found = integrated_gradients(lambda x: 3 * x[:, :, 2, 5], image, 0, baseline=0.0)
    assert found.values[2, 5] == pytest.approx(1.5)
    assert found.gap == pytest.approx(0.0, abs=1e-6)
    assert np.count_nonzero(found.values) == 1


def test_attributions_that_do_not_add_up_are_refused() -> None:
    def cliff(x: torch.Tensor) -> torch.Tensor:  # all of the rise lies between two steps, where no gradient sees it
        return torch.sigmoid(2000 * (x.mean(dim=(1, 2, 3)) - 0.5))[:, None]

    with pytest.raises(ExplanationError, match="miss the score"):
        integrated_gradients(cliff, np.ones((1, 4, 4), np.float32), 0, baseline=0.0, most_steps=32)


def test_integrated_gradients_begin_at_the_black_of_the_bundle(tiny_bundle: Bundle) -> None:
    """A letterbox is as black as the baseline: nothing is attributed to it, whatever range the network takes."""
    spec = make_metadata().input.model_copy(update={"value_range": "-1024..1024", "mean": 0.0, "std": 512.0})
    metadata = make_metadata(explanation="integrated-gradients").model_copy(update={"input": spec})
    predictor = Predictor.load(Bundle(tiny_bundle.directory, metadata), device="cpu", threads=1)
    starts: list[float] = []

    class Watching(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            starts.append(float(images[0].detach().min()))
            return (images.mean(dim=(2, 3)).repeat(1, 2),)

    explain = explainer(predictor, network=Watching())  # type: ignore[arg-type]
    assert explain is not None
    explain(np.zeros((1, 64, 96), np.float32), np.zeros((1, 2, 3), np.float32), [0])
    assert min(starts) == -2.0


def test_a_covered_square_has_the_mean_of_each_channel() -> None:
    image = np.stack([np.full((32, 32), value, np.float32) for value in (-2.0, 5.0)])
    np.testing.assert_array_equal(covered(image, 3, 4, 8), image)


def test_integrated_gradients_without_weights_cost_the_map_and_not_the_score(tiny_bundle: Bundle) -> None:
    metadata = make_metadata(explanation="integrated-gradients").model_copy(update={"architecture": "onnx"})
    explain = explainer(Predictor.load(Bundle(tiny_bundle.directory, metadata), device="cpu", threads=1))
    assert explain is not None
    with pytest.raises(ExplanationError, match="need the network's weights"):
        explain(np.zeros((1, 64, 96), np.float32), np.zeros((1, 2, 3), np.float32), [0])


# --- what every method keeps to ---


@pytest.fixture(scope="module")
def predictor(tiny_bundle: Bundle) -> Predictor:
    return Predictor.load(tiny_bundle, device="cpu", threads=1)


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_between_0_and_1_over_the_whole_input_and_always_the_same(predictor: Predictor, method: str) -> None:
    image = np.random.default_rng(8).normal(size=(1, 64, 96)).astype(np.float32)
    features = predictor.predict(image[None]).features[0]
    explain = explainer(predictor, method)
    assert explain is not None
    maps = explain(image, features, [1, 0])
    assert maps.dtype == np.float32
    assert (maps.ndim, len(maps)) == (3, 2)
    assert np.isfinite(maps).all()
    assert maps.min() >= 0.0
    assert maps.max() <= 1.0
    np.testing.assert_array_equal(maps, explain(image, features, [1, 0]))
    np.testing.assert_allclose(maps[1], explain(image, features, [0])[0], atol=1e-6)


def test_the_bundle_chooses(tiny_bundle: Bundle) -> None:
    def predictor_for(explanation: str) -> Predictor:
        bundle = Bundle(tiny_bundle.directory, make_metadata(explanation=explanation))

        def run(images: Float32) -> Outputs:
            return Outputs(np.zeros((len(images), 2), np.float32), np.ones((len(images), 4, 2, 3), np.float32))

        return Predictor(bundle, "cpu", np.ones((2, 4), np.float32), run)

    assert explainer(predictor_for("none")) is None
    image, features = np.zeros((1, 64, 96), np.float32), np.ones((4, 2, 3), np.float32)
    cam, occlusion = explainer(predictor_for("cam")), explainer(predictor_for("occlusion"))
    assert cam is not None
    assert occlusion is not None
    assert cam(image, features, [0]).shape == (1, 2, 3)
    assert occlusion(image, features, [0]).shape[1] > 3
    with pytest.raises(ExplanationError, match="guess"):
        explainer(predictor_for("cam"), "guess")


def test_another_head_is_differentiated(predictor: Predictor) -> None:
    """A head that squares before it pools: the gradient is no constant, so the closed form would be wrong."""
    features, weights = drawn(5)

    def head(f: torch.Tensor) -> torch.Tensor:
        return (f**2).mean(dim=(2, 3)) @ torch.from_numpy(weights).T

    explain = explainer(predictor, "hirescam", head=head)
    assert explain is not None
    (ours,) = explain(np.zeros((1, 64, 96), np.float32), features, [0])
    expected = to_peak(np.tensordot(weights[0], features**2, axes=1))
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_only_integrated_gradients_load_torch(tiny_bundle: Bundle) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from models.bundle import Bundle; from models.inference import Predictor\n"
        "from models.explaining.methods import METHODS, explainer\n"
        "from models.explaining import faithfulness, regions\n"
        "from models.self_test import self_test_input\n"
        f"predictor = Predictor.load(Bundle.load(Path({str(tiny_bundle.directory)!r})), device='cpu', threads=1)\n"
        "image = self_test_input(predictor.bundle.metadata.input, 1)\n"
        "features = predictor.predict(image).features[0]\n"
        "for method in METHODS[:-1]: explainer(predictor, method)(image[0], features, [0, 1])\n"
        "explainer(predictor, METHODS[-1])\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=180)
