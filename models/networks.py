"""Networks from torchvision, cut so that their class activation maps have a closed form. Needs torch.

Every network here ends in a feature map → global average pooling → one linear layer. For such a network the
gradient of logit k with respect to the map is the constant ``weight[k] / (h w)``, so Grad-CAM equals CAM (Zhou et
al. 2016; Selvaraju et al. 2017, appendix A) and costs one matrix product. ConvNeXt and SqueezeNet, which end
otherwise, are rewritten into this form without changing a number; a vision transformer's class token is a map of
one cell, which shows no place.

Imported for training, import, export and GPU inference only: a CPU worker runs ``network.onnx`` without torch.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torchvision
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.metadata import InputSpec
from triage.errors import BundleError

PARITY_TOLERANCE = 1e-3
"""Largest difference between torch and ONNX Runtime, as a share of the largest absolute output."""
_OPSET = 17
_PATCH = 16
_NEVER = -1e4


class Network(nn.Module):
    """A feature extractor, global average pooling, a linear head.

    The state dict has ``features.*``, ``classifier.weight`` (K, C) and ``classifier.bias`` (K,); where the classes
    exclude each other also ``rest.weight`` (R, C) and ``rest.bias`` (R,), for the classes that are no findings.

    Parameters
    ----------
    maps : int
        C, channels of the last feature map.
    outputs : int
        K, findings.
    rest : int
        R; 0: each finding is decided by itself (sigmoid). Else all K + R classes share one softmax.
    """

    def __init__(self, features: nn.Module, maps: int, outputs: int, rest: int = 0) -> None:
        super().__init__()
        self.features = features
        self.dropout = nn.Dropout(p=0.2)
        self.classifier = nn.Linear(maps, outputs)
        self.rest = nn.Linear(maps, rest) if rest else None

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network.

        Parameters
        ----------
        image : Tensor
            float32 (N, channels, H, W), normalised as the bundle's :class:`~models.metadata.InputSpec` says.

        Returns
        -------
        logits : Tensor
            float32 (N, K), before sigmoid.
        features : Tensor
            float32 (N, C, h, w): the map that the head averages, >= 0 in networks that end in ReLU.
        """
        features = self.features(image)
        pooled = self.dropout(features.mean(dim=(2, 3)))
        scores = self.classifier(pooled)
        return scores if self.rest is None else log_odds(scores, self.rest(pooled)), features


def log_odds(scores: Tensor, rest: Tensor) -> Tensor:
    """The logits whose sigmoids are a softmax: each class against all the others.

    Parameters
    ----------
    scores, rest : Tensor
        float32 (N, K) and (N, R), before the softmax over all K + R classes.

    Returns
    -------
    Tensor
        float32 (N, K).
    """
    wanted, every = scores.shape[1], scores.shape[1] + rest.shape[1]
    itself = _NEVER * torch.eye(wanted, every, dtype=scores.dtype, device=scores.device)
    others = torch.cat([scores, rest], dim=1)[:, None, :] + itself
    return scores - torch.logsumexp(others, dim=2)


class ClassToken(nn.Module):
    """A torchvision vision transformer up to its class token, as a map of one cell: (N, C, 1, 1)."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.class_token, self.conv_proj, self.encoder = source.class_token, source.conv_proj, source.encoder

    def forward(self, image: Tensor) -> Tensor:
        patches = self.conv_proj(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        token: Tensor = self.encoder(tokens)[:, 0]
        return token[:, :, None, None]


class NormalisedMap(nn.Module):
    """A map whose spatial mean is the layer norm of the body's spatial mean (ConvNeXt normalises after pooling).

    Layer norm is affine once its own mean and deviation are known, and an affine step may change places with the mean.
    """

    def __init__(self, body: nn.Module, norm: Any) -> None:
        super().__init__()
        self.body, self.norm = body, nn.LayerNorm(norm.normalized_shape, eps=norm.eps)

    def forward(self, image: Tensor) -> Tensor:
        features = self.body(image)
        pooled = features.mean(dim=(2, 3), keepdim=True)
        centre = pooled.mean(dim=1, keepdim=True)
        variance = (pooled - centre).square().mean(dim=1, keepdim=True)
        weight, bias = (parameter[:, None, None] for parameter in (self.norm.weight, self.norm.bias))
        normalised: Tensor = (features - centre) / torch.sqrt(variance + self.norm.eps) * weight + bias
        return normalised


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a network is wanted for: input channels, image side (transformers), maps of its own (SqueezeNet)."""

    channels: int
    side: int
    maps: int


_Cut = tuple[nn.Module, int]


def _for_channels(convolution: Any, channels: int) -> nn.Conv2d:
    """The same convolution for so many grey channels instead of three colours."""
    if channels == convolution.in_channels:
        return convolution  # type: ignore[no-any-return]
    return nn.Conv2d(
        channels,
        convolution.out_channels,
        kernel_size=convolution.kernel_size,
        stride=convolution.stride,
        padding=convolution.padding,
        bias=convolution.bias is not None,
    )


def _shufflenet(factory: Callable[..., Any], wish: _Wish) -> _Cut:
    source = factory(weights=None)
    source.conv1[0] = _for_channels(source.conv1[0], wish.channels)
    names = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    return _sequence(source, names), source.fc.in_features


def _shufflenet_fine(factory: Callable[..., Any], wish: _Wish) -> _Cut:
    """Without its last stage: a map of stride 16 instead of 32, for small things at known places."""
    source = factory(weights=None)
    source.conv1[0] = _for_channels(source.conv1[0], wish.channels)
    width = source.stage3[-1].branch2[-3].out_channels * 2
    features = _sequence(source, ("conv1", "maxpool", "stage2", "stage3"))
    last = nn.Sequential(nn.Conv2d(width, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU(inplace=True))
    features.add_module("conv4", last)
    return features, 256


def _resnet(factory: Callable[..., Any], wish: _Wish) -> _Cut:
    source = factory(weights=None)
    source.conv1 = _for_channels(source.conv1, wish.channels)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return _sequence(source, names), source.fc.in_features


def _densenet(factory: Callable[..., Any], wish: _Wish) -> _Cut:
    source = factory(weights=None)
    features = source.features
    features.conv0 = _for_channels(features.conv0, wish.channels)
    features.add_module("relu5", nn.ReLU(inplace=False))
    return features, source.classifier.in_features


def _efficientnet(factory: Callable[..., Any], wish: _Wish) -> _Cut:
    source = factory(weights=None)
    source.features[0][0] = _for_channels(source.features[0][0], wish.channels)
    return source.features, source.classifier[1].in_features


def _convnext(factory: Callable[..., Any], wish: _Wish) -> _Cut:
    source = factory(weights=None)
    source.features[0][0] = _for_channels(source.features[0][0], wish.channels)
    return NormalisedMap(source.features, source.classifier[0]), source.classifier[2].in_features


def _squeezenet(factory: Callable[..., Any], wish: _Wish) -> _Cut:
    source = factory(weights=None, num_classes=wish.maps)
    source.features[0] = _for_channels(source.features[0], wish.channels)
    parts = {"body": source.features, "score": source.classifier[1], "relu": nn.ReLU()}
    return nn.Sequential(OrderedDict(parts)), wish.maps


def _vit(factory: Callable[..., Any], wish: _Wish) -> _Cut:
    source = factory(weights=None, image_size=wish.side)
    source.conv_proj = _for_channels(source.conv_proj, wish.channels)
    return ClassToken(source), source.hidden_dim


def _sequence(source: Any, names: tuple[str, ...]) -> nn.Module:
    sequence = nn.Sequential()
    for name in names:
        sequence.add_module(name, source.get_submodule(name))
    return sequence


_FINE = "_fine"
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "shufflenet": ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    "shufflenet-fine": (f"shufflenet_v2_x0_5{_FINE}",),
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet101"),
    "densenet": ("densenet121", "densenet169", "densenet201"),
    "efficientnet": ("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3"),
    "convnext": ("convnext_tiny", "convnext_small"),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1"),
    "vit": ("vit_b_16",),
}
"""Torchvision's names by family, and "_fine" for one without its last stage; a family spells its tensors in one way."""
ARCHITECTURES = tuple(name for names in FAMILIES.values() for name in names)
_MAKERS: Mapping[str, Callable[[Callable[..., Any], _Wish], _Cut]] = {
    "shufflenet": _shufflenet,
    "shufflenet-fine": _shufflenet_fine,
    "resnet": _resnet,
    "densenet": _densenet,
    "efficientnet": _efficientnet,
    "convnext": _convnext,
    "squeezenet": _squeezenet,
    "vit": _vit,
}


def family(architecture: str) -> str:
    """The key of :data:`FAMILIES` that an architecture belongs to.

    Raises
    ------
    BundleError
        The architecture is not one of :data:`ARCHITECTURES`.
    """
    for name, members in FAMILIES.items():
        if architecture in members:
            return name
    raise BundleError(f"architecture {architecture!r} is not one of {', '.join(ARCHITECTURES)}.")


def build(
    architecture: str, outputs: int, *, channels: int = 1, side: int = 224, maps: int | None = None, rest: int = 0
) -> Network:
    """Build a network with fresh weights.

    Parameters
    ----------
    channels : int
        Of the input: 1 or 3 for images, any number for series.
    side : int
        Pixels, for transformers, which know one size only.
    maps : int, optional
        For SqueezeNet, whose last map has a channel per class: how many; one per finding by default.
    rest : int
        Classes that are no findings, in a softmax with the findings.

    Raises
    ------
    BundleError
        The architecture is not one of :data:`ARCHITECTURES`.
    """
    make = _MAKERS[family(architecture)]
    wish = _Wish(channels, side, maps or outputs)
    features, width = make(getattr(torchvision.models, architecture.removesuffix(_FINE)), wish)
    return Network(features, width, outputs, rest)


def body_shapes(architecture: str, *, channels: int, side: int, maps: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of ``features``, without computing any weight."""
    with torch.device("meta"):
        network = build(architecture, 1, channels=channels, side=side, maps=maps)
    return {f"features.{name}": tuple(tensor.shape) for name, tensor in network.features.state_dict().items()}


def as_tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Arrays as torch's tensors; numbers that safetensors does not know become float32."""
    known = {name: a if a.dtype.kind in "fiub" else a.astype(np.float32) for name, a in arrays.items()}
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in known.items()}


def build_for(architecture: str, tensors: Mapping[str, Tensor]) -> Network:
    """The network that a state dict of it belongs to, holding these weights, in evaluation mode.

    Raises
    ------
    BundleError
        Tensors are missing, left over, of another shape or not float32.
    """
    head, position = tensors.get("classifier.weight"), tensors.get("features.encoder.pos_embedding")
    if head is None or head.ndim != 2 or (position is not None and position.ndim != 3):
        raise BundleError(f"no weights of {architecture}: classifier.weight is missing or no matrix.")
    size = {
        "side": 224 if position is None else _PATCH * math.isqrt(position.shape[1] - 1),
        "maps": head.shape[1],
        "rest": len(tensors["rest.weight"]) if "rest.weight" in tensors else 0,
    }
    with torch.device("meta"):  # shapes alone: the numbers come from the file
        network = build(architecture, head.shape[0], **size)
        first = next(name for name, parameter in network.named_parameters() if parameter.ndim == 4)
        if first in tensors and tensors[first].ndim == 4 and tensors[first].shape[1] > 1:
            network = build(architecture, head.shape[0], channels=tensors[first].shape[1], **size)
    wrong = [name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.dtype != torch.float32]
    if wrong:
        raise BundleError(f"{wrong[0]} is {tensors[wrong[0]].dtype}, not float32.")
    try:
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise BundleError(f"no weights of {architecture}: {' '.join(str(error).split())[:300]}") from error
    return network.eval()


def restore(architecture: str, outputs: int, weights: Path) -> Network:
    """Build a network in evaluation mode from a bundle's ``weights.safetensors``.

    Raises
    ------
    BundleError
        Unreadable file, or tensors that do not fit the architecture and the number of outputs.
    """
    family(architecture)
    try:
        tensors = load_file(weights)
        network = build_for(architecture, tensors)
    except (OSError, SafetensorError, BundleError) as error:
        raise BundleError(f"{weights.name} does not hold the weights of {architecture}: {error}") from error
    found = network.classifier.out_features
    if found != outputs:
        raise BundleError(
            f"{weights.name} does not hold the weights of {architecture} with {outputs} outputs, but {found}."
        )
    return network


def export_onnx(network: Network, spec: InputSpec, path: Path, channels: int) -> None:
    """Write ``network`` as ONNX and prove that ONNX Runtime gives the same numbers.

    The graph takes "image" (N, channels, H, W) and gives "logits" (N, K) and "features" (N, C, h, w), all float32;
    N is free, H and W are fixed.

    Raises
    ------
    BundleError
        The two disagree by more than :data:`PARITY_TOLERANCE`.
    """
    network = network.cpu().eval()
    size = 2, channels, spec.height, spec.width
    example = torch.randn(size, generator=torch.Generator().manual_seed(0))
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
