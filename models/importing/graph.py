"""ONNX files: read and found safe, or refused.

An ONNX file is data, but data that a runtime trusts: files beside it, own operators and loops are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from models.importing.checkpoint import digest_names
from triage.errors import ForeignModelError

LARGEST_GRAPH = (2 << 30) - 1
"""Bytes: protobuf's own limit."""
ADVICE = "Export the network anew: one image input, one output of classes, a free batch dimension, weights inside."
_OPERATORS_OF = frozenset({"", "ai.onnx", "com.microsoft"})
_NEVER_ENDING = frozenset({"Loop", "Scan", "If", "SequenceMap"})
_OLDEST_OPSET = 9


@dataclass(frozen=True, slots=True)
class GraphInput:
    """The one input: channels, and rows and columns where the graph fixes them."""

    channels: int
    height: int | None
    width: int | None


@dataclass(frozen=True, slots=True, eq=False)
class ForeignGraph:
    """An ONNX model that was read and found safe."""

    model: Any
    where: str
    input: GraphInput
    classes: int


def read(path: Path) -> ForeignGraph:
    """Read and check an ONNX file.

    Raises
    ------
    ForeignModelError
        Unreadable, unsafe, or not one image in and one row of classes out.
    """
    try:
        if path.stat().st_size > LARGEST_GRAPH:
            raise ForeignModelError(f"{path.name} is larger than {LARGEST_GRAPH} bytes.", next_step=ADVICE)
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ForeignModelError(f"{path} cannot be read: {error.strerror}.", next_step="Check the path.") from error
    except Exception as error:  # protobuf's DecodeError belongs to a package that is not ours to import
        raise ForeignModelError(f"{path.name} is no ONNX file ({type(error).__name__}).", next_step=ADVICE) from error
    _check_safe(model, path.name)
    opset = max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)
    if opset < _OLDEST_OPSET:
        raise ForeignModelError(f"{path.name} is of opset {opset}, older than {_OLDEST_OPSET}.", next_step=ADVICE)
    try:
        onnx.checker.check_model(model)
        model = onnx.shape_inference.infer_shapes(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ForeignModelError(f"{path.name} is not valid ONNX: {reason}.", next_step=ADVICE) from error
    entry = _image_input(model.graph, path.name)
    return ForeignGraph(model, path.name, entry, _classes(model.graph, path.name))


def _check_safe(model: Any, where: str) -> None:
    graph = model.graph
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain not in _OPERATORS_OF or node.op_type in _NEVER_ENDING:
            name = f"{node.domain}.{node.op_type}".lstrip(".")
            raise ForeignModelError(f"{where} uses the operator {name}, which is not run here.", next_step=ADVICE)
        for attribute in node.attribute:
            tensors += [attribute.t] if attribute.HasField("t") else attribute.tensors
    if model.functions or graph.sparse_initializer:
        raise ForeignModelError(f"{where} has functions or sparse weights of its own.", next_step=ADVICE)
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ForeignModelError(
                f"{where} keeps {tensor.name} in another file.", next_step="Save it with its weights inside (one file)."
            )
    broken = []
    for tensor in graph.initializer:
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise ForeignModelError(
                f"{where}: {tensor.name} has other numbers than announced.", next_step=ADVICE
            ) from error
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            broken.append(tensor.name)
    if broken:
        raise ForeignModelError(
            f"{where}: {digest_names(broken)} holds values that are not numbers (NaN or infinite).",
            next_step="Export an earlier checkpoint of that training: this one has diverged or is damaged.",
        )


def _image_input(graph: Any, where: str) -> GraphInput:
    inside = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in inside]
    if len(inputs) != 1:
        names = digest_names([entry.name for entry in inputs])
        raise ForeignModelError(f"{where} has {len(inputs)} inputs ({names}).", next_step=ADVICE)
    tensor = inputs[0].type.tensor_type
    shape = [size.dim_value or None for size in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT or len(shape) != 4 or shape[1] not in {1, 3}:
        raise ForeignModelError(
            f"{where} does not take float32 images (N, 1 or 3, H, W) but {shape}.", next_step=ADVICE
        )
    return GraphInput(shape[1], shape[2], shape[3])


def _classes(graph: Any, where: str) -> int:
    rows = [
        output
        for output in graph.output
        if output.type.tensor_type.elem_type == TensorProto.FLOAT and len(output.type.tensor_type.shape.dim) == 2
    ]
    if len(rows) != 1 or not rows[0].type.tensor_type.shape.dim[1].dim_value:
        names = digest_names([output.name for output in graph.output])
        raise ForeignModelError(f"{where} does not give one float32 (N, classes) output but {names}.", next_step=ADVICE)
    return int(rows[0].type.tensor_type.shape.dim[1].dim_value)
