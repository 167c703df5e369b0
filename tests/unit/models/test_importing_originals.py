"""Files as torchxrayvision and MONAI themselves write them, fresh weights inside, against what those libraries say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_samples import made_alive, torchvision_network
from peers.originals import original
from torch import nn

from models.bundle import Bundle
from models.importing.assemble import import_model
from models.importing.description import parse
from models.inference import Predictor
from models.metadata import InputSpec
from models.preprocessing import network_input
from models.self_test import verify

SIDE = {"height": 224, "width": 224}


@pytest.fixture(scope="module")
def xrv() -> Any:
    return original("torchxrayvision")


def bring(source: Path, **fields: Any) -> Bundle:
    bundle = import_model(
        source, source.parent / "out", parse({"name": "imported", **fields}, "file"), today="2026-01-02"
    )
    verify(bundle)
    return bundle


def seen(bundle: Bundle, count: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Pictures of stripes and of noise as the network gets them."""
    spec = bundle.metadata.input
    rng = np.random.default_rng(3)
    pictures = [np.clip(rng.normal(0.5, 0.2, (300 + 20 * n, 360)), 0, 1).astype(np.float32) for n in range(count)]
    pictures[0][:, ::7] = 1.0
    return np.stack([network_input(picture, spec)[0] for picture in pictures])


def scores(bundle: Bundle, images: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return Predictor.load(bundle, device="cpu").predict(images).probabilities


def weights_of(xrv: Any, name: str, network: Any, folder: Path) -> Path:
    """A file under the name, and in the form, in which torchxrayvision looks for its download."""
    path = folder / Path(xrv.models.model_urls[name]["weights_url"]).name
    torch.save(network, path)
    return path


def same_decisions(model: Any, bundle: Bundle) -> None:
    """What torchxrayvision calls 0.5 and more is what we call positive, and our score is its probability."""
    images = seen(bundle)
    ours = scores(bundle, images)
    points = model.op_threshs.numpy().astype(np.float64)
    known = np.flatnonzero(~np.isnan(points))
    assert len(known) == len(bundle.metadata.findings) == ours.shape[1]
    points = points[known]
    with torch.inference_mode():
        rescaled = model(torch.from_numpy(images)).numpy()[:, known]
    theirs = np.where(rescaled < 0.5, rescaled * 2 * points, 1 - (1 - rescaled) * 2 * (1 - points))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose([finding.threshold for finding in bundle.metadata.findings], points, rtol=1e-6)
    clear = np.abs(ours - points) > 1e-5
    np.testing.assert_array_equal((ours >= points)[clear], (rescaled >= 0.5)[clear])
    assert 0 < (ours >= points).mean() < 1, "it decides nothing"
    assert ours.std(axis=0).max() > 1e-3, "blind to the picture"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old layout"])
def test_torchxrayvision_download_of_a_densenet(xrv: Any, tmp_path: Path, zipped: bool) -> None:
    """The library's downloads are whole pickled networks."""
    name = "densenet121-res224-all"
    torch.manual_seed(4)
    fresh = made_alive(xrv.models.DenseNet(num_classes=18), channels=1, spread=512)
    path = weights_of(xrv, name, fresh, tmp_path)
    if not zipped:
        torch.save(fresh, path, _use_new_zipfile_serialization=False)
    model = xrv.models.DenseNet(weights=name, cache_dir=str(tmp_path))
    labels = model.pathologies
    points = [float(point) for point in model.op_threshs]
    named = {label: {"threshold": point} for label, point in zip(labels, points, strict=True) if label}
    bundle = bring(path, convention="torchxrayvision", labels=labels, findings=named)
    assert bundle.metadata.architecture == "densenet121"
    same_decisions(model, bundle)


def test_torchxrayvision_model_with_its_operating_points(xrv: Any, tmp_path: Path) -> None:
    """Saved by its user: labels and operating points are inside."""
    name = "densenet121-res224-all"
    torch.manual_seed(5)
    weights_of(xrv, name, made_alive(xrv.models.DenseNet(num_classes=18), channels=1, spread=512), tmp_path)
    model = xrv.models.DenseNet(weights=name, cache_dir=str(tmp_path))
    torch.save(model, tmp_path / "mine.pt")
    bundle = bring(tmp_path / "mine.pt", convention="torchxrayvision")
    same_decisions(model, bundle)


def test_torchxrayvision_download_of_a_resnet(xrv: Any, tmp_path: Path) -> None:
    """A state dict; two of its outputs have a label and no operating point."""
    name = "resnet50-res512-all"
    fresh = made_alive(torchvision_network("resnet50", 18, channels=1), channels=1, spread=512)
    weights_of(xrv, name, fresh.state_dict(), tmp_path)
    model = xrv.models.ResNet(weights=name, cache_dir=str(tmp_path))
    torch.save(model, tmp_path / "mine.pt")
    bundle = bring(tmp_path / "mine.pt", convention="torchxrayvision")
    assert {"Lung Lesion", "Enlarged Cardiomediastinum"} <= set(model.pathologies)
    assert {"lung_lesion", "enlarged_cardiomediastinum"}.isdisjoint(f.key for f in bundle.metadata.findings)
    spec = bundle.metadata.input
    assert (spec.height, spec.width) == (512, 512)
    same_decisions(model, bundle)


def test_torchxrayvision_preparation_of_an_image(xrv: Any) -> None:
    spec = InputSpec.model_validate({**SIDE, "mean": 0, "std": 1, "value_range": "-1024..1024", "fit": "centre_crop"})
    for rows, columns in ((301, 460), (460, 301), (297, 297), (330, 331)):
        stored = np.random.default_rng(1).integers(0, 256, (rows, columns), dtype=np.uint8)
        prepared = xrv.datasets.normalize(stored, 255)[None]
        for step in (xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(224, engine="cv2")):
            prepared = step(prepared)
        image, _ = network_input(stored.astype(np.float32) / 255, spec)
        np.testing.assert_allclose(image, prepared, atol=1e-3)  # of a range of 2048


@pytest.mark.parametrize("whole", [True, False], ids=["network", "state dict"])
def test_monai_densenet(tmp_path: Path, whole: bool) -> None:
    nets = original("monai.networks.nets")
    torch.manual_seed(6)
    network: nn.Module = made_alive(nets.DenseNet121(spatial_dims=2, in_channels=1, out_channels=2), channels=1)
    torch.save(network if whole else network.state_dict(), tmp_path / "model.pt")
    size = {**SIDE, "mean": 0.5, "std": 0.25}
    bundle = bring(tmp_path / "model.pt", labels=["Mass", "Effusion"], scores="sigmoid", input=size)
    images = seen(bundle)
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(images)))
    assert float(expected.std(dim=0).max()) > 1e-3, "blind to the picture"
    np.testing.assert_allclose(scores(bundle, images), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["densenet121", "resnet50"])
def test_torchvision_network_saved_whole(tmp_path: Path, name: str) -> None:
    network = nn.DataParallel(torchvision_network(name, 2))
    torch.save({"epoch": 7, "model": network}, tmp_path / "model.pth.tar")
    fields = {"labels": ["Mass", "Effusion"], "scores": "sigmoid", "convention": "torchvision"}
    bundle = bring(tmp_path / "model.pth.tar", **fields)
    images = seen(bundle)
    with torch.inference_mode():
        expected = torch.sigmoid(network.module(torch.from_numpy(images)))
    np.testing.assert_allclose(scores(bundle, images), expected, atol=1e-5)
