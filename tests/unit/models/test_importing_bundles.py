"""From a file of elsewhere to a verified bundle that gives the original's scores, or to a refusal that says why."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from foreign_samples import save_graph, torchvision_network
from onnx import TensorProto, helper
from torch import nn

from models.bundle import Bundle
from models.importing.assemble import import_model
from models.importing.description import parse
from models.inference import Predictor
from models.self_test import self_test_input, verify
from triage.errors import BundleError, ForeignModelError
from triage.findings import ScoreKind, Urgency

SMALL = {"height": 64, "width": 64, "mean": 0.5, "std": 0.25}
COLOUR = {**SMALL, "channels": 3}
GRAPH = {"height": 32, "width": 32, "mean": 0.5, "std": 0.25}
THREE = ["Mass", "Effusion", "Normal"]


def described(**fields: Any) -> dict[str, Any]:
    return {"name": "imported", "labels": THREE, "scores": "sigmoid", "input": SMALL, **fields}


def bring(source: Path, **fields: Any) -> Bundle:
    bundle = import_model(source, source.parent / "out", parse(described(**fields), "file"), today="2026-01-02")
    verify(bundle)
    assert bundle.metadata.research
    assert all(finding.urgency is Urgency.ROUTINE for finding in bundle.metadata.findings)
    assert bundle.metadata.calibration.score_kind is not ScoreKind.CALIBRATED_PROBABILITY
    return bundle


def refused(source: Path, words: str, **fields: Any) -> None:
    with pytest.raises(ForeignModelError, match=words) as caught:
        bring(source, **fields)
    assert caught.value.next_step
    out = source.parent / "out"
    assert not out.exists() or not list(out.iterdir())


def images(bundle: Bundle) -> np.ndarray[Any, np.dtype[np.float32]]:
    spec = bundle.metadata.input
    noise = np.random.default_rng(1).standard_normal((2, spec.channels, spec.height, spec.width), dtype=np.float32)
    return np.concatenate([self_test_input(spec, 7), noise])


def scores(bundle: Bundle) -> np.ndarray[Any, np.dtype[np.float32]]:
    return Predictor.load(bundle, device="cpu").predict(images(bundle)).probabilities


@torch.inference_mode()
def original_logits(network: nn.Module, bundle: Bundle) -> torch.Tensor:
    answer: torch.Tensor = network(torch.from_numpy(images(bundle)))
    return answer


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return torchvision_network("shufflenet_v2_x0_5", 3)


@pytest.fixture
def saved(network: nn.Module, tmp_path: Path) -> Path:
    torch.save({"state_dict": nn.DataParallel(network).state_dict()}, tmp_path / "model.pth.tar")
    return tmp_path / "model.pth.tar"


# --- checkpoints ---


def test_each_class_by_itself(network: nn.Module, saved: Path) -> None:
    bundle = bring(saved, input=COLOUR)
    assert [finding.key for finding in bundle.metadata.findings] == ["mass", "pleural_effusion"]
    assert bundle.metadata.explanation == "cam"
    expected = torch.sigmoid(original_logits(network, bundle))[:, :2]
    np.testing.assert_allclose(scores(bundle), expected, atol=1e-5)
    record = json.loads((bundle.directory / "evaluation.json").read_text())
    assert record["imported"]["labels"] == THREE
    assert "not evaluated" in (bundle.directory / "MODEL_CARD.md").read_text()


def test_classes_that_exclude_each_other(network: nn.Module, saved: Path) -> None:
    bundle = bring(saved, input=COLOUR, scores="softmax")
    expected = torch.softmax(original_logits(network, bundle), dim=1)[:, :2]
    np.testing.assert_allclose(scores(bundle), expected, atol=1e-5)


def test_two_classes_become_one_score(tmp_path: Path) -> None:
    network = torchvision_network("shufflenet_v2_x0_5", 2, channels=1)
    torch.save(network.state_dict(), tmp_path / "m.pt")
    bundle = bring(tmp_path / "m.pt", labels=["Normal", "Pneumonia"], scores="softmax")
    expected = torch.softmax(original_logits(network, bundle), dim=1)[:, 1:]
    np.testing.assert_allclose(scores(bundle), expected, atol=1e-5)
    assert bundle.rest() is None  # a plain head: its activation map is exact


def test_a_real_checkpoint_of_a_network_without_a_linear_head(test_data: Path, tmp_path: Path) -> None:
    """SqueezeNet: its classes are maps. The order of the labels is not stated with the file: ours is a claim."""
    source = test_data / "weights" / "squeezenet1_1_kermany.pth"
    code = {"value": "233604007", "scheme": "SCT", "meaning": "Pneumonia"}
    findings = {name: {"code": code} for name in ("bacterial", "viral")}
    fields = described(labels=["bacterial", "normal", "viral"], findings=findings, input=COLOUR, scores="softmax")
    bundle = import_model(source, tmp_path, parse(fields, "file"), today="2026-01-02")
    verify(bundle)
    assert bundle.metadata.architecture == "squeezenet1_1"
    network = torchvision_network("squeezenet1_1", 3)
    network.load_state_dict(torch.load(source, weights_only=True))
    expected = torch.softmax(original_logits(network, bundle), dim=1)[:, [0, 2]]
    np.testing.assert_allclose(scores(bundle), expected, atol=1e-5)


@pytest.fixture(scope="module")
def xrv(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Bundle]:
    """As torchxrayvision writes it: grey DenseNet, 18 outputs of which some mean nothing, operating points inside."""
    folder = tmp_path_factory.mktemp("xrv")
    network = torchvision_network("densenet121", 18, channels=1)
    network.register_buffer("op_threshs", torch.tensor([0.3, 0.6, *[0.5] * 12, *[float("nan")] * 4]))
    pathologies = ["Atelectasis", "Consolidation", *[""] * 12, "Fracture", *[""] * 3]
    torch.save({"state_dict": network.state_dict(), "pathologies": pathologies}, folder / "xrv.pt")
    small = {**SMALL, "mean": 0, "std": 1, "value_range": "-1024..1024", "fit": "centre_crop"}
    fields = {"name": "xrv", "convention": "torchxrayvision", "input": small}
    return network, import_model(folder / "xrv.pt", folder / "out", parse(fields, "file"), today="2026-01-02")


def test_torchxrayvision_operating_points_are_thresholds_of_probabilities(xrv: tuple[nn.Module, Bundle]) -> None:
    network, bundle = xrv
    findings = bundle.metadata.findings
    assert [finding.key for finding in findings] == ["atelectasis", "consolidation"]
    assert [finding.threshold for finding in findings] == pytest.approx([0.3, 0.6])
    assert bundle.metadata.calibration.score_kind is ScoreKind.UNCALIBRATED_PROBABILITY
    assert "operating points of the checkpoint" in bundle.metadata.calibration.method
    chances = torch.sigmoid(original_logits(network, bundle))[:, :2].numpy()
    np.testing.assert_allclose(scores(bundle), chances, atol=1e-4)


def test_torchxrayvision_calls_the_same_images_positive(xrv: tuple[nn.Module, Bundle]) -> None:
    """Its op_norm is piecewise linear with 0.5 at the operating point: the same order, the same decisions."""
    network, bundle = xrv
    chances = torch.sigmoid(original_logits(network, bundle))[:, :2].numpy()
    points = np.array([0.3, 0.6], np.float32)
    rescaled = np.where(chances < points, chances / (2 * points), 1 - (1 - chances) / (2 * (1 - points)))
    ours = scores(bundle)[:, :2] >= [finding.threshold for finding in bundle.metadata.findings[:2]]
    np.testing.assert_array_equal(ours, rescaled >= 0.5)


def test_the_limits_tell_what_a_crop_leaves_out(xrv: tuple[nn.Module, Bundle]) -> None:
    metadata = xrv[1].metadata
    assert any("not looked at" in limit for limit in metadata.limits)
    assert "values -1024..1024 mean 0 std 1" in " ".join(xrv[1].algorithm().parameters)


def test_weights_that_do_not_fit_their_description(saved: Path) -> None:
    refused(saved, "3 outputs, 2 labels", input=COLOUR, labels=["Mass", "Effusion"])
    refused(saved, "1 input channels, its first layer takes 3")
    refused(saved, "shufflenet, described as resnet18", input=COLOUR, architecture="resnet18")
    refused(saved, "come from ONNX", input=COLOUR, scores="operating-point")
    refused(saved, "every one is called a finding", input=COLOUR, scores="softmax", labels=["Mass", "Edema", "Nodule"])


def test_a_network_with_a_layer_missing(network: nn.Module, tmp_path: Path) -> None:
    state = network.state_dict()
    del state["conv5.0.weight"]
    torch.save(state, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", r"missing are features\.conv5\.0\.weight", input=COLOUR)


def test_swapped_labels_are_found_by_the_originals_scores(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "m.onnx")
    mass, effusion = (float(score) for score in scores(bring(path, input=GRAPH))[0])
    (tmp_path / "out").rename(tmp_path / "first")
    bring(path, input=GRAPH, check={"Mass": mass, "Effusion": effusion})
    (tmp_path / "out").rename(tmp_path / "second")
    refused(path, "Effusion has that: labels are swapped", input=GRAPH, check={"Mass": effusion, "Effusion": mass})
    refused(path, "the input or the label differ", input={**GRAPH, "mean": 0.0}, check={"Mass": mass})
    refused(path, "which is no finding", input=GRAPH, check={"Normal": mass})


def test_a_label_order_inside_the_file_counts(network: nn.Module, tmp_path: Path) -> None:
    torch.save({"state_dict": network.state_dict(), "classes": ["Effusion", "Mass", "Normal"]}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "output 0 is 'Mass' in the description and 'Effusion'", input=COLOUR)


def test_an_altered_import_does_not_verify(saved: Path) -> None:
    bundle = bring(saved, input=COLOUR)
    content = bytearray(bundle.weights.read_bytes())
    content[-1] ^= 1
    bundle.weights.write_bytes(content)
    with pytest.raises(BundleError, match="checksum"):
        verify(bundle)


# --- MONAI ---


def monai_folder(path: Path, network: nn.Module, **changes: Any) -> Path:
    image = {"type": "image", "num_channels": 3, "spatial_shape": [64, 96], "value_range": [-1, 1]}
    output = {"type": "probabilities", "num_channels": 3, "channel_def": {str(n): t for n, t in enumerate(THREE)}}
    metadata = {"network_data_format": {"inputs": {"image": image | changes}, "outputs": {"pred": output}}}
    (path / "configs").mkdir(parents=True)
    (path / "models").mkdir()
    (path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(network.state_dict(), path / "models" / "model.pt")
    return path


def bring_monai(folder: Path, **fields: Any) -> Bundle:
    fields = {"name": "monai", "scores": "sigmoid", "transposed": True, **fields}
    return import_model(folder, folder.parent / "out", parse(fields, "file"), today="2026-01-02")


def test_a_monai_bundle_with_rows_and_columns_exchanged(network: nn.Module, tmp_path: Path) -> None:
    bundle = bring_monai(monai_folder(tmp_path / "m", network))
    spec = bundle.metadata.input
    assert (spec.height, spec.width, spec.channels, spec.mean, spec.std) == (96, 64, 3, 0.5, 0.5)
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(images(bundle)).swapaxes(2, 3)))[:, :2]
    np.testing.assert_allclose(scores(bundle), expected, atol=1e-5)


def test_monai_bundles_that_cannot_be_read(network: nn.Module, tmp_path: Path) -> None:
    good = monai_folder(tmp_path / "good", network)
    for words, folder, fields in (
        ("rows and columns exchanged", good, {"transposed": None}),
        ("labels are swapped", good, {"labels": ["Effusion", "Mass", "Normal"]}),
        ("not two sizes", monai_folder(tmp_path / "volume", network, spatial_shape=[64, 64, 64]), {}),
        ("value_range is 1 to 0", monai_folder(tmp_path / "range", network, value_range=[1, 0]), {}),
        ("channels", monai_folder(tmp_path / "channels", network, num_channels=2), {}),
    ):
        with pytest.raises(ForeignModelError, match=words):
            bring_monai(folder, **fields)
    (good / "models" / "model.pt").rename(good / "models" / "model.ts")
    with pytest.raises(ForeignModelError, match="TorchScript"):
        bring_monai(good)
    (good / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(ForeignModelError, match="network_data_format is missing"):
        bring_monai(good)


# --- ONNX ---


def run(path: Path, bundle: Bundle) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the original graph gives, image by image."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["answer"], {"picture": image[None]})[0] for image in images(bundle)])


def sigmoid(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return 1 / (1 + np.exp(-values))


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("last", ["", "Sigmoid"])
def test_a_graph_gives_what_it_gave(tmp_path: Path, last: str, opset: int) -> None:
    path = save_graph(tmp_path / "m.onnx", last=last, opset=opset)
    bundle = bring(path, input=GRAPH)
    answer = run(path, bundle)[:, :2]
    np.testing.assert_allclose(scores(bundle), answer if last else sigmoid(answer), atol=1e-6)
    assert bundle.metadata.architecture == "onnx"
    assert bundle.metadata.explanation == "cam"


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("last", ["", "Softmax"])
def test_a_graph_whose_classes_exclude_each_other(tmp_path: Path, last: str, opset: int) -> None:
    path = save_graph(tmp_path / "m.onnx", last=last, opset=opset)
    bundle = bring(path, input=GRAPH, scores="softmax")
    answer = run(path, bundle)
    expected = answer if last else np.exp(answer) / np.exp(answer).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores(bundle), expected[:, :2], atol=1e-6)


def test_the_map_of_a_graph_explains_its_score(tmp_path: Path) -> None:
    bundle = bring(save_graph(tmp_path / "m.onnx", channels=3), input={**GRAPH, "channels": 3})
    prediction = Predictor.load(bundle, device="cpu").predict(images(bundle))
    weight, bias = bundle.head()
    assert prediction.features.shape == (3, 4, 32, 32)
    np.testing.assert_allclose(prediction.features.mean(axis=(2, 3)) @ weight.T + bias, prediction.logits, atol=1e-5)


def test_a_graph_without_average_pooling_is_left_to_occlusion(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "m.onnx", pooling="MaxPool")
    bundle = bring(path, input=GRAPH)
    assert bundle.metadata.explanation == "occlusion"
    np.testing.assert_allclose(scores(bundle), sigmoid(run(path, bundle)[:, :2]), atol=1e-6)
    assert any("covering parts" in limit for limit in bundle.metadata.limits)


def test_rescaled_scores_are_never_called_probabilities(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "m.onnx", last="Sigmoid")
    bundle = bring(path, input=GRAPH, scores="operating-point")
    np.testing.assert_allclose(scores(bundle), run(path, bundle)[:, :2], atol=1e-5)
    assert bundle.metadata.calibration.score_kind is ScoreKind.OPERATING_POINT
    assert bundle.metadata.explanation == "occlusion"


def test_graph_and_description_disagree(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "m.onnx", last="Softmax")
    refused(path, "ends in Softmax, the description says sigmoid", input=GRAPH)
    refused(path, "takes images of 32 x 32", input=SMALL, scores="softmax")
    refused(path, "3 outputs, 1 labels", input=GRAPH, labels=["Mass"])
    refused(path, "first layer takes 1", input={**GRAPH, "channels": 3}, scores="softmax")
    refused(path, "every one is called", input=GRAPH, scores="softmax", labels=["Mass", "Edema", "Nodule"])
    refused(path, "cannot be exchanged here", input=GRAPH, scores="softmax", transposed=True)


def test_a_sigmoid_before_the_last_step_is_not_applied_twice(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "m.onnx", last="Sigmoid", after="Flatten")
    refused(path, "applies its sigmoid or softmax before its last steps", input=GRAPH)


def test_graphs_that_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for content in (b"", b"\x80\x04.", b"PK\x03\x04" * 20):
        path.write_bytes(content)
        refused(path, r"m\.onnx", input=GRAPH)
    save_graph(path, extra=[helper.make_node("Run", ["map"], ["x"], domain="com.example")])
    refused(path, r"operator com\.example\.Run", input=GRAPH)
    save_graph(path, opset=8)
    refused(path, "opset 8", input=GRAPH)


def change(path: Path, edit: Any) -> Path:
    model = onnx.load(str(path), load_external_data=False)
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_outside_the_file_are_not_followed(tmp_path: Path) -> None:
    def outside(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=os.devnull)

    refused(change(save_graph(tmp_path / "m.onnx"), outside), r"keeps conv\.w in another file", input=GRAPH)


def test_numbers_of_a_graph_are_checked(tmp_path: Path) -> None:
    def poison(model: Any) -> None:
        tensor = model.graph.initializer[2]
        tensor.raw_data = np.full(3, np.nan, np.float32).tobytes()

    def shorten(model: Any) -> None:
        tensor = model.graph.initializer[2]
        tensor.raw_data = tensor.raw_data[:4]

    refused(change(save_graph(tmp_path / "m.onnx"), poison), r"fc\.b holds values that are not numbers", input=GRAPH)

    def unknown_type(model: Any) -> None:
        model.graph.initializer[2].data_type = 52

    for edit in (shorten, unknown_type):
        refused(change(save_graph(tmp_path / "m.onnx"), edit), r"fc\.b has other numbers", input=GRAPH)


def test_a_graph_may_use_our_names_for_other_things(tmp_path: Path) -> None:
    names = {"c": "image", "map": "logits", "flat": "features"}

    def rename(model: Any) -> None:
        for node in model.graph.node:
            for side in (node.input, node.output):
                side[:] = [names.get(name, name) for name in side]
        model.doc_string = model.metadata_props.add(key="author", value="A. Person").value

    path = change(save_graph(tmp_path / "m.onnx"), rename)
    bundle = bring(path, input=GRAPH)
    np.testing.assert_allclose(scores(bundle), sigmoid(run(path, bundle)[:, :2]), atol=1e-6)
    assert bundle.metadata.explanation == "cam"
    assert b"A. Person" not in bundle.network.read_bytes()


def test_a_graph_for_one_image_at_a_time_is_freed(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "m.onnx", batch=1)
    bundle = bring(path, input=GRAPH)
    np.testing.assert_allclose(scores(bundle), sigmoid(run(path, bundle)[:, :2]), atol=1e-6)
