"""The network: ours with and without heat maps, plain torch, bare ONNX Runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from alternating import Timing, alternate
from numpy.typing import NDArray

from dicom_node import results
from models import networks
from models.bundle import NETWORK, Bundle
from models.bundle_writer import write_bundle
from models.cpu_network import SPIN_MICROSECONDS
from models.explaining.methods import explainer
from models.explaining.placing import upscale
from models.inference import Predictor
from models.metadata import BundleMetadata, InputSpec
from models.placement import Placement
from models.registry import SHIPPED
from triage.findings import Finding, ImageResult, Score, ScoreKind, Urgency

OUTPUTS = 18
"""Findings of the DenseNet-121, as torchxrayvision's have them."""
OURS, MAPPED, EAGER, CHANNELS_LAST, ORT = (
    "ours",
    "ours + a heat map per finding",
    "torch eager",
    "torch eager, channels last",
    "bare ONNX Runtime, logits only",
)
MAPS = "those heat maps alone"
OVERLAY = "the map of one finding over a radiograph of 2500 × 2048, drawn at 1024, alone"
PRODUCT = "sgemm 2048³ on all cores: the bound of this network"
GRAD_CAM = "torch: Grad-CAM of one finding by backward(), the common recipe"


def measure_shipped(_folder: Path, *, repeats: int, tiny: bool) -> str:  # noqa: ARG001 - small as it is
    """Markdown tables of phantom-cxr."""
    return _tables("The network that ships", Bundle.load(SHIPPED / "phantom-cxr"), repeats)


def measure_224(folder: Path, *, repeats: int, tiny: bool) -> str:
    """Markdown tables of a DenseNet-121 at 224²."""
    return _tables("A large network", _fresh(folder, tiny, 224), repeats)


def measure_512(folder: Path, *, repeats: int, tiny: bool) -> str:
    """Markdown tables of a DenseNet-121 at 512²."""
    return _tables("A large network on large images", _fresh(folder, tiny, 512), repeats)


def _tables(title: str, bundle: Bundle, repeats: int) -> str:
    said = (
        "Ours is `Predictor.predict`: checks of input and output, feature map, calibrated scores. Heat maps are those "
        "of all findings by the closed form, not yet laid over the image; what they cost is measured alone, because "
        "two forward passes differ by more. The bound is the time that the network's multiplications take at the speed "
        "of the faster of numpy's and torch's matrix product. Both runtimes use all cores; a thread of ours looks out "
        f"for work for {SPIN_MICROSECONDS} µs, one of the bare session for ONNX Runtime's default of milliseconds."
    )
    tables = []
    for batch in (1, 8):
        tables.append(_table(bundle, batch, repeats))
        print(tables[-1], file=sys.stderr, flush=True)  # the next one may take minutes
    return "\n\n".join([f"## {title}", *tables, said])


def _fresh(folder: Path, tiny: bool, size: int) -> Bundle:
    """A bundle with fresh weights; everything but network, input and number of findings is borrowed."""
    torch.manual_seed(0)
    architecture, size = ("shufflenet_v2_x0_5", 64) if tiny else ("densenet121", size)
    metadata = Bundle.load(SHIPPED / "phantom-cxr").metadata
    findings = tuple(metadata.findings[0].model_copy(update={"key": f"finding_{k}"}) for k in range(OUTPUTS))
    metadata = metadata.model_copy(
        update={
            "name": f"bench-{size}",
            "architecture": architecture,
            "input": InputSpec(height=size, width=size, mean=0.5, std=0.25),
            "findings": findings,
        }
    )
    network = networks.build(architecture, OUTPUTS)
    return write_bundle(folder / metadata.name, metadata, network.state_dict(), evaluation={}, model_card="")


def _table(bundle: Bundle, batch: int, repeats: int) -> str:
    metadata = bundle.metadata
    size = metadata.input.height
    images = np.random.default_rng(1).normal(size=(batch, 1, size, metadata.input.width)).astype(np.float32)
    taken = alternate(_calls(bundle, images), repeats)
    bound = _bound(taken, _multiplications(bundle))
    best = min(taken[name].median for name in (EAGER, CHANNELS_LAST, ORT))
    title = (
        f"{metadata.architecture}, {size} × {metadata.input.width}, batch {batch}, {len(metadata.findings)} findings"
    )
    if bundle.directory.parent == SHIPPED:
        title += f" ({metadata.name})"
    lines = [
        f"### {title}",
        "",
        "| route | ms per image | images/s | times torch eager's speed |",
        "|---|---|---|---|",
    ]
    for name, timing in taken.items():
        if name in _PRODUCTS:
            continue
        per_second = 1000 * batch / timing.median
        ratio = taken[EAGER].median / timing.median
        lines.append(f"| {name} | {timing.text(batch)} | {per_second:.1f} | {ratio:.2f} |")
    lines.append(f"| {PRODUCT} | {bound:.2f} | {1000 / bound:.1f} | {taken[EAGER].median / batch / bound:.2f} |")
    lines += ["", *_goals(taken, best, bound * batch)]
    return "\n".join(lines)


def _calls(bundle: Bundle, images: NDArray[np.float32]) -> dict[str, Callable[[], Any]]:
    metadata = bundle.metadata
    predictor = Predictor.load(bundle, "cpu")
    explain = explainer(predictor, "cam")
    assert explain is not None
    network = networks.restore(metadata.architecture, len(metadata.findings), bundle.weights)
    last = networks.restore(metadata.architecture, len(metadata.findings), bundle.weights)
    last = last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    session = onnxruntime.InferenceSession(str(bundle.directory / NETWORK), providers=["CPUExecutionProvider"])
    batch = torch.from_numpy(images)
    known = predictor.predict(images).features
    rows = range(len(metadata.findings))
    overlay = _overlay(metadata)

    def map_all(features_of_all: NDArray[np.float32]) -> None:
        for image, features in zip(images, features_of_all, strict=True):
            explain(image, features, rows)

    def eager(module: Any, given: torch.Tensor) -> None:
        with torch.inference_mode():
            module(given)

    def grad_cam() -> None:
        for one in batch:
            features = network.features(one[None])
            logit = network.classifier(features.mean(dim=(2, 3)))[0, 0]
            features.retain_grad()
            logit.backward()
            gradient = features.grad
            torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1))

    calls: dict[str, Callable[[], Any]] = {
        OURS: lambda: predictor.predict(images),
        MAPPED: lambda: map_all(predictor.predict(images).features),
        MAPS: lambda: map_all(known),
        EAGER: lambda: eager(network, batch),
        CHANNELS_LAST: lambda: eager(last, batch.to(memory_format=torch.channels_last)),
        ORT: lambda: session.run(["logits"], {"image": images}),
        **_PRODUCTS,
    }
    if len(images) == 1:
        calls[OVERLAY] = lambda: overlay(explain(images[0], known[0], [0])[0])
        calls[GRAD_CAM] = grad_cam
    return calls


def _overlay(metadata: BundleMetadata) -> Callable[[NDArray[np.float32]], Any]:
    display = np.random.default_rng(2).random((2500, 2048), np.float32)
    placement = Placement.of(*display.shape, metadata.input)
    marked = Finding(
        key=metadata.findings[0].key, code=metadata.findings[0].code, site=None,
        score=Score(value=1.0, threshold=0.5, kind=ScoreKind.UNCALIBRATED_PROBABILITY), urgency=Urgency.ROUTINE,
    )  # fmt: skip
    result = ImageResult(sop_instance_uid="2.25.1", findings=(marked,))

    def draw(activation: NDArray[np.float32]) -> Any:
        over = upscale(activation, placement, 1024, 839)
        return results.draw_overlay(display, over, result, marked=marked, width=1024, height=1024)

    return draw


_SIDE = 2048
_FACTORS = np.random.default_rng(3).normal(size=(2, _SIDE, _SIDE)).astype(np.float32)
_PRODUCTS: dict[str, Callable[[], Any]] = {
    "numpy's product": lambda: np.matmul(_FACTORS[0], _FACTORS[1]),
    "torch's product": lambda: torch.mm(torch.from_numpy(_FACTORS[0]), torch.from_numpy(_FACTORS[1])),
}


def _bound(taken: dict[str, Timing], multiplications: int) -> float:
    """Milliseconds of one image, were it nothing but one large matrix product."""
    return min(taken[name].median for name in _PRODUCTS) * multiplications / _SIDE**3


def _multiplications(bundle: Bundle) -> int:
    """Of the convolutions for one image."""
    metadata = bundle.metadata
    network = networks.restore(metadata.architecture, len(metadata.findings), bundle.weights)
    counted: list[int] = []
    for part in network.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(
                lambda layer, _given, out: counted.append(out[0].numel() * layer.weight[0].numel())
            )
    with torch.inference_mode():
        network(torch.zeros(1, metadata.channels, metadata.input.height, metadata.input.width))
    return sum(counted)


def _goals(taken: dict[str, Timing], best: float, bound: float) -> list[str]:
    ours = taken[OURS].median
    goals = [
        f"Ours is {best / ours:.2f} × the best of the others (goal ≥ 1), {taken[EAGER].median / ours:.2f} × torch "
        f"eager (goal ≥ 1.8). A forward with all heat maps costs {(ours + taken[MAPS].median) / ours:.3f} × one "
        f"without (goal ≤ 1.05). Ours takes {ours / bound:.2f} × the bound (goal ≤ 1.2)."
    ]
    if GRAD_CAM in taken:
        goals[0] += (
            f" One finding with its overlay costs {(ours + taken[OVERLAY].median) / taken[ORT].median:.2f} × the "
            f"forward of bare ONNX Runtime (goal ≤ 1.5), torch's Grad-CAM without one "
            f"{taken[GRAD_CAM].median / taken[EAGER].median:.2f} × a forward of torch."
        )
    return goals
