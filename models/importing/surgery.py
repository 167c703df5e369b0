"""An ONNX graph of elsewhere brought to "image" → "logits", "features", with the weights of its last layer.

- A final Sigmoid is taken off; a Softmax is turned into log-odds of each class against the others, and scores that were
  rescaled to an operating point into their logits, so that the sigmoid of a logit is what the graph gave before.
- The map that global average pooling sees becomes "features" where only a linear layer follows it (the class activation
  map is then exact); otherwise "features" are the logits as maps of one cell, and only occlusion can explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.importing.description import Scores
from models.importing.graph import ADVICE, ForeignGraph
from triage.errors import ForeignModelError

_SAME_NUMBERS = frozenset({"Identity", "Dropout", "Flatten", "Reshape", "Squeeze"})
_HAND_ON = _SAME_NUMBERS | {"Cast", "Clip", "Concat", "Gather", "Slice", "Split", "Transpose", "Unsqueeze"}
_TOLERANCE = 1e-3
_CERTAIN = 1e-7
"""Nearest that a rescaled score may come to 0 and 1: their logits are infinite."""
_LEAST = 1e-30
"""The same for the probabilities of a softmax."""
_OLDEST_IR = 4
"""From here on an initialiser need not be listed among the inputs."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class BundleGraph:
    """What goes into a bundle.

    Attributes
    ----------
    content : bytes
        ``network.onnx``.
    tensors : mapping of str to ndarray
        For ``weights.safetensors``: every initialiser of the graph by its name, and the head.
    explanation : str
        "cam" where the feature map was found, else "occlusion".
    """

    content: bytes
    tensors: Mapping[str, NDArray[Any]]
    explanation: Literal["cam", "occlusion"]


def to_bundle_graph(
    source: ForeignGraph, outputs: tuple[int, ...], scores: Scores, size: tuple[int, int, int]
) -> BundleGraph:
    """Bring a graph into a bundle's form.

    Parameters
    ----------
    outputs : tuple of int
        Which classes are findings, in the order of the findings.
    size : (int, int, int)
        Channels, height and width of the input.

    Raises
    ------
    ForeignModelError
        The graph cannot take several images at a time, or gives other numbers than before.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    _make_room(model.graph)
    surgery = _Surgery(model, source, scores)
    head = surgery.features_and_head()
    surgery.to_logits(outputs)
    surgery.name_the_ends(size)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    if head is None:
        weight, bias = np.eye(len(outputs), dtype=np.float32), np.zeros(len(outputs), np.float32)
        surgery.logits_as_features(len(outputs))
    else:
        weight, bias = (part[list(outputs)] for part in head)
        if surgery.exclusive:
            others = [number for number in range(source.classes) if number not in outputs]
            tensors |= {"rest.weight": head[0][others], "rest.bias": head[1][others]}
    tensors |= {"classifier.weight": weight, "classifier.bias": bias}
    model.ir_version = max(model.ir_version, _OLDEST_IR)
    _forget_its_maker(model)
    content = model.SerializeToString()
    _check_same_scores(source, content, outputs, scores, size, activated=surgery.activated)
    return BundleGraph(content, tensors, "occlusion" if head is None else "cam")


def _make_room(graph: Any) -> None:
    """Rename what already has one of our three names."""
    names = {name: f"source.{name}" for name in ("image", "logits", "features")}
    for entry in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        for side in (node.input, node.output):
            for index, name in enumerate(side):
                side[index] = names.get(name, name)


def _forget_its_maker(model: Any) -> None:
    """Free texts may hold anything, a path or a person."""
    model.producer_name, model.producer_version, model.domain = "firstread", "", ""
    model.doc_string, model.graph.doc_string, model.graph.name = "", "", "network"
    for node in model.graph.node:
        node.doc_string = ""
    for texts in (model.metadata_props, model.graph.metadata_props, model.graph.value_info):
        del texts[:]


class _Surgery:
    """One model, changed in place."""

    def __init__(self, model: Any, source: ForeignGraph, scores: Scores) -> None:
        self._graph = model.graph
        self._source = source
        self._scores = scores
        self._makers = {name: node for node in self._graph.node for name in node.output}
        self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        (self._score_name,) = (
            output.name for output in self._graph.output if len(output.type.tensor_type.shape.dim) == 2
        )
        last = self._maker(self._score_name)
        self._activation = last.op_type if last is not None and last.op_type in {"Sigmoid", "Softmax"} else None
        expected = {"sigmoid": "Sigmoid", "softmax": "Softmax"}.get(scores)
        if self._activation is not None and expected is not None and expected != self._activation:
            raise ForeignModelError(
                f"{source.where} ends in {self._activation}, the description says {scores}.",
                next_step="Correct scores in the description.",
            )
        if self._activation is None and scores != "operating-point" and self._activated_before(self._score_name):
            # A second sigmoid would squeeze every score into 0.5 to 0.73, and nobody would see it.
            raise ForeignModelError(
                f"{source.where} applies its sigmoid or softmax before its last steps.",
                next_step="Export the network so that it ends in its logits, or in one Sigmoid or Softmax.",
            )
        # What the classes were before their own activation.
        self._raw = last.input[0] if last and self._activation and scores != "operating-point" else self._score_name

    @property
    def activated(self) -> bool:
        return self._activation is not None

    @property
    def exclusive(self) -> bool:
        return self._scores == "softmax"

    def _activated_before(self, name: str) -> bool:
        """Whether the classes pass a sigmoid or softmax and then only steps that hand numbers on."""
        waiting, seen = [name], set()
        while waiting:
            node = self._makers.get(waiting.pop())
            if node is None or node.output[0] in seen:
                continue
            seen.add(node.output[0])
            if node.op_type in {"Sigmoid", "Softmax"}:
                return True
            if node.op_type in _HAND_ON:
                waiting.extend(node.input)
        return False

    def features_and_head(self) -> tuple[Float32, Float32] | None:
        """Name the map that the head averages "features"; its head (classes, C), (classes,), or None."""
        if self._scores == "operating-point":
            return None
        found = self._linear(self._raw)
        if found is None:
            return None
        weight, bias, pooled = found
        feature_map = self._pooled_map(pooled)
        if feature_map is None:
            return None
        self._graph.node.append(helper.make_node("Identity", [feature_map], ["features"]))
        return weight, bias

    def _linear(self, name: str) -> tuple[Float32, Float32, str] | None:
        """Weight, bias and input of the linear layer that makes ``name``: Gemm, or MatMul and Add."""
        node = self._maker(name)
        if node is not None and node.op_type == "Gemm":
            options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            weight = self._constant(node.input[1])
            if weight is None or options.get("transA") or options.get("alpha", 1.0) != 1.0:
                return None
            weight = weight if options.get("transB") else weight.T
            bias = self._constant(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
            return self._checked(weight, None if options.get("beta", 1.0) != 1.0 else bias, node.input[0])
        bias = None
        if node is not None and node.op_type == "Add":
            first, second = node.input
            bias, inner = self._constant(first), second
            if bias is None:
                bias, inner = self._constant(second), first
            node = self._maker(inner)
        if node is None or node.op_type != "MatMul":
            return None
        weight = self._constant(node.input[1])
        if weight is None or weight.ndim != 2:
            return None
        return self._checked(weight.T, np.zeros(weight.shape[1], np.float32) if bias is None else bias, node.input[0])

    def _checked(self, weight: Any, bias: Any, name: str) -> tuple[Float32, Float32, str] | None:
        if bias is None or weight.ndim != 2 or bias.size != len(weight) or len(weight) != self._source.classes:
            return None
        return weight.astype(np.float32), bias.reshape(-1).astype(np.float32), name

    def _maker(self, name: str) -> Any:
        """The node that computes ``name``, behind those that only hand it on; None at the ends of the graph."""
        node = self._makers.get(name)
        while node is not None and node.op_type == "Identity":
            node = self._makers.get(node.input[0])
        return node

    def _pooled_map(self, name: str) -> str | None:
        """What is averaged over its whole area to make ``name``."""
        node = self._makers.get(name)
        while node is not None and node.op_type in _SAME_NUMBERS:
            node = self._makers.get(node.input[0])
        if node is None:
            return None
        if node.op_type == "GlobalAveragePool":
            return str(node.input[0])
        if node.op_type == "ReduceMean":
            options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            axes = options.get("axes")
            if axes is None and len(node.input) > 1:
                axes = self._constant(node.input[1])
            if axes is not None and sorted(int(axis) % 4 for axis in axes) == [2, 3]:
                return str(node.input[0])
        return None

    def _constant(self, name: str) -> NDArray[Any] | None:
        if name in self._constants:
            return np.asarray(numpy_helper.to_array(self._constants[name]))
        maker = self._makers.get(name)
        if maker is not None and maker.op_type == "Constant" and maker.attribute[0].name == "value":
            return np.asarray(numpy_helper.to_array(maker.attribute[0].t))
        if maker is not None and maker.op_type == "Identity":
            return self._constant(maker.input[0])
        return None

    def to_logits(self, outputs: tuple[int, ...]) -> None:
        """Append what turns the classes into the findings' logits."""
        raw, classes = self._raw, self._source.classes
        if self._scores == "operating-point":
            for name, value in (("low", _CERTAIN), ("high", 1 - _CERTAIN), ("one", 1.0)):
                self._add_constant(name, np.float32(value))
            self._add_node("Max", [raw, "firstread.low"], "firstread.raised")
            self._add_node("Min", ["firstread.raised", "firstread.high"], "firstread.score")
            self._add_node("Sub", ["firstread.one", "firstread.score"], "firstread.against")
            self._add_node("Div", ["firstread.score", "firstread.against"], "firstread.odds")
            self._add_node("Log", ["firstread.odds"], "firstread.all")
        elif self._scores == "softmax":
            # 1 - p as the sum of the others: no digit is lost where p is nearly 1.
            self._add_constant("others", 1 - np.eye(classes, dtype=np.float32))
            self._add_constant("low", np.float32(_LEAST))
            self._add_node("Softmax", [raw], "firstread.chances", axis=1)
            self._add_node("MatMul", ["firstread.chances", "firstread.others"], "firstread.against")
            for name in ("chances", "against"):
                self._add_node("Max", [f"firstread.{name}", "firstread.low"], f"firstread.{name}_up")
                self._add_node("Log", [f"firstread.{name}_up"], f"firstread.{name}_log")
            self._add_node("Sub", ["firstread.chances_log", "firstread.against_log"], "firstread.all")
        else:
            self._add_node("Identity", [raw], "firstread.all")
        self._add_constant("findings", np.array(outputs, dtype=np.int64))
        self._add_node("Gather", ["firstread.all", "firstread.findings"], "logits", axis=1)

    def logits_as_features(self, findings: int) -> None:
        """ "features" of a graph without a map: one cell per finding, which shows no place."""
        self._add_constant("cells", np.array([-1, findings, 1, 1], dtype=np.int64))
        self._add_node("Reshape", ["logits", "firstread.cells"], "features")

    def name_the_ends(self, size: tuple[int, int, int]) -> None:
        """Call the input "image", free its batch dimension, and give out "logits" and "features" only."""
        inside = {tensor.name for tensor in self._graph.initializer}
        (entry,) = (entry for entry in self._graph.input if entry.name not in inside)
        old = entry.name
        for node in self._graph.node:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = "image"
        del self._graph.input[:]
        self._graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *size]))
        del self._graph.output[:]
        for name, rank in (("logits", 2), ("features", 4)):
            shape = ["n", *(f"{name}_{axis}" for axis in range(1, rank))]
            self._graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def _add_node(self, operator: str, inputs: list[str], output: str, **options: Any) -> None:
        self._graph.node.append(helper.make_node(operator, inputs, [output], **options))

    def _add_constant(self, name: str, value: Any) -> None:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"firstread.{name}"))


def _check_same_scores(
    source: ForeignGraph,
    content: bytes,
    outputs: tuple[int, ...],
    scores: Scores,
    size: tuple[int, int, int],
    *,
    activated: bool,
) -> None:
    """Run the original on two images one by one and ours on both at once.

    Parameters
    ----------
    activated : bool
        The original ends in its sigmoid or softmax; else it is applied here.
    """
    images = np.random.default_rng(0).standard_normal((2, *size)).astype(np.float32)
    try:
        before = _session(source.model.SerializeToString())
        entry = before.get_inputs()[0].name
        (output,) = (entry.name for entry in before.get_outputs() if len(entry.shape) == 2)
        expected = np.concatenate([before.run([output], {entry: image[None]})[0] for image in images])
        actual = _session(content).run(["logits"], {"image": images})[0]
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ForeignModelError(
            f"{source.where} does not run on a batch of images ({type(error).__name__}).", next_step=ADVICE
        ) from error
    if not activated and scores != "operating-point":
        expected = 1 / (1 + np.exp(-expected)) if scores == "sigmoid" else _softmax(expected)
    difference = float(np.abs(1 / (1 + np.exp(-actual)) - expected[:, list(outputs)]).max())
    if not difference <= _TOLERANCE:
        raise ForeignModelError(f"{source.where} gives other scores as a bundle ({difference:.1e}).", next_step=ADVICE)


def _softmax(scores: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _session(content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails here is told in our words
    return onnxruntime.InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])
