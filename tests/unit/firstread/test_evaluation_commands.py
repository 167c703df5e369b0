"""`firstread models evaluate` as a person and as a program meet it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firstread.cli import app
from models.registry import SHIPPED
from triage.errors import BundleError, FirstreadError, SettingsError

ROOT = Path(__file__).parents[3]


def evaluate(*arguments: str) -> FirstreadError | None:
    """The error that the command ends with, before anything is predicted."""
    error = CliRunner().invoke(app, ["models", "evaluate", *arguments]).exception
    assert error is None or isinstance(error, FirstreadError)
    return error


def test_phantoms_end_to_end_for_a_program(tmp_path: Path) -> None:
    arguments = ["phantom-cxr", "--phantoms", "6", "--seed", "500", "--out", str(tmp_path / "out"), "--json"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    run = subprocess.run(
        [sys.executable, "-m", "firstread", "models", "evaluate", *arguments],
        cwd=tmp_path, env={**inherited, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=360, check=True,
    )  # fmt: skip
    summary = json.loads(run.stdout)
    assert summary["bundle"] == "phantom-cxr"
    assert summary["left_out"] == {"validation": 0, "test": 0}
    assert summary["findings"].keys() == {
        "pneumothorax", "pleural_effusion", "consolidation", "cardiomegaly", "nodule_mass",
    }  # fmt: skip
    assert all(Path(path).is_file() for path in summary["files"])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["test"]["images"] == summary["images"]
    assert "6/6" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "one of them is needed"),
        (["--images", "."], "needs a folder and a table"),
        (["--images", "nowhere", "--table", "t.csv"], "nowhere is not a folder"),
        (["--images", ".", "--table", "t.csv", "--phantoms", "3"], "one of them is needed"),
        (["--phantoms", "3", "--validation", "split=val"], "no table whose column"),
        (["--phantoms", "3", "--as-trained"], "--as-trained already says"),
        (["--images", ".", "--table", "t.csv", "--unseen-scanner"], "one of the phantoms"),
        (["--phantoms", "3", "--prevalence", "pneumothorax=2%"], "not a share between 0 and 1"),
        (["--phantoms", "3", "--prevalence", "pneumothorax"], "not NAME=VALUE"),
        (["--phantoms", "3", "--label", "gout=Gout"], "no finding gout"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(tmp_path: Path, arguments: list[str], says: str) -> None:
    error = evaluate("phantom-cxr", "--out", str(tmp_path / "out"), *arguments)
    assert isinstance(error, SettingsError)
    assert says in str(error)
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path) -> None:
    error = evaluate("no-such-bundle", "--phantoms", "3", "--out", str(tmp_path / "out"))
    assert isinstance(error, BundleError)
    assert "there is no bundle no-such-bundle" in str(error)


def test_a_bundle_that_was_altered_is_refused(tmp_path: Path) -> None:
    copy = shutil.copytree(SHIPPED / "phantom-cxr", tmp_path / "altered")
    (copy / "MODEL_CARD.md").write_text("The best of all models.")
    error = evaluate(str(copy), "--phantoms", "3", "--out", str(tmp_path / "out"))
    assert isinstance(error, BundleError)
    assert "MODEL_CARD.md does not have its checksum" in str(error)
