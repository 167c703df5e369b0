"""Whole runs on tiny networks: the same seed, a real kill, a full disk, two processes, folds, a file that is a plan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_samples import arrays_plan, finding, folder_plan, write_arrays, write_folder

from models import networks
from models.bundle import Bundle
from models.metadata import RoutingConditions
from models.self_test import verify
from models.training import PlanError, TrainingDataError, TrainingError, losses, starting, train
from models.training.batches import order_of
from models.training.cross_validation import cross_validate
from models.training.curves import page
from models.training.optimiser import freeze, optimiser, rate_factor, set_training_mode
from models.training.plan_file import plan_text, read_findings, read_plan
from models.training.precision import Precision, choose_device
from models.training.site_plan import SiteData, site_plan
from triage.errors import BundleError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_arrays(tmp_path_factory.mktemp("data") / "squares.npz")


@pytest.fixture(scope="module")
def undisturbed(arrays: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train(arrays_plan(arrays, epochs=3), tmp_path_factory.mktemp("run"))


def command(*arguments: str) -> dict[str, Any]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return {"args": [sys.executable, "-m", *arguments], "cwd": ROOT, "env": environment, "text": True}


def same(ours: Bundle, theirs: Bundle, tolerance: float = 0.0) -> bool:
    left, right = load_file(ours.weights), load_file(theirs.weights)
    return all(torch.allclose(left[name].float(), right[name].float(), rtol=0, atol=tolerance) for name in right)


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(
    undisturbed: Bundle, arrays: Path, tmp_path: Path
) -> None:
    verify(undisturbed)
    assert same(train(arrays_plan(arrays, epochs=3), tmp_path / "again"), undisturbed)
    assert not same(train(arrays_plan(arrays, epochs=3, seed=1), tmp_path / "other"), undisturbed)


def test_a_run_directory_says_what_it_ran_on_and_how_it_went(undisturbed: Bundle) -> None:
    run = undisturbed.directory.parent
    stated = json.loads((run / "environment.json").read_text())
    assert stated["packages"]["torch"] == torch.__version__.split("+", maxsplit=1)[0]
    assert stated["seed"] == 0
    text = (run / "curves.html").read_text()
    assert text.count("<svg") == 3
    assert "http" not in text
    assert "<script" not in text


def test_killed_in_the_middle_of_an_epoch_it_ends_as_if_nothing_had_been(
    undisturbed: Bundle, arrays: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(plan_text(arrays_plan(arrays, epochs=3, checkpoint_minutes=1e-9)))
    with subprocess.Popen(
        **command("firstread", "models", "train", str(plan), "--run", str(tmp_path / "run")), stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "epoch 1" in line:
                child.send_signal(signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    notes: list[str] = []

    def report(event: str, figures: dict[str, Any]) -> None:
        if event == "note":
            notes.append(figures["text"])

    assert same(train(arrays_plan(arrays, epochs=3), tmp_path / "run", report), undisturbed, 1e-6)
    assert any(note.startswith("goes on after epoch ") for note in notes)


def test_stopped_between_two_steps_it_goes_on_with_the_next_one(
    undisturbed: Bundle, arrays: Path, tmp_path: Path
) -> None:
    plan = arrays_plan(arrays, epochs=3, checkpoint_minutes=1e-9)

    class StopError(Exception):
        pass

    def stop_after_a_step(event: str, figures: dict[str, Any]) -> None:
        if event == "step" and figures["epoch"] == 2:
            raise StopError

    with pytest.raises(StopError):
        train(plan, tmp_path, stop_after_a_step)
    notes: list[str] = []
    later = replace(plan, date="2026-01-02")  # midnight begins nothing anew
    again = train(later, tmp_path, lambda event, f: notes.append(f["text"]) if event == "note" else None)
    assert "goes on after epoch 1, step 1" in notes
    assert same(again, undisturbed)


def test_a_full_disk_ends_a_run_clearly_and_keeps_the_last_checkpoint(
    undisturbed: Bundle, arrays: Path, tmp_path: Path
) -> None:
    plan = arrays_plan(arrays, epochs=3)

    def fill_the_disk(event: str, figures: dict[str, Any]) -> None:
        if event == "epoch" and figures["epoch"] == 1:
            (tmp_path / "checkpoint.safetensors.part").symlink_to("/dev/full")

    with pytest.raises(TrainingError, match="No space left on device") as caught:
        train(plan, tmp_path, fill_the_disk)
    assert "goes on from there" in caught.value.next_step
    epochs: list[int] = []
    again = train(plan, tmp_path, lambda e, f: epochs.append(f["epoch"]) if e == "epoch" else None)
    assert epochs == [2, 3]
    assert same(again, undisturbed)


def test_a_damaged_checkpoint_is_named_and_nothing_is_overwritten(arrays: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(TrainingError, match="is damaged"):
        train(arrays_plan(arrays), tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == b"\x00" * 100


def test_a_loss_that_is_no_number_stops_the_run(arrays: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no longer a number"):
        train(arrays_plan(arrays, learning_rate=1e30, schedule="constant"), tmp_path)


def test_two_processes_learn_what_one_learns(arrays: Path, tmp_path: Path) -> None:
    # Frozen features with fixed statistics: batch norm in training mode sees each process's part alone.
    plan = arrays_plan(arrays, frozen_epochs=2, frozen_statistics=True, dropout=0.0, imbalance=("focal",))
    alone = train(plan, tmp_path / "alone")
    (tmp_path / "plan.toml").write_text(plan_text(plan))
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "firstread")
    done = subprocess.run(
        **command(*launcher, "models", "train", str(tmp_path / "plan.toml"), "--run-directory", str(tmp_path / "run")),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch: epoch 1") == 1
    assert "2 processes" in " ".join(done.stdout.split())  # a long path wraps the line anywhere
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2
    assert same(Bundle.load(tmp_path / "run" / "tiny"), alone, 1e-5)


def test_folds_are_runs_of_their_own_with_one_cache_and_a_summary(tmp_path: Path) -> None:
    table = write_folder(tmp_path / "images", 30)
    plan = folder_plan(tmp_path / "images", table, folds=3, epochs=1)
    bundles = cross_validate(plan, tmp_path / "run")
    assert len(bundles) == 3
    result = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert sum(result["test_images"]) == 60
    figures = result["findings"]["square"]["auc"]
    assert figures["mean"] == pytest.approx(np.mean(figures["values"]), abs=1e-4)
    assert len(list((tmp_path / "run" / "cache").glob("*.images"))) == 1
    lines = (tmp_path / "run" / "fold-1" / "split.csv").read_text().splitlines()
    sides: dict[str, set[str]] = {}
    for line in lines[1:]:
        _, patient, side, *_ = line.split(",")
        sides.setdefault(patient, set()).add(side)
    assert len(sides) == 30
    assert all(len(names) == 1 for names in sides.values())
    with pytest.raises(PlanError, match="folds"):
        cross_validate(arrays_plan(tmp_path / "none.npz", folds=3), tmp_path / "no")


def test_more_processes_than_images_is_refused(arrays: Path, tmp_path: Path) -> None:
    from models.training.loop import fit  # noqa: PLC0415
    from models.training.ranks import Ranks  # noqa: PLC0415
    from models.training.samples import Samples  # noqa: PLC0415

    few = Samples(np.zeros((3, 64, 64), np.uint8), np.zeros((3, 1), np.float32))
    with pytest.raises(TrainingDataError, match="at least 4"):
        fit(arrays_plan(arrays), few, few, tmp_path, "", lambda _event, _figures: None, Ranks(size=2))


# --- parts of a run ---


def test_focal_loss_plays_down_what_is_right_and_is_entropy_without_gamma() -> None:
    values, labels, ones = torch.tensor([[3.0], [-1.0]]), torch.tensor([[1.0], [1.0]]), torch.ones(1)
    chance = torch.sigmoid(values)
    expected = (-((1 - chance) ** 2) * torch.log(chance)).mean()
    assert float(losses.classification_loss(values, labels, ones, gamma=2.0)) == pytest.approx(float(expected))
    plain = losses.classification_loss(values, labels, ones)
    assert float(plain) == pytest.approx(float(-torch.log(chance).mean()))
    extreme = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    losses.classification_loss(extreme, torch.tensor([[0.0], [0.0]]), ones, gamma=2.0).backward()
    assert extreme.grad is not None
    assert torch.isfinite(extreme.grad).all()


def test_oversampling_draws_the_rare_more_often_and_without_it_every_image_once() -> None:
    labels = np.zeros((2000, 1), np.float32)
    labels[:100] = 1
    plan = arrays_plan(Path())
    assert sorted(order_of(labels, plan, 3)) == list(range(2000))
    drawn = order_of(labels, replace(plan, imbalance=("oversample",)), 3)
    assert 0.15 < np.mean(drawn < 100) < 0.22  # 100 √19 of 100 √19 + 1900: 0.187
    assert not np.array_equal(order_of(labels, plan, 0), order_of(labels, plan, 1))


def test_the_rate_rises_and_falls_or_waits_for_a_plateau() -> None:
    plan = arrays_plan(Path(), schedule="cosine")
    rates = [rate_factor(plan, done, []) for done in (0.0, 0.075, 0.15, 0.575, 1.0)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    history = [{"mean_auc": value} for value in (0.7, 0.8, 0.8, 0.79, 0.9, 0.8, 0.8)]
    waiting = replace(plan, schedule="plateau", plateau=2)
    assert [rate_factor(waiting, 0.5, history[:n]) for n in (3, 4, 5, 7)] == [1.0, 0.5, 0.5, 0.25]


def test_stages_freeze_features_and_their_statistics_and_give_each_group_its_rate() -> None:
    plan = arrays_plan(Path(), frozen_epochs=1, frozen_statistics=True, feature_rate=0.01)
    network = networks.build(plan.architecture, 1)
    assert freeze(network, plan, 0) == ("classifier.",)
    set_training_mode(network, plan)
    norms = [m for m in network.features.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)
    freeze(network, plan, 1)
    set_training_mode(network, plan)
    assert all(norm.training for norm in norms)
    assert {round(group["peak"] / plan.learning_rate, 4) for group in optimiser(network, plan).param_groups} == {
        0.01,
        1,
    }


def test_imagenet_weights_come_from_safetensors_with_their_colours_summed(tmp_path: Path) -> None:
    from torchvision.models import shufflenet_v2_x0_5  # noqa: PLC0415

    state = shufflenet_v2_x0_5(weights=None).state_dict()
    save_file({f"module.{name}": value for name, value in state.items()}, tmp_path / "imagenet.safetensors")
    plan = arrays_plan(Path())
    network = networks.build(plan.architecture, 1)
    starting.start_from(network, tmp_path / "imagenet.safetensors", plan)
    features = network.features.state_dict()
    assert torch.allclose(features["conv1.0.weight"], state["conv1.0.weight"].sum(1, keepdim=True))
    assert torch.equal(features["conv5.0.weight"], state["conv5.0.weight"])
    with pytest.raises(BundleError, match="missing or of another shape"):
        starting.start_from(
            networks.build("resnet18", 1), tmp_path / "imagenet.safetensors", replace(plan, architecture="resnet18")
        )
    (tmp_path / "model.pth").write_bytes(b"pickle")
    with pytest.raises(BundleError, match="neither"):
        starting.start_from(network, tmp_path / "model.pth", plan)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_half_precision_is_refused_politely_and_cuda_firmly() -> None:
    precision = Precision("bf16", choose_device("auto"))
    assert "float32" in precision.note
    with pytest.raises(TrainingError, match="no GPU"):
        choose_device("cuda")


def test_curves_name_their_findings_safely() -> None:
    text = page([{"epoch": 1, "train_loss": 1.0, "mean_auc": 0.5, "auc_<b>": 0.5}], "<title>")
    assert "<b>" not in text
    assert "&lt;title&gt;" in text


# --- plan files ---


def test_a_plan_survives_its_file(arrays: Path, tmp_path: Path) -> None:
    for plan in (
        arrays_plan(arrays, findings=(finding("square"), finding("round"))),
        folder_plan(tmp_path, tmp_path / "a.csv", routing=RoutingConditions(min_age_years=18.0), folds=5),
    ):
        (tmp_path / "plan.toml").write_text(plan_text(plan))
        assert read_plan(tmp_path / "plan.toml") == plan


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("epochs = 2", "epoch = 2"), "epoch.*Unexpected"),
        (("epochs = 2", "epochs = 0"), "epochs.*greater"),
        (('kind = "medmnist"', 'kind = "folders"'), "source.*folders"),
        (('schedule = "cosine"', 'schedule = "linear"'), "schedule"),
        (("epochs = 2", "epochs = "), "cannot be read as TOML"),
    ],
)
def test_a_plan_with_a_mistake_is_refused_with_the_place(
    arrays: Path, tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    text = plan_text(arrays_plan(arrays))
    assert change[0] in text
    (tmp_path / "plan.toml").write_text(text.replace(*change, 1))
    with pytest.raises(PlanError, match=says):
        read_plan(tmp_path / "plan.toml")


def test_findings_are_asked_for_by_key_or_with_their_codes(tmp_path: Path) -> None:
    path = tmp_path / "findings.toml"
    path.write_text(
        '[[finding]]\nkey = "pneumothorax"\nlabels = ["Pneumothorax"]\n[[finding]]\nkey = "edema"\n'
        'code = { value = "1", scheme = "99TEST", meaning = "Edema" }\n'
    )
    findings, labels = read_findings(path)
    assert findings[0].code.value == "36118008"
    assert labels == {"pneumothorax": ("Pneumothorax",), "edema": ("edema",)}
    path.write_text('[[finding]]\nkey = "edema"\n')
    with pytest.raises(PlanError, match="finding 1: code"):
        read_findings(path)


def test_a_site_plan_states_what_blanks_mean_and_moves_no_case(tmp_path: Path) -> None:
    (tmp_path / "findings.toml").write_text('[[finding]]\nkey = "pneumothorax"\nlabels = ["Pneumothorax"]\n')
    table = tmp_path / "train.csv"
    table.write_text("Path,Pneumothorax\n")
    data = SiteData(images=tmp_path, table=table, layout="auto", findings=tmp_path / "findings.toml", options={})
    plan = site_plan(data, name="mine", date="2026-01-01", size=64, changes={"folds": 5})
    assert (plan.source.layout, plan.source.blanks) == ("chexpert", "negative")  # type: ignore[union-attr]
    assert plan.findings[0].urgency == "ROUTINE"
    assert plan.describe.research
    with pytest.raises(PlanError, match="epochs"):
        site_plan(data, name="mine", date="2026-01-01", size=64, changes={"epochs": 0})
    with pytest.raises(PlanError, match="medmnist"):
        site_plan(
            replace(data, layout="medmnist", options={"exclude": {"a": "b"}}),
            name="mine", date="2026-01-01", size=64, changes={},
        )  # fmt: skip
