"""One image over all cores, many images on a core each: the same numbers either way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.cpu_network import CpuNetwork
from triage.errors import BundleError, InferenceError


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 1, 64, 96)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tiny_bundle: Bundle) -> CpuNetwork:
    return CpuNetwork(tiny_bundle.network, threads=2)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_any_number_of_images_gives_the_graphs_own_numbers(
    network: CpuNetwork, tiny_bundle: Bundle, count: int
) -> None:
    plain = onnxruntime.InferenceSession(str(tiny_bundle.network), providers=["CPUExecutionProvider"])
    expected = plain.run(["logits", "features"], {"image": images(count)})
    for ours, theirs in zip(network(images(count)), expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)  # each in its place


def test_one_core_reads_them_one_after_the_other(network: CpuNetwork, tiny_bundle: Bundle) -> None:
    alone = CpuNetwork(tiny_bundle.network, threads=1)
    np.testing.assert_allclose(alone(images(3))[0], network(images(3))[0], atol=1e-5)


def test_several_threads_may_share_it(network: CpuNetwork) -> None:
    batches = [images(4, seed) for seed in range(6)]
    expected = [network(batch)[0] for batch in batches]
    with ThreadPoolExecutor(3) as callers:
        found = list(callers.map(lambda batch: network(batch)[0], batches))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_graph_may_call_its_batch_as_it_likes(tiny_bundle: Bundle, tmp_path: Path) -> None:
    graph = onnx.load(tiny_bundle.network)
    for entry in (*graph.graph.input, *graph.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(graph, tmp_path / "network.onnx")
    logits, features = CpuNetwork(tmp_path / "network.onnx", threads=2)(images(3))
    np.testing.assert_allclose(logits, CpuNetwork(tiny_bundle.network)(images(3))[0], atol=1e-5)
    assert len(features) == 3


def test_images_the_graph_does_not_take(network: CpuNetwork) -> None:
    with pytest.raises(InferenceError, match="ONNX Runtime failed"):
        network(images(2)[:, :, :32])


def test_graph_with_other_outputs(tiny_bundle: Bundle, tmp_path: Path) -> None:
    graph = onnx.load(tiny_bundle.network)
    del graph.graph.output[1]
    onnx.save(graph, tmp_path / "network.onnx")
    with pytest.raises(BundleError, match="'logits' and 'features'"):
        CpuNetwork(tmp_path / "network.onnx")
