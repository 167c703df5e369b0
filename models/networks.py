"""Networks from torchvision, cut so that their class activation maps have a closed form. Needs torch.

Every network here ends in ReLU → global average pooling → one linear layer. For such a network the
gradient of logit k with respect to the last feature map is the constant ``weight[k] / (h w)``, so Grad-CAM
equals CAM (Zhou et al. 2016; Selvaraju et al. 2017, appendix A) and costs one matrix product.

Imported for training, export and GPU inference only: a CPU worker runs ``network.onnx`` without torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.metadata import InputSpec
from triage.errors import BundleError

PARITY_TOLERANCE = 1e-3
"""Largest difference between torch and ONNX Runtime, as a share of the largest absolute output."""
_OPSET = 17


class Network(nn.Module):
    """A feature extractor ending in ReLU, global average pooling, a linear head.

    The state dict has ``features.*``, ``classifier.weight`` (K, C) and ``classifier.bias`` (K,).
    """

    def __init__(self, features: nn.Module, channels: int, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.dropout = nn.Dropout(p=0.2)
        self.classifier = nn.Linear(channels, outputs)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network.

        Parameters
        ----------
        image : Tensor
            float32 (N, 1, H, W), normalised as the bundle's :class:`~models.metadata.InputSpec` says.

        Returns
        -------
        logits : Tensor
            float32 (N, K), before sigmoid.
        features : Tensor
            float32 (N, C, h, w), all >= 0: the map that the head averages.
        """
        features = self.features(image)
        return self.classifier(self.dropout(features.mean(dim=(2, 3)))), features


def _for_channels(convolution: Any, channels: int) -> nn.Conv2d:
    """The same convolution for grey channels instead of three colours."""
    return nn.Conv2d(
        channels,
        convolution.out_channels,
        kernel_size=convolution.kernel_size,
        stride=convolution.stride,
        padding=convolution.padding,
        bias=convolution.bias is not None,
    )


def _shufflenet(factory: Callable[..., Any], channels: int) -> tuple[nn.Module, int]:
    source = factory(weights=None)
    source.conv1[0] = _for_channels(source.conv1[0], channels)
    names = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    return _sequence(source, names), source.fc.in_features


def _shufflenet_fine(factory: Callable[..., Any], channels: int) -> tuple[nn.Module, int]:
    """Without its last stage: a map of stride 16 instead of 32, for small things at known places."""
    source = factory(weights=None)
    source.conv1[0] = _for_channels(source.conv1[0], channels)
    width = source.stage3[-1].branch2[-3].out_channels * 2
    features = _sequence(source, ("conv1", "maxpool", "stage2", "stage3"))
    outputs = 256
    features.add_module(
        "conv4",
        nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
    )
    return features, outputs


def _resnet(factory: Callable[..., Any], channels: int) -> tuple[nn.Module, int]:
    source = factory(weights=None)
    source.conv1 = _for_channels(source.conv1, channels)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return _sequence(source, names), source.fc.in_features


def _densenet(factory: Callable[..., Any], channels: int) -> tuple[nn.Module, int]:
    source = factory(weights=None)
    features = source.features
    features.conv0 = _for_channels(features.conv0, channels)
    features.add_module("relu5", nn.ReLU(inplace=False))
    return features, source.classifier.in_features


def _sequence(source: Any, names: tuple[str, ...]) -> nn.Module:
    sequence = nn.Sequential()
    for name in names:
        sequence.add_module(name, source.get_submodule(name))
    return sequence


_ARCHITECTURES: Mapping[str, Callable[[int], tuple[nn.Module, int]]] = {
    "shufflenet_v2_x0_5": lambda channels: _shufflenet(torchvision.models.shufflenet_v2_x0_5, channels),
    "shufflenet_v2_x1_0": lambda channels: _shufflenet(torchvision.models.shufflenet_v2_x1_0, channels),
    "shufflenet_v2_x0_5_fine": lambda channels: _shufflenet_fine(torchvision.models.shufflenet_v2_x0_5, channels),
    "resnet18": lambda channels: _resnet(torchvision.models.resnet18, channels),
    "resnet50": lambda channels: _resnet(torchvision.models.resnet50, channels),
    "densenet121": lambda channels: _densenet(torchvision.models.densenet121, channels),
}
ARCHITECTURES = tuple(_ARCHITECTURES)


def build(architecture: str, outputs: int, channels: int = 1) -> Network:
    """Build a network with fresh weights for images of ``channels`` grey channels.

    Raises
    ------
    BundleError
        The architecture is not one of :data:`ARCHITECTURES`.
    """
    if architecture not in _ARCHITECTURES:
        raise BundleError(f"architecture {architecture!r} is not one of {', '.join(ARCHITECTURES)}.")
    features, width = _ARCHITECTURES[architecture](channels)
    return Network(features, width, outputs)


def restore(architecture: str, outputs: int, weights: Path, channels: int = 1) -> Network:
    """Build a network in evaluation mode from a bundle's ``weights.safetensors``.

    Raises
    ------
    BundleError
        Unreadable file, or tensors that do not fit the architecture.
    """
    network = build(architecture, outputs, channels)
    try:
        network.load_state_dict(load_file(weights), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BundleError(f"{weights.name} does not hold the weights of {architecture}: {error}") from error
    return network.eval()


def export_onnx(network: Network, spec: InputSpec, path: Path, channels: int = 1) -> None:
    """Write ``network`` as ONNX and prove that ONNX Runtime gives the same numbers.

    The graph takes "image" (N, channels, H, W) and gives "logits" (N, K) and "features" (N, C, h, w), all float32;
    N is free, H and W are fixed.

    Raises
    ------
    BundleError
        The two disagree by more than :data:`PARITY_TOLERANCE`.
    """
    network = network.cpu().eval()
    example = torch.randn(2, channels, spec.height, spec.width, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        # The exporter that needs no further package is the TorchScript one, which announces its successor.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=["logits", "features"],
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}, "features": {0: "n"}},
        )
    _check_parity(network, path, example)


def _check_parity(network: Network, path: Path, example: Tensor) -> None:
    with torch.inference_mode():
        expected = [output.numpy() for output in network(example)]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    actual = session.run(["logits", "features"], {"image": example.numpy()})
    for name, ours, theirs in zip(("logits", "features"), expected, actual, strict=True):
        scale = max(float(np.abs(ours).max()), 1e-6)
        difference = float(np.abs(ours - theirs).max()) / scale if ours.shape == theirs.shape else float("inf")
        if not difference <= PARITY_TOLERANCE:
            raise BundleError(f"ONNX export differs from torch in {name}: {difference:.2e} of the largest value.")
