"""The network: ours with and without heat maps, plain torch, bare ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from alternating import Timing, alternate
from numpy.typing import NDArray

from models import networks
from models.bundle import NETWORK, Bundle
from models.bundle_writer import write_bundle
from models.explaining.methods import explainer
from models.inference import Predictor
from models.metadata import InputSpec
from models.registry import SHIPPED

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
GRAD_CAM = "torch: Grad-CAM of one finding by backward(), the common recipe"


def measure(folder: Path, *, repeats: int, tiny: bool) -> str:
    """Markdown tables, one per network and size."""
    torch.manual_seed(0)
    sizes = (64,) if tiny else (224, 512)
    architecture = "shufflenet_v2_x0_5" if tiny else "densenet121"
    bundles = [_fresh(folder, architecture, size) for size in sizes]
    shipped = Bundle.load(SHIPPED / "phantom-cxr")
    parts = ["## The network"]
    for bundle in (*bundles, shipped):
        for batch in (1, 8):
            parts.append(_table(bundle, batch, repeats))
    parts.append(
        "Ours is `Predictor.predict`: checks of input and output, feature map, calibrated scores. Heat maps are those "
        "of all findings by the closed form, not yet laid over the image; what they cost is measured alone, because "
        "two forward passes differ by more. Both runtimes use all cores; ours does not let idle threads spin, the bare "
        "one does (its default)."
    )
    return "\n\n".join(parts)


def _fresh(folder: Path, architecture: str, size: int) -> Bundle:
    """A bundle with fresh weights; everything but network, input and number of findings is borrowed."""
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
        per_second = 1000 * batch / timing.median
        ratio = taken[EAGER].median / timing.median
        lines.append(f"| {name} | {timing.text(batch)} | {per_second:.1f} | {ratio:.2f} |")
    lines += ["", *_goals(taken, best)]
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

    return {
        OURS: lambda: predictor.predict(images),
        MAPPED: lambda: map_all(predictor.predict(images).features),
        MAPS: lambda: map_all(known),
        EAGER: lambda: eager(network, batch),
        CHANNELS_LAST: lambda: eager(last, batch.to(memory_format=torch.channels_last)),
        ORT: lambda: session.run(["logits"], {"image": images}),
        GRAD_CAM: grad_cam,
    }


def _goals(taken: dict[str, Timing], best: float) -> list[str]:
    ours = taken[OURS].median
    return [
        f"Ours is {best / ours:.2f} × the best of the others (goal ≥ 1), {taken[EAGER].median / ours:.2f} × torch "
        f"eager (goal ≥ 1.8). A forward with all heat maps costs {(ours + taken[MAPS].median) / ours:.3f} × one "
        f"without (goal ≤ 1.05), torch's Grad-CAM of one finding {taken[GRAD_CAM].median / taken[EAGER].median:.2f} ×."
    ]
