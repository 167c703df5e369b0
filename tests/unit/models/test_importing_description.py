"""What a description must say, and how it is held against the file."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from model_samples import ROOT

from models.importing import description
from models.importing.description import agreed_labels, described_findings, parse
from models.importing.labels import LISTS, MEANINGS, NIH_14, XRV_18, key_of
from models.metadata import InputSpec
from triage.errors import ForeignModelError
from triage.findings import Urgency


def described(**fields: Any) -> description.Description:
    return parse({"name": "m", **fields}, "file")


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_text(
        'name = "m"\nlabels = ["Mass", ""]\nscores = "sigmoid"\n'
        "[input]\nheight = 64\nwidth = 64\nmean = 0.5\nstd = 0.25\n"
        "[findings.Mass]\nthreshold = 0.3\n"
        "[check]\nMass = 0.25\n"
    )
    fields = {
        "name": "m",
        "labels": ["Mass", ""],
        "scores": "sigmoid",
        "input": {"height": 64, "width": 64, "mean": 0.5, "std": 0.25},
        "findings": {"Mass": {"threshold": 0.3}},
        "check": {"Mass": 0.25},
    }
    (tmp_path / "d.json").write_text(json.dumps(fields))
    from_toml, from_json = (description.load(tmp_path / name) for name in ("d.toml", "d.json"))
    assert from_toml == from_json
    assert from_toml.labels == ("Mass", "")


def test_the_documented_description_is_one() -> None:
    text = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    chosen = parse(tomllib.loads(example), "docs/importing.md")
    _, findings = described_findings(chosen, agreed_labels(chosen, (), 14, "file"), None)
    assert next(finding for finding in findings if finding.key == "pneumothorax").threshold == 0.31


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"nickname": "x"}, "nickname"),
        ({"name": "Ünfug"}, "name"),
        ({"version": 3}, "version"),
        ({"scores": "logits"}, "scores"),
        ({"input": {"height": 64}}, r"input\.width"),
        ({"findings": {"Mass": {"threshold": 2}}}, r"findings\.Mass\.threshold"),
        ({"findings": {"Mass": {"code": {"value": "1"}}}}, r"findings\.Mass\.code"),
        ({"convention": "folklore"}, "convention"),
    ],
)
def test_a_description_is_strict(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ForeignModelError, match=word):
        described(**fields)


@pytest.mark.parametrize(
    ("name", "text"), [("d.toml", "name ="), ("d.json", "{"), ("d.json", '"text"'), ("d.toml", "\0")]
)
def test_a_file_that_is_no_description(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ForeignModelError, match=r"d\.(toml|json)"):
        description.load(tmp_path / name)


def test_a_missing_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(ForeignModelError, match=r"d\.toml cannot be read"):
        description.load(tmp_path / "d.toml")


@pytest.mark.parametrize("labels", LISTS.values())
def test_every_well_known_label_has_a_code_of_its_own(labels: tuple[str, ...]) -> None:
    meanings = [MEANINGS[key_of(label)] for label in labels]
    assert len(set(meanings)) == len(labels)
    _, findings = described_findings(described(), labels, None)
    assert all(finding.urgency is Urgency.ROUTINE for finding in findings)
    assert [finding.threshold for finding in findings] == [0.5] * len(labels)


def test_the_well_known_orders() -> None:
    assert NIH_14[7] == "Pneumothorax"
    assert XRV_18[3] == "Pneumothorax"
    assert set(NIH_14) < set(XRV_18)


def test_whose_labels_count() -> None:
    stated = ("Mass", "Edema")
    assert agreed_labels(described(), stated, 2, "file") == stated
    assert agreed_labels(described(labels=["mass", "edema"]), stated, 2, "file") == ("mass", "edema")
    assert agreed_labels(described(labels=["Mass", ""]), stated, 2, "file") == ("Mass", "")
    assert agreed_labels(described(convention="chexnet"), (), 14, "file") == NIH_14
    assert agreed_labels(described(convention="torchxrayvision"), (*NIH_14, "", "", "", ""), 18, "file")[:14] == NIH_14


@pytest.mark.parametrize(
    ("fields", "stated", "words"),
    [
        ({}, (), "nothing says what the 2 outputs"),
        ({"labels": ["Mass"]}, (), "2 outputs, 1 labels"),
        ({"labels": "nih-14"}, (), "2 outputs, 14 labels"),
        ({"labels": ["Mass", "Edema"]}, ("Mass",), "list of 1 labels inside"),
        ({"labels": ["Edema", "Mass"]}, ("Mass", "Edema"), "output 0 is 'Edema' in the description and 'Mass' in file"),
    ],
)
def test_labels_that_do_not_fit(fields: dict[str, Any], stated: tuple[str, ...], words: str) -> None:
    with pytest.raises(ForeignModelError, match=words):
        agreed_labels(described(**fields), stated, 2, "file")


def test_outputs_without_a_meaning_are_left_out() -> None:
    labels = ("No Finding", "Mass", "", "Quality", "Effusion")
    outputs, findings = described_findings(described(no_findings=["Quality"]), labels, None)
    assert outputs == (1, 4)
    assert [finding.key for finding in findings] == ["mass", "pleural_effusion"]


def test_thresholds_are_the_published_ones_unless_described() -> None:
    labels = ("Mass", "Edema", "Nodule", "Fracture")
    chosen = described(findings={"Edema": {"threshold": 0.75}, "Fracture": {"threshold": 0.5}, "Nodule": {}})
    outputs, findings = described_findings(chosen, labels, (0.125, 0.25, float("nan"), float("nan")))
    assert outputs == (0, 1, 3), "without an operating point an output means nothing, unless somebody gives it one"
    assert [finding.threshold for finding in findings] == [0.125, 0.75, 0.5]


@pytest.mark.parametrize(
    ("fields", "labels", "words"),
    [
        ({}, ("Gout",), "label 'Gout' has no code"),
        ({}, ("Mass", "mass"), "two outputs are called mass"),
        ({}, ("Normal", ""), "none of the labels is a finding"),
        ({"findings": {"Nodule": {}}}, ("Mass",), "speaks of 'Nodule'"),
        ({"check": {"Nodule": 0.5}}, ("Mass",), "speaks of 'Nodule'"),
    ],
)
def test_findings_that_make_no_sense(fields: dict[str, Any], labels: tuple[str, ...], words: str) -> None:
    with pytest.raises(ForeignModelError, match=words):
        described_findings(described(**fields), labels, None)


def test_a_label_of_ones_own() -> None:
    code = {"value": "90560007", "scheme": "SCT", "meaning": "Gout"}
    chosen = described(findings={"Ü": {"key": "gout", "code": code}})
    _, (finding,) = described_findings(chosen, ("Ü",), None)
    assert (finding.key, finding.code.meaning, finding.site) == ("gout", "Gout", None)
    with pytest.raises(ForeignModelError, match="makes no usable key"):
        described_findings(described(findings={"Ü": {"code": code}}), ("Ü",), None)


def test_conventions_state_the_input() -> None:
    xrv = described(convention="torchxrayvision")
    assert xrv.input_for("densenet", 1).height == 224
    assert xrv.input_for("resnet", 1) == InputSpec(
        height=512, width=512, mean=0.0, std=1.0, value_range="-1024..1024", fit="centre_crop"
    )
    chexnet = described(convention="chexnet").input_for("densenet", 3)
    assert (chexnet.channels, chexnet.channel_mean, chexnet.fit) == (3, (0.485, 0.456, 0.406), "letterbox")
    assert (xrv.score_rule(), described(scores="softmax").score_rule()) == ("sigmoid", "softmax")


@pytest.mark.parametrize(
    ("fields", "channels", "words"),
    [
        ({}, 1, "nothing says what the input"),
        ({"convention": "torchxrayvision"}, 3, "nothing says what the input"),
        ({"convention": "torchvision"}, 1, "nothing says what the input"),
        ({"input": {"height": 64, "width": 64, "mean": 0, "std": 1}}, 3, "1 input channels, its first layer takes 3"),
    ],
)
def test_an_input_that_nobody_states_is_not_guessed(fields: dict[str, Any], channels: int, words: str) -> None:
    with pytest.raises(ForeignModelError, match=words):
        described(**fields).input_for("densenet", channels)


def test_scores_that_nobody_states_are_not_guessed() -> None:
    with pytest.raises(ForeignModelError, match="become scores"):
        described(convention="torchvision").score_rule()
