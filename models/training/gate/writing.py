"""A finished gate as files: weights, graph, figures, card, and the checksums that bind them."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file

from models.bundle import file_digest
from models.gate.appearance import Appearance
from models.gate.metadata import CARD, EVALUATION, FILES, METADATA, NETWORK, WEIGHTS, GateMetadata
from models.gate.view import CHANNELS, SIDE
from models.metadata import TrainingSummary
from models.training.gate.network import GateNetwork, parameters
from models.training.gate.plan import INTENDED_USE, LIMITS, NOTES, GatePlan
from triage.errors import BundleError

_OPSET = 17
_TOLERANCE = 1e-4


def write_gate(
    directory: Path, network: GateNetwork, plan: GatePlan, evaluation: Mapping[str, Any], *, real_chests: int, date: str
) -> Path:
    """Write all files of a gate beside ``directory``, then put them there.

    Raises
    ------
    BundleError
        The exported graph does not give the numbers of the network, or ``directory`` is no gate.
    """
    if directory.exists() and not (directory / METADATA).is_file() and any(directory.iterdir()):
        raise BundleError(f"{directory} exists and is not a gate; it is left alone.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        network = network.cpu().eval()
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, work / WEIGHTS)
        _export(network, work / NETWORK)
        (work / EVALUATION).write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        metadata = _metadata(plan, evaluation, real_chests, date)
        (work / CARD).write_text(render(metadata, evaluation, parameters(network)), encoding="utf-8")
        metadata = metadata.model_copy(update={"files": {name: file_digest(work / name) for name in FILES}})
        (work / METADATA).write_text(metadata.model_dump_json(indent=1) + "\n", encoding="utf-8")
        work.chmod(0o755)
        for path in work.iterdir():
            path.chmod(0o644)
        if directory.exists():
            shutil.rmtree(directory)
        work.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return directory


def render(metadata: GateMetadata, evaluation: Mapping[str, Any], weights: int) -> str:
    """The gate's card, Markdown."""
    test = evaluation["test"]
    rows = ["| pictures | of | pass |", "|---|---|---|"]
    for name, words in (("real", "real frontal chests, test side"), ("phantoms", "phantoms never seen")):
        for kind, passed in test[name]["accepted"].items():
            rows.append(f"| {words}, {kind.replace('_', ' ')} | {test[name]['images']} | {passed} |")
    for name, row in test["drawn"].items():
        words = name.replace("_", " ")
        rows.append(f"| drawn or varied as in training, never seen: {words} | {row['images']} | {row['accepted']} |")
    return "\n\n".join(
        [
            f"# {metadata.name} {metadata.version}",
            "## Intended use",
            metadata.intended_use,
            "## What it cannot do",
            "\n".join(f"- {limit}" for limit in metadata.limits),
            "## Measured",
            "\n".join(rows),
            f"A picture passes from {metadata.accept:g} on (probability of a frontal chest): the operating point was "
            "set on varied validation chests alone. Neither training nor the operating point has seen a patient of the "
            "real test chests. That one of them does not pass upright may be right: their table does not say which are "
            "inverted or of infants.",
            "## How it was made",
            f"- Data: {metadata.training.data} ({metadata.training.images} samples, seed {metadata.training.seed})\n"
            f"- Network: {weights} weights, {CHANNELS} x {SIDE} x {SIDE} input\n"
            f"- {metadata.training.notes}\n"
            "- `firstread models train-gate --images FOLDER --table nih_labels.csv --out FOLDER` makes it again\n"
            f"- {metadata.manufacturer}, {metadata.training.date}; licence of the weights: {metadata.licence}",
        ]
    ) + "\n"  # fmt: skip


def _metadata(plan: GatePlan, evaluation: Mapping[str, Any], real_chests: int, date: str) -> GateMetadata:
    return GateMetadata(
        format_version=1,
        name="frontal-chest-gate",
        version="1.0.0",
        manufacturer="firstread project",
        licence="Apache-2.0",
        intended_use=INTENDED_USE,
        limits=LIMITS,
        classes=tuple(name.value for name in Appearance),
        accept=evaluation["accept"],
        name_it=plan.name_it,
        training=TrainingSummary(
            data=f"{real_chests} frontal chests of NIH ChestX-ray14 (NIH Clinical Center; Wang et al., CVPR 2017; free "
            f"use with attribution), {plan.phantoms} firstread phantoms, and drawings",
            images=plan.samples,
            seed=plan.seed,
            date=date,
            notes=NOTES,
        ),
        files={},
    )


def _export(network: GateNetwork, path: Path) -> None:
    example = torch.rand((2, CHANNELS, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["view"],
            output_names=["logits", "embedding"],
            dynamic_axes={"view": {0: "n"}, "logits": {0: "n"}, "embedding": {0: "n"}},
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (actual,) = session.run(["logits"], {"view": example.numpy()})
    with torch.inference_mode():
        expected = network(example)[0].numpy()
    if not float(np.abs(actual - expected).max()) <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise BundleError(f"{path.name} does not give the numbers of the network.")
