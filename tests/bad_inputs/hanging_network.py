"""A bundle whose network computes for ever on anything but a blank image: no exception, no end."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from site_bundles import enable_all

from models.bundle import METADATA, NETWORK
from models.registry import SHIPPED


def write(folder: Path) -> Path:
    """The phantom's bundle below ``folder``, altered, with a checksum to match, enabled; returns the folder."""
    bundle = Path(shutil.copytree(SHIPPED / "phantom-cxr", folder / "phantom-cxr"))
    model = onnx.load(bundle / NETWORK)
    _hang(model.graph)
    onnx.save(model, bundle / NETWORK)
    metadata = json.loads((bundle / METADATA).read_text())
    metadata["files"][NETWORK] = hashlib.sha256((bundle / NETWORK).read_bytes()).hexdigest()
    (bundle / METADATA).write_text(json.dumps(metadata))
    enable_all(folder)
    return folder


def _hang(graph: onnx.GraphProto) -> None:
    """logits + 0 x (a loop of 10^15 turns where the image has a positive pixel, of none where it is blank)."""
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == "logits":
                node.output[index] = "quick_logits"
    turn = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["going_on"]),
            helper.make_node("Add", ["count", "one"], ["counted"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("counted", TensorProto.FLOAT, []),
        ],
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.float32(0), "nothing"),
            numpy_helper.from_array(np.float32(1), "one"),
            numpy_helper.from_array(np.int64(10**15), "turns"),
            numpy_helper.from_array(np.array(True), "always"),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
            helper.make_node("Greater", ["brightest", "nothing"], ["picture"]),
            helper.make_node("Cast", ["picture"], ["is_picture"], to=TensorProto.INT64),
            helper.make_node("Mul", ["is_picture", "turns"], ["trips"]),
            helper.make_node("Loop", ["trips", "always", "nothing"], ["total"], body=turn),
            helper.make_node("Mul", ["total", "nothing"], ["none"]),
            helper.make_node("Add", ["quick_logits", "none"], ["logits"]),
        ]
    )
