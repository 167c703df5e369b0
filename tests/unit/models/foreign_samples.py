"""Models as other libraries write them: fresh weights, small, never trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save_model
from torch import nn

Arrays = dict[str, NDArray[Any]]


def torchvision_network(name: str, classes: int, *, channels: int = 3, seed: int = 0, **options: Any) -> nn.Module:
    """Fresh weights whose answer depends on the picture, in evaluation mode."""
    torch.manual_seed(seed)
    network: nn.Module = getattr(torchvision.models, name)(num_classes=classes, **options)
    if channels == 1:
        make_grey(network)
    return made_alive(network, channels)


def made_alive(network: nn.Module, channels: int, *, spread: float = 1.0) -> nn.Module:
    """A network just made, whose answer now depends on pictures whose values spread so; in evaluation mode."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.normal_(norm.bias, std=0.1)
        norm.momentum = 1.0
    if norms:
        # Averages of real activations: with untouched ones the picture fades away from layer to layer.
        with torch.no_grad():
            network.train()(spread * torch.randn(8, channels, 64, 64))
    for name_, parameter in network.named_parameters():
        if name_.endswith("layer_scale"):
            nn.init.uniform_(parameter, 0.5, 1.0)  # torchvision's own 1e-6 hides what the blocks compute
        if name_ == "heads.head.weight":
            nn.init.normal_(parameter, std=0.05)  # torchvision's own is zero
    return network.eval()


def make_grey(network: nn.Module) -> None:
    """One input channel, as torchxrayvision's networks have."""
    name, first = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    grey = nn.Conv2d(1, first.out_channels, first.kernel_size, first.stride, first.padding, bias=first.bias is not None)
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, grey)


def arrays(network: nn.Module, rename: Callable[[str], str] = str) -> Arrays:
    return {rename(name): tensor.numpy() for name, tensor in network.state_dict().items()}


def save_graph(
    path: Path,
    *,
    classes: int = 3,
    last: str = "",
    pooling: str = "GlobalAveragePool",
    channels: int = 1,
    batch: str | int = "n",
    opset: int = 17,
    extra: list[Any] | None = None,
    after: str = "Identity",
) -> Path:
    """Convolution → ReLU → pooling → Gemm (→ last → after), 32 x 32 pixels; weights from a fixed seed."""
    rng = np.random.default_rng(5)
    weights = {
        "conv.w": rng.normal(0, 0.5, (4, channels, 3, 3)),
        "fc.w": rng.normal(0, 1, (classes, 4)),
        "fc.b": rng.normal(0, 1, classes),
    }
    nodes = [
        helper.make_node("Conv", ["picture", "conv.w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["map"]),
        helper.make_node(pooling, ["map"], ["p"], **({"kernel_shape": [32, 32]} if pooling == "MaxPool" else {})),
        helper.make_node("Flatten", ["p"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["raw"], transB=1),
        helper.make_node(last or "Identity", ["raw"], ["activated"]),
        helper.make_node(after, ["activated"], ["answer"]),
        *(extra or []),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, channels, 32, 32])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    save_model(model, str(path))
    return path
