"""Every spelling of the field lands in the same network, and that network gives the original's numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_samples import Arrays, arrays, torchvision_network
from torch import Tensor, nn

from models import networks
from models.importing.assemble import fitting_architecture
from models.importing.backbone import read_backbone
from models.importing.layouts import Recognised, recognise, transposed
from triage.errors import ForeignModelError

CLOSE = 2e-5
"""Largest difference, as a share of the largest value: the same sums in another order."""


def ours(tensors: Arrays, architecture: str | None = None) -> networks.Network:
    """What an import makes of the tensors."""
    recognised = recognise(tensors, "file")
    found = fitting_architecture(recognised, architecture, "file")
    head = {"classifier.weight": recognised.weight, "classifier.bias": recognised.bias}
    return networks.build_for(found, networks.as_tensors({**recognised.body, **head}))


@torch.inference_mode()
def assert_same_numbers(original: Callable[[Tensor], Tensor], network: networks.Network, image: Tensor) -> Tensor:
    expected = original(image)
    logits, features = network(image)
    if len(image) > 1:
        assert float((expected[0] - expected[1]).abs().max() / expected.abs().max()) > 1e-3, "blind to the picture"
    assert float((logits - expected).abs().max() / expected.abs().max()) < CLOSE
    # The promise of explanation "cam": the head applied to the mean of the map is the answer.
    again = features.mean(dim=(2, 3)) @ network.classifier.weight.T + network.classifier.bias
    assert float((again - expected).abs().max() / expected.abs().max()) < CLOSE
    return features


def picture(channels: int = 3, side: int = 64) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "channels", "side", "options"),
    [
        ("densenet121", 3, 64, {}),
        ("resnet18", 3, 64, {}),
        ("resnet50", 1, 64, {}),
        ("efficientnet_b0", 3, 64, {}),
        ("convnext_tiny", 1, 64, {}),
        ("squeezenet1_1", 3, 64, {}),
        ("shufflenet_v2_x0_5", 1, 64, {}),
        ("vit_b_16", 3, 32, {"image_size": 32}),
    ],
)
def test_torchvision_gives_the_same_numbers(name: str, channels: int, side: int, options: dict[str, Any]) -> None:
    original = torchvision_network(name, 5, channels=channels, **options)
    network = ours(arrays(original))
    assert_same_numbers(original, network, picture(channels, side))


def test_the_member_of_a_family_is_told_by_its_tensors() -> None:
    for name in ("resnet34", "densenet169", "efficientnet_b2", "convnext_small", "squeezenet1_0"):
        with torch.device("meta"):
            original = torchvision_shapes(name)
        recognised = recognise(original, "file")
        assert fitting_architecture(recognised, None, "file") == name


def torchvision_shapes(name: str) -> Arrays:
    import torchvision  # noqa: PLC0415

    network = getattr(torchvision.models, name)(num_classes=2)
    return {key: np.broadcast_to(np.float32(0), tuple(tensor.shape)) for key, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def densenet() -> nn.Module:
    return torchvision_network("densenet121", 14)


def old_spelling(name: str) -> str:
    """As in torch 0.3: "norm.1" for "norm1"."""
    return re.sub(r"(denselayer\d+)\.(norm|conv)([12])", r"\1.\2.\3", name)


def test_chexnet_spelling_gives_the_same_numbers(densenet: nn.Module) -> None:
    def chexnet(name: str) -> str:
        return "module.densenet121." + old_spelling(name).replace("classifier.", "classifier.0.")

    tensors = {n: a for n, a in arrays(densenet, chexnet).items() if not n.endswith("num_batches_tracked")}
    assert "module.densenet121.features.denseblock1.denselayer1.norm.1.weight" in tensors
    network = ours(tensors)
    assert_same_numbers(densenet, network, picture())
    # Sigmoid stands inside the original's classifier and has no weights: our logits are what it took.
    sequential = nn.Sequential(densenet, nn.Sigmoid())
    with torch.inference_mode():
        torch.testing.assert_close(torch.sigmoid(network(picture())[0]), sequential(picture()))


def test_monai_spelling_gives_the_same_numbers(densenet: nn.Module) -> None:
    def monai_name(name: str) -> str:
        name = re.sub(r"(denselayer\d+)\.", r"\1.layers.", name)
        return name.replace("classifier.", "class_layers.out.")

    tensors = arrays(densenet, monai_name)
    assert "features.denseblock1.denselayer1.layers.norm1.weight" in tensors
    assert_same_numbers(densenet, ours(tensors), picture())


def test_torchxrayvision_resnet_stands_below_model() -> None:
    original = torchvision_network("resnet18", 18, channels=1)
    network = ours(arrays(original, lambda name: f"model.{name}"))
    assert_same_numbers(original, network, picture(1))


@pytest.mark.parametrize("name", ["densenet121", "convnext_tiny"])
def test_exchanged_rows_and_columns(name: str) -> None:
    original = torchvision_network(name, 3)
    recognised = transposed(recognise(arrays(original), "file"))
    head = {"classifier.weight": recognised.weight, "classifier.bias": recognised.bias}
    network = networks.build_for(name, networks.as_tensors({**recognised.body, **head}))
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    features = assert_same_numbers(lambda x: original(x.swapaxes(2, 3)), network, image)
    assert features.shape[2:] == (2, 3)  # the map lies as the image does


def test_one_tensor_in_two_spellings_is_refused() -> None:
    name = "features.denseblock1.denselayer1.norm1.weight"
    with pytest.raises(ForeignModelError, match="twice, in two spellings"):
        recognise({name: np.zeros(64), old_spelling(name): np.ones(64)}, "file")


def test_a_transformer_cannot_be_exchanged() -> None:
    source = Recognised("vit", {}, np.zeros((1, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ForeignModelError, match="transformer"):
        transposed(source)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("layer3.0.bn1.weight"), r"resnet18: missing are features\.layer3\.0\.bn1\.weight"),
        (lambda t: t.update(extra=np.zeros(2)), r"too many are features\.extra"),
        (lambda t: t.update({"bn1.bias": np.zeros(63)}), r"of another shape are features\.bn1\.bias"),
        (lambda t: t.pop("fc.weight"), r"head of this resnet is not one linear layer.*fc\.bias"),
        (lambda t: t.update({"fc.3.weight": np.zeros((5, 5)), "fc.3.bias": np.zeros(5)}), "not one linear layer"),
        (lambda t: t.update({"fc.bias": np.zeros(4)}), "not one linear layer"),
        (lambda t: t.pop("layer1.0.conv1.weight"), "of no architecture that is known here"),
    ],
)
def test_incomplete_weights_are_named(change: Callable[[Arrays], object], words: str) -> None:
    tensors = torchvision_shapes_of_resnet()
    change(tensors)
    with pytest.raises(ForeignModelError, match=words):
        fitting_architecture(recognise(tensors, "file"), None, "file")


def torchvision_shapes_of_resnet() -> Arrays:
    with torch.device("meta"):
        return torchvision_shapes("resnet18")


def test_another_family_than_described() -> None:
    recognised = recognise(torchvision_shapes_of_resnet(), "file")
    with pytest.raises(ForeignModelError, match="file is a resnet, described as densenet121"):
        fitting_architecture(recognised, "densenet121", "file")


def test_batch_counters_of_old_files_are_filled_in() -> None:
    tensors = {n: a for n, a in torchvision_shapes_of_resnet().items() if not n.endswith("num_batches_tracked")}
    assert fitting_architecture(recognise(tensors, "file"), None, "file") == "resnet18"


@pytest.mark.parametrize("exclusive_rest", [1, 2])
def test_log_odds_are_a_softmax(exclusive_rest: int) -> None:
    scores = torch.tensor([[3.0, -20.0, 1.0], [0.0, 80.0, -80.0]])
    rest = torch.tensor([[0.5, 2.0], [-1.0, 9.0]])[:, :exclusive_rest]
    expected = torch.softmax(torch.cat([scores, rest], dim=1).double(), dim=1)[:, :3].float()
    torch.testing.assert_close(torch.sigmoid(networks.log_odds(scores, rest)), expected)


def test_a_colour_backbone_gives_grey_pictures_what_it_gave(tmp_path: Path) -> None:
    path = tmp_path / "imagenet.pth"
    torch.save(torchvision_network("shufflenet_v2_x0_5", 1000).state_dict(), path)
    image = picture(1)
    answers = []
    for channels in (1, 3):
        network = networks.build("shufflenet_v2_x0_5", 2, channels=channels).eval()
        body = read_backbone(path, "shufflenet_v2_x0_5", channels=channels)
        missing, unexpected = network.load_state_dict(body, strict=False)
        assert (missing, unexpected) == (["classifier.weight", "classifier.bias"], [])
        with torch.inference_mode():
            answers.append(network.features(image.expand(-1, channels, -1, -1)))
    assert float((answers[0] - answers[1]).abs().max() / answers[0].abs().max()) < CLOSE


def test_a_grey_backbone_is_spread_over_three_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.pth"
    torch.save(torchvision_network("shufflenet_v2_x0_5", 2, channels=1).state_dict(), path)
    grey = read_backbone(path, "shufflenet_v2_x0_5")["features.conv1.0.weight"]
    colour = read_backbone(path, "shufflenet_v2_x0_5", channels=3)["features.conv1.0.weight"]
    torch.testing.assert_close(colour.sum(dim=1, keepdim=True), grey)
    with pytest.raises(ForeignModelError, match="shufflenet_v2_x1_0: of another shape"):
        read_backbone(path, "shufflenet_v2_x1_0")
