"""The verbs about bundles as an engineer types them: what they say, to people and to programs."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from migrated import migrate
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from firstread.commands.models import app
from models.registry import SHIPPED
from triage.database import Database
from triage.errors import BundleError
from triage.settings import Settings
from triage.tables import Event
from workers.bundle_store import BundleStore

Run = Callable[..., Result]
GUIDE = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIRSTREAD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, fails: bool = False) -> Result:
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code != 0) is fails, result.output
        return result

    return run


def rows(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def added(tmp_path: Path) -> None:
    """A bundle of the site's own, that asks for figures of this installation."""
    directory = Path(shutil.copytree(SHIPPED / "phantom-cxr", tmp_path / "brought"))
    metadata = json.loads((directory / "metadata.json").read_text())
    changes = {"name": "hospital-cxr", "version": "1.0.0", "acceptance": {"measured_on": "installation"}}
    (directory / "metadata.json").write_text(json.dumps(metadata | changes))
    store = BundleStore(folder=tmp_path / "data" / "bundles", clock=lambda: datetime.now(UTC), who="kim")
    store.add(directory)


@pytest.mark.usefixtures("added")
def test_the_list_says_who_reads_and_why_not(run: Run) -> None:
    listed = {row["name"]: row for row in rows(run, "list")}
    assert {name: row["source"] for name, row in listed.items()} == {
        "hospital-cxr": "site", "phantom-cxr": "shipped", "phantom-head-ct": "shipped",
        "nih-cxr-research": "shipped",
    }  # fmt: skip
    own = listed["hospital-cxr"]
    assert (own["enabled"], own["note"], own["acceptance"]["met"]) == (False, "not enabled yet", False)
    assert listed["phantom-cxr"]["enabled"]
    assert "not enabled yet" in run("list").stdout
    run("disable", "phantom-cxr", "--reason", "none here [/]")
    assert "disabled: none here [/]" in run("list").stdout


@pytest.mark.usefixtures("added")
def test_a_damaged_bundle_is_unavailable_in_words_that_fit_any_terminal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "bundles" / "hospital-cxr" / "network.onnx").unlink()
    monkeypatch.setenv("COLUMNS", "72")
    listed = "".join(run("list").stdout.split())
    assert f"modelunavailable:hospital-cxr:{tmp_path}/data/bundles/hospital-cxr/network.onnxismissing." in listed
    error = run("verify", "hospital-cxr", fails=True).exception
    assert isinstance(error, BundleError)
    assert "listed as not analysed" in str(error)
    assert "--replace" in error.next_step


@pytest.mark.usefixtures("added")
def test_enabling_takes_a_report_of_this_site(run: Run, tmp_path: Path) -> None:
    refused = run("enable", "hospital-cxr", fails=True)
    assert isinstance(refused.exception, BundleError)
    assert "figures measured on this installation" in refused.stdout
    assert "--evaluation report.json" in refused.exception.advice()
    assert run("accept", "hospital-cxr", fails=True).exit_code == 1
    own = next(row for row in rows(run, "list") if row["name"] == "hospital-cxr")
    figures = json.loads((SHIPPED / "phantom-cxr" / "evaluation.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps(figures | {"weights_sha256": own["weights_sha256"]}))
    said = rows(run, "enable", "hospital-cxr", "--evaluation", "report.json", "--images", "300 of May")
    assert (said["met"], said["proof"], said["data"]) == (True, "installation", "300 of May")
    assert next(row for row in rows(run, "list") if row["name"] == "hospital-cxr")["enabled"]
    refused = run("remove", "hospital-cxr", fails=True)
    assert "is enabled" in str(refused.exception)
    run("disable", "hospital-cxr", "--reason", "retired")
    assert ".kept" in run("remove", "hospital-cxr").stdout


def test_operating_points_are_shown_set_and_reset(run: Run) -> None:
    own = rows(run, "thresholds", "phantom-cxr")[0]
    assert (own["finding"], own["site_threshold"], own["threshold"]) == ("pneumothorax", None, own["bundle_threshold"])
    said = run("thresholds", "phantom-cxr", "pneumothorax", "0.3", "--urgency", "URGENT", "--reason", "trial").stdout
    assert "≥ 0.3 → URGENT" in said
    assert "measured at the bundle's own threshold" in said
    changed = rows(run, "thresholds", "phantom-cxr")[0]
    assert (changed["threshold"], changed["urgency"]) == (0.3, "URGENT")
    assert json.loads(run("show", "phantom-cxr").stdout)["findings"][0]["threshold"] == 0.3
    assert rows(run, "thresholds", "phantom-cxr", "--reset")[0] == own


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["enable", "nothing"], "no bundle nothing"),
        (["verify", "nothing"], "no bundle nothing"),
        (["disable", "nothing", "--reason", "x"], "no bundle nothing"),
        (["thresholds", "phantom-cxr", "pneumothorax", "1.7"], "not within"),
        (["thresholds", "phantom-cxr", "pneumothoraks", "0.7"], "no finding pneumothoraks"),
        (["thresholds", "phantom-cxr", "--urgency", "STAT"], "set for one finding"),
        (["thresholds", "phantom-cxr", "pneumothorax", "0.5", "--reset"], "set for one finding"),
        (["remove", "phantom-cxr"], "ships with firstread"),
        (["add", "nothing.zip"], "cannot be read"),
        (["accept", "phantom-cxr", "--evaluation", "nothing.json"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_says_why_and_what_to_do(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments, fails=True)
    assert isinstance(result.exception, BundleError)
    assert said in str(result.exception)
    assert result.exception.next_step


def test_the_guide_names_commands_and_options_that_exist() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    lines = [line for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith("firstread models ")]
    assert len(lines) > 10
    for line in lines:
        _, _, verb, *arguments = shlex.split(line, comments=True)
        assert verb in known, line
        told = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
        assert [option for option in arguments if option.startswith("--") and option not in told] == [], line


def test_disabling_needs_a_reason(run: Run) -> None:
    assert "--reason" in run("disable", "phantom-cxr", fails=True).output


def test_changes_stand_in_the_audit_trail(run: Run, tmp_path: Path) -> None:
    database = Database(Settings(data=tmp_path / "data").database)
    (tmp_path / "data").mkdir()
    migrate(database)
    run("disable", "phantom-cxr", "--reason", "no phantoms here")
    run("thresholds", "nih-cxr-research", "cardiomegaly", "0.4")
    with database.read() as session:
        events = session.scalars(sa.select(Event).where(Event.kind == "bundle_changed").order_by(Event.id)).all()
        told = [(event.detail["bundle"], event.detail["what"], event.detail["reason"]) for event in events]
    database.dispose()
    assert told == [
        ("phantom-cxr", "disabled", "no phantoms here"),
        ("nih-cxr-research", "operating point of cardiomegaly", ""),
    ]


@pytest.mark.usefixtures("added")
def test_names_are_whole_on_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("list").stdout.splitlines()
    first = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert "…" not in "".join(lines)
    assert "nih-cxr-research" in "".join(first)


@pytest.mark.usefixtures("added")
def test_a_card_in_another_encoding_is_shown(run: Run, tmp_path: Path) -> None:
    card = tmp_path / "data" / "bundles" / "hospital-cxr" / "MODEL_CARD.md"
    card.write_bytes("# Für Erwachsene\n".encode("latin-1"))
    assert "Erwachsene" in run("card", "hospital-cxr").stdout


@pytest.mark.usefixtures("added")
def test_weights_of_another_network_than_the_graph_are_found_in_a_bundle_that_was_copied(
    run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "bundles" / "hospital-cxr"
    weights = load_file(folder / "weights.safetensors")
    weights["features.conv1.0.weight"] = weights["features.conv1.0.weight"] * np.float32(1.5)
    save_file(weights, folder / "weights.safetensors")
    metadata = json.loads((folder / "metadata.json").read_text())
    content = (folder / "weights.safetensors").read_bytes()
    metadata["files"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
    (folder / "metadata.json").write_text(json.dumps(metadata))
    assert "do not belong together" in run("verify", "hospital-cxr", fails=True).stdout
