"""``firstread models import``: from a file and its description to a bundle that `models verify` accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torchvision
from typer.testing import CliRunner

from firstread.cli import app
from triage.errors import BundleError, FirstreadError, ForeignModelError

DESCRIPTION = """
name = "two-findings"
labels = ["Pneumothorax", "Effusion"]
scores = "sigmoid"
[input]
height = 64
width = 64
channels = 3
mean = 0.5
std = 0.25
"""


def run(*arguments: str, data: Path) -> str:
    """Output of a command that ends well; its error is raised."""
    result = CliRunner().invoke(app, ["models", *arguments], env={"COLUMNS": "240", "FIRSTREAD_DATA": str(data)})
    if isinstance(result.exception, FirstreadError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def described(tmp_path: Path) -> list[str]:
    (tmp_path / "model.toml").write_text(DESCRIPTION)
    return ["--describe", str(tmp_path / "model.toml"), "--out", str(tmp_path / "bundles")]


def test_an_imported_bundle_is_listed_and_verified(tmp_path: Path, described: list[str]) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=2).state_dict(), tmp_path / "model.pth")
    shown = run("import", str(tmp_path / "model.pth"), *described, data=tmp_path)
    assert "pneumothorax" in shown
    assert "uncalibrated probability" in shown
    assert "models add" in shown
    assert "✓ two-findings" in run("verify", "two-findings", data=tmp_path)
    answer = run("import", str(tmp_path / "model.pth"), *described, "--json", data=tmp_path)
    assert json.loads(answer)["name"] == "two-findings"
    (tmp_path / "bundles" / "two-findings" / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(BundleError, match="two-findings"):
        run("verify", "two-findings", data=tmp_path)


def test_a_pickle_that_would_call_something_leaves_nothing_behind(tmp_path: Path, described: list[str]) -> None:
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=2)
    network.source = tmp_path
    torch.save(network, tmp_path / "model.pth")
    with pytest.raises(ForeignModelError, match=r"a call of pathlib\.PosixPath"):
        run("import", str(tmp_path / "model.pth"), *described, data=tmp_path)
    assert not (tmp_path / "bundles").exists()
