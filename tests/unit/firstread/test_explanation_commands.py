"""``firstread models explain-check`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firstread.cli import app
from models.bundle import Bundle
from models.bundle_writer import write_again
from models.phantom import draw_findings
from models.registry import SHIPPED
from models.self_test import verify


def check(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["models", "explain-check", *arguments])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("fast")
def test_figures_and_a_bundle_that_holds_them(tmp_path: Path) -> None:
    code, text = check("phantom-cxr", "--phantoms", "4", "--seed", "77", "--out", str(tmp_path))
    assert code == 0, text
    figures = json.loads((tmp_path / "explanation.json").read_bytes())
    assert figures["source"] == "4 phantoms of series 77"
    assert figures["shown"] is True
    assert figures["unjudged"]  # four phantoms are too few for anything
    copy = Bundle.load(tmp_path / "bundle" / "phantom-cxr")
    verify(copy)
    assert json.loads((copy.directory / "evaluation.json").read_bytes())["explanation"] == figures
    assert "## Heat maps" in (copy.directory / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("fast")
def test_images_without_a_finding_are_said(tmp_path: Path) -> None:
    seed = next(seed for seed in range(100) if not draw_findings(seed, 0))
    code, text = check("phantom-cxr", "--phantoms", "1", "--seed", str(seed), "--out", str(tmp_path / "out"))
    assert code != 0
    assert "no heat map to check" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("fast")
def test_a_bundle_that_ships_none_can_be_compared_by_a_named_method(tmp_path: Path) -> None:
    shipped = Bundle.load(SHIPPED / "phantom-cxr")
    silent = Bundle(shipped.directory, shipped.metadata.model_copy(update={"explanation": "none"}))
    copy = write_again(
        silent, tmp_path / "phantom-cxr", json.loads((shipped.directory / "evaluation.json").read_bytes())
    )
    code, text = check(str(copy.directory), "--phantoms", "2", "--out", str(tmp_path / "out"))
    assert code != 0
    assert "no heat maps to check" in text
    code, text = check(str(copy.directory), "--phantoms", "3", "--method", "hirescam", "--out", str(tmp_path / "out"))
    assert code == 0, text
    assert "not touched" in text
    assert json.loads((tmp_path / "out" / "explanation.json").read_bytes())["method"] == "hirescam"


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    code, text = check("phantom-cxr", "--images", str(tmp_path / "away"), "--out", str(tmp_path / "out"))
    assert code != 0
    assert "is not a folder" in text
