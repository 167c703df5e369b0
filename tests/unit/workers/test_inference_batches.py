"""What waits forms a batch where there is a GPU; on a CPU the first study does not wait for the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from node_under_test import Node
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from triage.states import AnalysisStatus
from workers.analysis import analyse_due


@pytest.mark.parametrize(("device", "expected"), [("cuda", [3]), ("cpu", [1, 1, 1])])
def test_waiting_studies_are_scored(
    node: Node, phantom: Callable[..., Dataset], device: Any, expected: list[int]
) -> None:
    """The network is the CPU's in both cases: how batches form does not depend on who multiplies."""
    bench = node.bench
    batches: list[int] = []
    bundle = bench.registry.get("phantom-cxr")
    real = bench.predictor(bundle)

    def run(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        batches.append(len(images))
        prediction = real.predict(images)
        return prediction.logits, prediction.features

    bench._predictors = {key: replace(one, device=device, _run=run) for key, one in bench._predictors.items()}
    studies = [phantom(seed) for seed in (1, 2, 3)]
    for dataset in studies:
        node.receive(dataset)
    analyse_due(bench)
    assert batches == expected
    for dataset in studies:
        (analysis,) = node.study(dataset).analyses
        assert analysis.status is AnalysisStatus.SUCCEEDED
        assert len(analysis.images) == 1
