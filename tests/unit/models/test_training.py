"""The way from a plan to a bundle, with phantoms and with folders, and what survives a kill."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from models import networks
from models.bundle import Bundle
from models.metadata import InputSpec, RoutingConditions
from models.phantom import write_phantoms
from models.registry import SHIPPED
from models.self_test import verify
from models.training import (
    Description,
    FindingPlan,
    FolderSource,
    PhantomSource,
    TrainingDataError,
    TrainingPlan,
    losses,
    map_check,
    starting,
    train,
)
from models.training.augmentation import augment
from models.training.folder import Row, read_table, split
from models.training.image_files import read_image
from models.training.samples import MASK_STEP, Samples
from triage.errors import BundleError
from triage.findings import Code

SMALL = InputSpec(height=128, width=128, mean=0.5, std=0.25)
KEYS = ("pneumothorax", "cardiomegaly")


def small_plan(**changes: Any) -> TrainingPlan:
    findings = tuple(FindingPlan(key=key, code=Code(value="1", scheme="99TEST", meaning=key)) for key in KEYS)
    plan = TrainingPlan(
        source=PhantomSource(train=32, validation=40, test=40, unseen=24, seed=90, size=140),
        findings=findings,
        describe=Description(
            name="small",
            version="0.0.1",
            manufacturer="tests",
            licence="Apache-2.0",
            intended_use="Tests.",
            limits=("Everything.",),
            disclaimer="TEST",
            research=True,
            data="phantoms",
        ),
        routing=RoutingConditions(),
        architecture="shufflenet_v2_x0_5",
        input=SMALL,
        epochs=2,
        threads=1,
        batch=8,
        checked_maps=2,
        date="2026-01-01",
    )
    return replace(plan, **changes)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train(small_plan(), tmp_path_factory.mktemp("run"))


def test_a_run_ends_in_a_verified_bundle_with_its_figures(trained: Bundle) -> None:
    verify(trained)
    run = trained.directory.parent
    evaluation = json.loads((trained.directory / "evaluation.json").read_text())
    assert evaluation["test"]["images"] == 40
    assert set(evaluation["test"]["findings"]) == set(KEYS)
    assert evaluation["training"]["images"] == 32
    assert evaluation["training"]["curve"] == json.loads((run / "history.json").read_text())
    with (run / "history.csv").open(newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2"]
    assert [f.key for f in trained.metadata.findings] == list(KEYS)
    assert all(0 < f.threshold < 1 for f in trained.metadata.findings)


def test_a_finished_bundle_knows_the_unseen_scanner_and_what_its_maps_are_worth(trained: Bundle) -> None:
    evaluation = json.loads((trained.directory / "evaluation.json").read_text())
    card = (trained.directory / "MODEL_CARD.md").read_text()
    assert evaluation["unseen_scanner"]["images"] == 24
    assert "the scanner that no training saw" in card
    checked = evaluation["explanation"]
    assert checked["source"].endswith("images of the test side")
    assert set(checked["findings"]) == set(KEYS)
    assert max(row["maps"] for row in checked["findings"].values()) <= 4  # of two images of each finding
    assert "was checked on" in card
    assert not (trained.directory.parent / "unchecked").exists()


def test_the_map_check_looks_at_few_images_of_each_finding_with_their_masks() -> None:
    labels = np.array([[1, 0], [np.nan, 0], [1, 1], [1, 0], [0, np.nan], [0, 1]], np.float32)
    assert map_check._with_findings(labels, 1).tolist() == [0, 2]
    assert map_check._with_findings(labels, 2).tolist() == [0, 2, 5]
    masks = np.zeros((6, 32, 32), np.uint8)
    masks[2, 3:6, 4:7] = 0b01
    masks[2, 20:22, 4:7] = 0b10
    samples = Samples(np.full((6, 128, 128), 90, np.uint8), labels, masks)
    cases = list(map_check._cases(samples, small_plan()))
    assert [case.present for case in cases] == [
        {"pneumothorax"}, set(), set(KEYS), {"pneumothorax"}, set(), {"cardiomegaly"},
    ]  # fmt: skip
    assert [mask.sum() for mask in cases[2].masks.values()] == [9, 6]
    assert cases[0].image.shape == (1, 128, 128)


def test_a_killed_run_continues_to_the_same_weights(trained: Bundle, tmp_path: Path) -> None:
    def kill_after_first_epoch(event: str, _figures: dict[str, Any]) -> None:
        if event == "epoch":
            raise KilledError

    with pytest.raises(KilledError):
        train(small_plan(), tmp_path, kill_after_first_epoch)
    epochs: list[int] = []
    again = train(small_plan(), tmp_path, lambda event, f: epochs.append(f["epoch"]) if event == "epoch" else None)
    assert epochs == [2]
    ours, theirs = (load_file(bundle.weights) for bundle in (again, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)  # of one thread: to the last bit


def test_the_checkpoint_of_another_plan_is_not_continued(trained: Bundle) -> None:
    epochs: list[int] = []
    other = replace(small_plan(), learning_rate=1e-3, epochs=1)
    train(other, trained.directory.parent, lambda event, f: epochs.append(f["epoch"]) if event == "epoch" else None)
    assert epochs == [1]


def test_nothing_in_a_run_directory_is_a_pickle(trained: Bundle) -> None:
    kinds = {path.suffix for path in trained.directory.parent.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".csv", ".safetensors", ".npz", ".onnx", ".md", ".html"}
    for path in trained.directory.parent.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert {arrays[name].dtype.kind for name in arrays} <= {"u", "f"}


def test_transfer_takes_the_features_and_leaves_the_head(trained: Bundle) -> None:
    network = networks.build("shufflenet_v2_x0_5", 3)
    plan = small_plan()
    starting.start_from(network, trained.directory, plan)
    source = load_file(trained.weights)
    features = {k: v for k, v in network.state_dict().items() if k.startswith("features.")}
    assert features
    assert all(torch.equal(value, source[name]) for name, value in features.items())
    with pytest.raises(BundleError, match="not a resnet18"):
        starting.start_from(networks.build("resnet18", 3), trained.directory, replace(plan, architecture="resnet18"))


def test_a_bundle_that_reads_three_channels_serves_a_plan_of_one_and_not_the_other_way(trained: Bundle) -> None:
    head_ct = Bundle.load(SHIPPED / "phantom-head-ct")
    plan = small_plan(architecture=head_ct.metadata.architecture)
    network = networks.build(plan.architecture, 2)
    starting.start_from(network, head_ct.directory, plan)
    ours, theirs = network.state_dict(), load_file(head_ct.weights)
    assert torch.equal(ours["features.conv1.0.weight"], theirs["features.conv1.0.weight"].sum(dim=1, keepdim=True))
    assert torch.equal(ours["features.conv4.0.weight"], theirs["features.conv4.0.weight"])
    with pytest.raises(BundleError, match="other channels"):
        starting.start_from(networks.build("shufflenet_v2_x0_5", 2, channels=3), trained.directory, small_plan())


def test_a_head_is_kept_for_the_same_findings_only(trained: Bundle) -> None:
    plan = small_plan(keep_head=True)
    network = networks.build(plan.architecture, len(KEYS))
    starting.start_from(network, trained.directory, plan)
    assert torch.equal(network.classifier.weight, load_file(trained.weights)["classifier.weight"])
    with pytest.raises(BundleError, match="other findings"):
        starting.start_from(network, trained.directory, replace(plan, findings=plan.findings[::-1]))


def test_frozen_features_stay_while_the_head_learns(trained: Bundle, tmp_path: Path) -> None:
    plan = small_plan(start_from=trained.directory, frozen_epochs=1, epochs=1)
    source = load_file(trained.weights)
    moved = load_file(train(plan, tmp_path).weights)
    filters = [name for name in source if name.startswith("features.") and source[name].ndim == 4]
    assert all(torch.equal(source[name], moved[name]) for name in filters)
    assert not torch.equal(source["classifier.weight"], moved["classifier.weight"])


def test_a_folder_of_dicom_with_its_truth_trains_too(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path / "images", 60, 8, taken_at=datetime(2026, 1, 2), size=160)  # noqa: DTZ001
    source = FolderSource(images=tmp_path / "images", table=table, labels={}, validation=0.4, test=0.4)
    bundle = train(small_plan(source=source, epochs=1), tmp_path / "run")
    evaluation = json.loads((bundle.directory / "evaluation.json").read_text())
    counts = (evaluation["training"]["images"], evaluation["validation"]["images"], evaluation["test"]["images"])
    assert sum(counts) == 60
    assert "pointing_game" not in evaluation["test"]["findings"]["pneumothorax"]


# --- tables and splits ---


def folder(tmp_path: Path, text: str, names: tuple[str, ...] = ("a.png", "b.png"), **changes: Any) -> FolderSource:
    (tmp_path / "labels.csv").write_text(text)
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.full((40, 40), 90, np.uint8))
    labels = {"opacity": ("Pneumonia", "Infiltration"), "mass": ("Mass",)}
    changes = {"unusable": "skip", **changes}
    return FolderSource(images=tmp_path, table=tmp_path / "labels.csv", labels=labels, **changes)


@pytest.mark.parametrize(
    "text",
    [
        "Image Index,Finding Labels,Patient ID\na.png,Infiltration|Hernia,1\nb.png,No Finding,2\nmissing.png,Mass,3\n",
        "file,patient,label\na.png,1,Pneumonia\nb.png,2,Hernia\n",
        "file,patient,opacity,mass\na.png,1,1,0\nb.png,2,0,0\n",
    ],
)
def test_three_layouts_of_a_table_say_the_same(tmp_path: Path, text: str) -> None:
    rows = read_table(folder(tmp_path, text), ("opacity", "mass"))
    assert [(row.path.name, row.patient, row.labels) for row in rows] == [
        ("a.png", "1", (1.0, 0.0)),
        ("b.png", "2", (0.0, 0.0)),
    ]


def test_an_empty_cell_is_unknown_and_costs_nothing(tmp_path: Path) -> None:
    rows = read_table(folder(tmp_path, "file,patient,opacity,mass\na.png,1,,1\n"), ("opacity", "mass"))
    assert np.isnan(rows[0].labels[0])
    values = torch.tensor([[9.0, 9.0]], requires_grad=True)
    losses.classification_loss(values, torch.tensor([rows[0].labels]), torch.ones(2)).backward()
    assert isinstance(values.grad, Tensor)
    assert values.grad[0, 0] == 0 != values.grad[0, 1]


def test_excluded_rows_are_on_no_side(tmp_path: Path) -> None:
    text = "file,patient,label,biased\na.png,1,Mass,1\nb.png,2,Mass,0\n"
    rows = read_table(folder(tmp_path, text, exclude={"biased": "1"}), ("mass",))
    assert [row.path.name for row in rows] == ["b.png"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,label\na.png,Mass\n", "no column"),
        ("file,other\na.png,1\n", "mass"),
        ("file,label\nz.png,Mass\n", "none"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TrainingDataError, match=says):
        read_table(folder(tmp_path, text), ("mass",))


def test_a_label_table_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    source = folder(
        tmp_path / "in" if (tmp_path / "in").mkdir() is None else tmp_path, "file,label\n../secret.png,Mass\n"
    )
    cv2.imwrite(str(tmp_path / "secret.png"), np.zeros((40, 40), np.uint8))
    with pytest.raises(TrainingDataError, match="none"):
        read_table(source, ("mass",))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=120), st.integers(0, 100))
def test_no_patient_is_on_two_sides(patients: list[int], seed: int) -> None:
    rows = [Row(Path(f"{n}.png"), str(patient), (0.0,)) for n, patient in enumerate(patients)]
    source = FolderSource(images=Path(), table=Path(), labels={})
    sides = split(rows, source, seed)
    assert sorted((r.path.name for side in sides for r in side), key=str) == sorted(r.path.name for r in rows)
    where = defaultdict(set)
    for number, side in enumerate(sides):
        for row in side:
            where[row.patient].add(number)
    assert all(len(numbers) == 1 for numbers in where.values())


def test_split_has_about_the_asked_shares() -> None:
    rows = [Row(Path(), str(n), (0.0,)) for n in range(4000)]
    train_side, validation, test = split(rows, FolderSource(images=Path(), table=Path(), labels={}), seed=3)
    assert len(validation) / 4000 == pytest.approx(0.2, abs=0.03)
    assert len(test) / 4000 == pytest.approx(0.3, abs=0.03)
    assert len(train_side) == 4000 - len(validation) - len(test)


def test_an_unreadable_image_is_an_error_not_a_black_picture(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not an image")
    with pytest.raises(TrainingDataError, match=r"x\.png"):
        read_image(tmp_path / "x.png", SMALL)


# --- pictures and losses ---


@given(st.integers(0, 2**32 - 1))
def test_augmentation_moves_the_mask_with_the_picture(seed: int) -> None:
    image = np.full((128, 128), 40, np.uint8)
    image[48:80, 40:72] = 220
    bits = np.zeros((32, 32), np.uint8)
    bits[48 // MASK_STEP : 80 // MASK_STEP, 40 // MASK_STEP : 72 // MASK_STEP] = 1
    moved, where = augment(image, bits, np.random.default_rng(seed))
    assert moved.shape == image.shape
    assert where is not None
    centre = np.argwhere(where == 1).mean(axis=0) * MASK_STEP + (MASK_STEP - 1) / 2
    weight = np.clip(cv2.GaussianBlur(moved, (0, 0), 2).astype(float) - moved.mean() - 10, 0, None)
    rows, columns = np.mgrid[:128, :128]
    bright = np.array([(rows * weight).sum(), (columns * weight).sum()]) / weight.sum()
    assert np.abs(bright - centre).max() < 5


def test_localisation_loss_wants_the_peak_inside_the_mask() -> None:
    masks = torch.zeros(1, 1, 32, 32)
    masks[0, 0, :8, :8] = 1
    weight = torch.ones(1, 1)
    inside, outside = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    inside[0, 0, 0, 0] = outside[0, 0, 3, 3] = 32.0
    near, far = (float(losses.localisation_loss(cells, weight, masks)) for cells in (inside, outside))
    assert near < 0.1
    assert far > 1
    assert losses.localisation_loss(outside, weight, torch.zeros_like(masks)) == 0


def test_rare_findings_weigh_more_within_bounds() -> None:
    labels = np.array([[1, 1, 0]] + [[0, 1, 0]] * 15 + [[np.nan, 0, 0]] * 16, np.float32)
    weights = losses.positive_weights(labels)
    assert weights.tolist() == pytest.approx([np.sqrt(15), 1.0, np.sqrt(32)])


def test_network_images_follow_the_input_spec() -> None:
    samples = Samples(np.full((2, 4, 4), 255, np.uint8), np.zeros((2, 1), np.float32))
    images = samples.network_images(slice(None), InputSpec(height=128, width=128, mean=0.5, std=0.25))
    assert images.shape == (2, 1, 4, 4)
    assert images.dtype == np.float32
    assert float(images[0, 0, 0, 0]) == 2.0


def test_a_plan_can_be_made_without_torch() -> None:
    code = "import sys, models.training, models.training.shipped, models.card; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
