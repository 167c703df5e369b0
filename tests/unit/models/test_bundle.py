"""A bundle is complete, consistent and unaltered, or it is refused with the name of what is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_samples import EFFUSION, make_metadata
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file

from dicom_node.results.equipment import algorithm_device_uid
from models import networks
from models.bundle import FILES, Bundle, Override
from models.bundle_writer import write_bundle
from models.metadata import FindingSpec, InputSpec, RoutingConditions
from models.self_test import self_test_input, verify, verify_architecture
from triage.errors import BundleError
from triage.findings import Urgency


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = directory / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


def test_written_bundle_is_whole(tiny_bundle: Bundle) -> None:
    verify(tiny_bundle)
    assert sorted(path.name for path in tiny_bundle.directory.iterdir()) == sorted([*FILES, "metadata.json"])
    assert Bundle.load(tiny_bundle.directory) == tiny_bundle
    assert make_metadata(files=tiny_bundle.metadata.files) == tiny_bundle.metadata
    assert not [path for path in tiny_bundle.directory.parent.iterdir() if path.name.startswith(".")]


def test_nothing_of_the_builder_is_in_the_graph(tiny_bundle: Bundle) -> None:
    graph = tiny_bundle.network.read_bytes()
    assert b"site-packages" not in graph
    assert str(Path(networks.__file__).parent).encode() not in graph


def test_identity_is_the_weights(tiny_bundle: Bundle) -> None:
    algorithm = tiny_bundle.algorithm()
    assert algorithm.weights_sha256 == tiny_bundle.metadata.files["weights.safetensors"]
    assert algorithm.research
    assert algorithm.disclaimer == "NOT FOR DIAGNOSIS"
    assert "pneumothorax temperature=2 bias=0" in algorithm.parameters
    assert all(parameter.isascii() and "=" in parameter for parameter in algorithm.parameters)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda m: m.pop("research"), "research"),
        (lambda m: m.update(nickname="x"), "nickname"),
        (lambda m: m.update(research="yes"), "research"),
        (lambda m: m.update(format_version=2), "format_version"),
        (lambda m: m.update(name="Ünfug"), "name"),
        (lambda m: m.update(disclaimer="für die Forschung"), "disclaimer"),
        (lambda m: m.update(disclaimer=""), "disclaimer"),
        (lambda m: m.update(findings=[]), "findings"),
        (lambda m: m["findings"].append(m["findings"][0]), "share a key"),
        (lambda m: m["findings"][1].update(threshold=1.5), r"findings\.1\.threshold"),
        (lambda m: m["findings"][1].update(threshold=float("nan")), r"findings\.1\.threshold"),
        (lambda m: m["findings"][0].update(temperature=0), r"findings\.0\.temperature"),
        (lambda m: m["findings"][0].update(urgency="SOON"), r"findings\.0\.urgency"),
        (lambda m: m["findings"][0].update(urgency="STAT"), "urgency ROUTINE"),
        (lambda m: m["findings"][0]["code"].update(version="x"), r"findings\.0\.code"),
        (lambda m: m["input"].update(std=0), r"input\.std"),
        (lambda m: m["input"].update(fit="zoom"), r"input\.fit"),
        (lambda m: m["input"].update(channels=2), r"input\.channels"),
        (lambda m: m["input"].update(channels=3, channel_mean=[0, 0, 0]), "come together"),
        (lambda m: m["input"].update(channel_mean=[0, 0, 0], channel_std=[1, 1, 1]), "three channels"),
        (lambda m: m.update(explanation="tea leaves"), "explanation"),
        (lambda m: m["calibration"].update(score_kind="PROBABILITY"), r"calibration\.score_kind"),
        (lambda m: m["routing"].update(veiws=["PA"]), r"routing\.veiws"),
        (lambda m: m["files"].pop("network.onnx"), "network.onnx"),
        (lambda m: m["files"].update({"../../etc/passwd": "0" * 64}), "files"),
        (lambda m: m["files"].update({"network.onnx": "abc"}), "files"),
    ],
)
def test_metadata_are_strict(bundle_copy: Path, change: Callable[[dict[str, Any]], object], word: str) -> None:
    edit(bundle_copy, change)
    with pytest.raises(BundleError, match=word):
        Bundle.load(bundle_copy)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"name": 1}'])
def test_metadata_that_are_none(bundle_copy: Path, content: str) -> None:
    (bundle_copy / "metadata.json").write_text(content)
    with pytest.raises(BundleError, match=r"metadata\.json"):
        Bundle.load(bundle_copy)


@pytest.mark.parametrize("name", ["metadata.json", *FILES])
def test_missing_file_is_named(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Bundle.load(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_altered_file_is_named(bundle_copy: Path, name: str) -> None:
    content = bytearray((bundle_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        verify(Bundle.load(bundle_copy))


def seal(directory: Path) -> Bundle:
    """Make the checksums true again, as somebody would who swaps a file on purpose."""

    def change(metadata: dict[str, Any]) -> None:
        for name in metadata["files"]:
            metadata["files"][name] = hashlib.sha256((directory / name).read_bytes()).hexdigest()

    edit(directory, change)
    return Bundle.load(directory)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("classifier.bias", verify),  # of the head: found without torch
        ("features.conv5.1.bias", verify_architecture),  # anywhere else: only torch tells
    ],
)
def test_weights_that_are_not_the_graphs_are_found_out(
    bundle_copy: Path, name: str, check: Callable[[Bundle], None]
) -> None:
    weights = load_file(bundle_copy / "weights.safetensors")
    weights[name] = weights[name] + np.float32(0.5)
    save_file(weights, bundle_copy / "weights.safetensors")
    with pytest.raises(BundleError, match="do not belong together"):
        check(seal(bundle_copy))


def test_weights_and_graph_that_belong_together_pass(tiny_bundle: Bundle) -> None:
    verify_architecture(tiny_bundle)


def test_an_architecture_that_nobody_knows_is_refused(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda m: m.update(architecture="nosuch"))
    with pytest.raises(BundleError, match="architecture 'nosuch' is not one of"):
        verify_architecture(Bundle.load(bundle_copy))


def test_another_architecture_is_refused_in_a_few_words(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda m: m.update(architecture="resnet18"))
    with pytest.raises(BundleError, match="does not hold the weights of resnet18") as refused:
        verify_architecture(Bundle.load(bundle_copy))
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("tolerance", [1e9, float("inf"), float("nan"), 0.5])
def test_a_self_test_that_allows_everything_proves_nothing(bundle_copy: Path, tolerance: float) -> None:
    record = json.loads((bundle_copy / "selftest.json").read_text())
    (bundle_copy / "selftest.json").write_text(json.dumps(record | {"tolerance": tolerance}))
    with pytest.raises(BundleError, match="proves nothing"):
        verify(seal(bundle_copy))


def test_a_graph_for_images_of_another_size_is_named(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda m: m["input"].update(height=512, width=512))
    with pytest.raises(BundleError, match=r"network\.onnx does not read what metadata\.json describes"):
        verify(Bundle.load(bundle_copy))


def test_self_test_of_another_network_is_found_out(bundle_copy: Path) -> None:
    record = json.loads((bundle_copy / "selftest.json").read_text())
    record["logits"][0] += 0.1
    (bundle_copy / "selftest.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="self-test"):
        verify(seal(bundle_copy))


@pytest.mark.parametrize("record", ["{}", "[]", '{"seed": 1, "tolerance": 1, "logits": []}', "\xff"])
def test_self_test_that_is_none(bundle_copy: Path, record: str) -> None:
    (bundle_copy / "selftest.json").write_text(record)
    with pytest.raises(BundleError, match="self-test"):
        verify(seal(bundle_copy))


def test_swapped_labels_are_found_out(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda m: m["findings"].reverse())
    with pytest.raises(BundleError, match="another order"):
        verify(Bundle.load(bundle_copy))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_named(bundle_copy: Path, value: float) -> None:
    weights = load_file(bundle_copy / "weights.safetensors")
    weights["features.conv5.0.weight"][0, 0] = value
    save_file(weights, bundle_copy / "weights.safetensors")
    with pytest.raises(BundleError, match=r"features\.conv5\.0\.weight has values that are not numbers"):
        verify(seal(bundle_copy))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_of_another_architecture_are_found_out(bundle_copy: Path, change: str) -> None:
    weights = load_file(bundle_copy / "weights.safetensors")
    if change == "missing":
        del weights["features.conv5.0.weight"]
    elif change == "extra":
        weights["features.conv6.0.weight"] = np.zeros(3, np.float32)
    else:
        weights["features.conv5.0.weight"] = weights["features.conv5.0.weight"][:, :-1]
    save_file(weights, bundle_copy / "weights.safetensors")
    with pytest.raises(BundleError, match="does not hold the weights of shufflenet_v2_x0_5"):
        verify_architecture(seal(bundle_copy))


@pytest.mark.parametrize("name", ["weights.safetensors", "network.onnx"])
def test_a_pickle_is_not_opened(bundle_copy: Path, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "opened"
    (bundle_copy / name).write_bytes(b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V%b\ntRtR." % str(trace).encode())
    with pytest.raises(BundleError, match=name):
        verify(seal(bundle_copy))
    assert not trace.exists()


def test_device_uid_changes_with_the_weights_and_not_with_a_threshold(bundle_copy: Path) -> None:
    bundle = Bundle.load(bundle_copy)
    before = algorithm_device_uid(bundle.algorithm())
    moved = bundle.with_overrides({"tiny-cxr.pneumothorax": Override(threshold=0.9)})
    assert algorithm_device_uid(moved.algorithm()) == before
    weights = load_file(bundle_copy / "weights.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] + np.float32(0.5)
    save_file(weights, bundle_copy / "weights.safetensors")
    assert algorithm_device_uid(seal(bundle_copy).algorithm()) != before


def test_weights_of_another_number_of_findings(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda m: m["findings"].pop())
    with pytest.raises(BundleError, match="2 outputs for 1 findings"):
        verify(Bundle.load(bundle_copy))


def test_head_needs_a_weights_file(bundle_copy: Path) -> None:
    (bundle_copy / "weights.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(BundleError, match="weights"):
        Bundle.load(bundle_copy).head()


@given(st.floats(allow_nan=True))
def test_override_threshold(threshold: float) -> None:
    if 0.0 <= threshold <= 1.0:
        assert Override(threshold=threshold).threshold == threshold
    else:
        with pytest.raises(BundleError, match="threshold"):
            Override(threshold=threshold)


def test_override_leaves_the_bundle_itself_alone(tiny_bundle: Bundle) -> None:
    overrides = {"tiny-cxr.pneumothorax": Override(urgency=Urgency.STAT), "other.pneumothorax": Override(threshold=1.0)}
    changed = tiny_bundle.with_overrides(overrides)
    assert [finding.urgency for finding in changed.metadata.findings] == [Urgency.STAT, Urgency.ROUTINE]
    assert tiny_bundle.metadata.findings[0].urgency is Urgency.ROUTINE
    assert changed.algorithm().weights_sha256 == tiny_bundle.algorithm().weights_sha256


def test_research_may_raise_phantoms_only() -> None:
    urgent = (FindingSpec(key="effusion", code=EFFUSION, threshold=0.5, urgency=Urgency.URGENT),)
    phantoms = RoutingConditions(manufacturer_equals=("firstread phantom",))
    assert make_metadata(findings=urgent, routing=phantoms).findings[0].urgency is Urgency.URGENT
    assert make_metadata(findings=urgent, research=False).findings[0].urgency is Urgency.URGENT
    with pytest.raises(ValidationError, match="ROUTINE"):
        make_metadata(findings=urgent)


def test_weights_must_fit_the_architecture(tmp_path: Path) -> None:
    network = networks.build("resnet18", 2)
    with pytest.raises(BundleError, match="shufflenet_v2_x0_5"):
        write_bundle(tmp_path / "b", make_metadata(), network.state_dict(), evaluation={}, model_card="")
    assert not list(tmp_path.iterdir())


def test_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="left alone"):
        write_bundle(tmp_path, make_metadata(), {}, evaluation={}, model_card="")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_new_version_replaces_the_old(bundle_copy: Path) -> None:
    network = networks.build("shufflenet_v2_x0_5", 2)
    metadata = make_metadata(version="0.2.0")
    written = write_bundle(
        bundle_copy, metadata, network.state_dict(), evaluation={}, model_card="", extra_files={"NOTICE.txt": b"CC BY"}
    )
    assert written.metadata.version == "0.2.0"
    assert "NOTICE.txt" in written.metadata.files
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


def test_self_test_input_is_the_formula() -> None:
    spec = InputSpec(height=40, width=50, mean=0.25, std=0.5)
    image = self_test_input(spec, seed=3)
    assert image.shape == (1, 1, 40, 50)
    assert image.dtype == np.float32
    expected = 0.5 + 0.5 * np.sin(0.11 * 17 + 3) * np.cos(0.07 * 31)
    assert image[0, 0, 17, 31] == pytest.approx((expected - 0.25) / 0.5, abs=1e-6)


@pytest.mark.parametrize("architecture", ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "resnet18", "densenet121"])
def test_networks_end_in_the_map_they_average(architecture: str) -> None:
    network = networks.build(architecture, 3).eval()
    with torch.inference_mode():
        logits, features = network(torch.randn(2, 1, 64, 64))
        again = features.mean(dim=(2, 3)) @ network.classifier.weight.T + network.classifier.bias
    assert logits.shape == (2, 3)
    assert features.min() >= 0
    torch.testing.assert_close(logits, again)


def test_unknown_architecture_is_named() -> None:
    with pytest.raises(BundleError, match="vgg16"):
        networks.build("vgg16", 1)
