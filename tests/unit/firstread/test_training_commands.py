"""`firstread models train` as far as it goes without a network: options become a plan, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from firstread.commands.models import app
from models.training import PlanError
from models.training.plan import FolderSource
from models.training.plan_file import read_plan
from triage.errors import SettingsError


@pytest.fixture
def own_data(tmp_path: Path) -> list[str]:
    (tmp_path / "findings.toml").write_text('[[finding]]\nkey = "pneumothorax"\nlabels = ["Pneumothorax"]\n')
    (tmp_path / "labels.csv").write_text("Image Index,Finding Labels,Patient ID\n")
    return [
        "train", "--images", str(tmp_path), "--table", str(tmp_path / "labels.csv"),
        "--findings", str(tmp_path / "findings.toml"),
    ]  # fmt: skip


def test_options_are_printed_as_a_plan_that_reads_back(own_data: list[str], tmp_path: Path) -> None:
    options = [
        "--side",
        f"test={tmp_path / 'test_list.txt'}",
        "--exclude",
        "biased=1",
        "--imbalance",
        "focal,oversample",
    ]
    more = ["--folds", "5", "--size", "256", "--frozen-epochs", "2", "--uncertain", "ones", "--write-plan"]
    printed = CliRunner().invoke(app, [*own_data, *options, *more])
    assert printed.exit_code == 0, printed.exception
    (tmp_path / "plan.toml").write_text(printed.output)
    plan = read_plan(tmp_path / "plan.toml")
    assert isinstance(plan.source, FolderSource)
    assert plan.source.layout == "nih"
    assert plan.source.lists == {"test": tmp_path / "test_list.txt"}
    assert plan.source.exclude == {"biased": "1"}
    assert plan.source.uncertain == "ones"
    assert (plan.imbalance, plan.folds, plan.frozen_epochs) == (("focal", "oversample"), 5, 2)
    assert (plan.input.height, plan.input.width) == (256, 256)


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        (["--side", "tset=list.txt", "--run", "x"], SettingsError, "--side tset"),
        (["--imbalance", "luck", "--write-plan"], PlanError, "imbalance"),
        ([], SettingsError, "run directory"),
        (["plan.toml", "--run", "x"], SettingsError, "says itself"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(
    own_data: list[str], more: list[str], error: type[Exception], says: str
) -> None:
    result = CliRunner().invoke(app, [*own_data, *more])
    assert isinstance(result.exception, error)
    assert says in str(result.exception)


def test_nothing_given_says_what_is_needed() -> None:
    result = CliRunner().invoke(app, ["train", "--run", "x"])
    assert isinstance(result.exception, SettingsError)
    assert "phantom-cxr" in result.exception.next_step


def test_the_shipped_recipe_is_printed_to_be_edited(tmp_path: Path) -> None:
    options = ["--images", str(tmp_path), "--table", str(tmp_path / "labels.csv"), "--epochs", "3", "--write-plan"]
    printed = CliRunner().invoke(app, ["train", "nih-cxr-research", *options])
    assert printed.exit_code == 0, printed.exception
    (tmp_path / "plan.toml").write_text(printed.output)
    plan = read_plan(tmp_path / "plan.toml")
    assert isinstance(plan.source, FolderSource)
    assert plan.source.exclude == {"size_biased": "1"}
    assert (plan.describe.name, plan.epochs, plan.source.images) == ("nih-cxr-research", 3, tmp_path)


@pytest.mark.parametrize("name", ["phantom-cxr", "phantom-head-ct"])
def test_how_many_threads_train_is_no_part_of_a_shipped_recipe(name: str) -> None:
    taken = CliRunner().invoke(app, ["train", name, "--threads", "1"])
    assert isinstance(taken.exception, SettingsError)
    assert "needs a run directory" in str(taken.exception)
    assert CliRunner().invoke(app, ["train", name, "--threads", "0", "--run", "x"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nih-cxr-research", "--exclude", "a=b"], "how its table is read"),
        (["nih-cxr-research", "--write-plan"], "learns from NIH"),
        (["phantom-cxr", "--epochs", "3"], "in stages"),
        (["plan.toml", "--epochs", "3"], "settings"),
    ],
)
def test_an_option_that_a_plan_would_not_follow_is_refused(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["train", *arguments, "--run", "x"])
    assert isinstance(result.exception, SettingsError)
    assert says in str(result.exception)
