"""The command line as a newcomer meets it: help with examples, errors that say what to do, exit statuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from dicom_node.stand_in_pacs import StandInPacs
from firstread.cli import app

COMMANDS = (
    ["up"], ["listen"], ["work"], ["serve"], ["demo"], ["send"], ["echo"], ["doctor"], ["worklist"], ["fsck"],
    ["simulate"],
    ["phantom"], ["backup"], ["restore"], ["results", "list"], ["results", "resend"],
    ["quarantine", "list"], ["quarantine", "retry"], ["quarantine", "dismiss"],
    ["conformance"], ["settings"], ["db", "upgrade"], ["db", "status"], ["models", "list"], ["models", "show"],
    ["models", "card"], ["models", "verify"], ["models", "train"], ["models", "evaluate"], ["models", "import"],
    ["models", "add"], ["models", "remove"],
    ["models", "accept"], ["models", "enable"], ["models", "disable"], ["models", "thresholds"],
)  # fmt: skip


def firstread(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    return subprocess.run(
        [sys.executable, "-m", "firstread", *arguments],
        cwd=cwd,
        env={**inherited, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "Example:" in result.stdout


def test_the_program_itself_shows_every_command(tmp_path: Path) -> None:
    result = firstread("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert all(f" {command[0]} " in result.stdout for command in COMMANDS)


def test_a_wrong_setting_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    result = firstread("doctor", cwd=tmp_path, FIRSTREAD_DICOM_PORT="many")
    assert result.returncode == 78
    assert "dicom_port" in result.stderr
    assert "Traceback" not in result.stderr


def test_brackets_in_an_error_are_words_and_no_markup(tmp_path: Path) -> None:
    result = firstread("models", "add", "bundle[red]s.zip", cwd=tmp_path)
    assert result.returncode == 1
    assert "bundle[red]s.zip cannot be read" in result.stderr


def test_a_worklist_without_database_says_how_to_make_one(tmp_path: Path) -> None:
    result = firstread("worklist", "--data", str(tmp_path), cwd=tmp_path)
    assert result.returncode == 78
    assert "firstread db upgrade" in result.stderr


def test_db_upgrade_makes_an_empty_worklist(tmp_path: Path) -> None:
    assert firstread("db", "upgrade", "--data", "d", cwd=tmp_path).returncode == 0
    result = firstread("worklist", "--data", "d", "--json", cwd=tmp_path)
    assert json.loads(result.stdout) == []


def test_the_doctor_finds_a_destination_that_does_not_answer_and_says_so(tmp_path: Path) -> None:
    result = firstread("doctor", "--destination", "PACS@127.0.0.1:9", cwd=tmp_path, FIRSTREAD_MIN_FREE_MEGABYTES="1")
    assert result.returncode == 1
    assert "destination PACS@127.0.0.1:9" in result.stdout
    assert "Check address and port, and that it runs." in " ".join(result.stdout.split())


def test_phantoms_are_written_with_their_truth(tmp_path: Path) -> None:
    result = firstread("phantom", "out", "--count", "2", "--seed", "3", "--size", "512", cwd=tmp_path)
    assert result.returncode == 0
    rows = list(csv.DictReader((tmp_path / "out" / "truth.csv").open()))
    assert len(rows) == 2
    assert all((tmp_path / "out" / row["file"]).is_file() for row in rows)


def test_send_delivers_files_and_reports_them(tmp_path: Path) -> None:
    file = get_testdata_file("CT_small.dcm")
    with StandInPacs(tmp_path / "pacs") as pacs:
        assert firstread("echo", str(pacs.address), cwd=tmp_path).returncode == 0
        result = firstread("send", str(file), "--to", str(pacs.address), cwd=tmp_path)
        assert result.returncode == 0
        assert "1 of 1 stored" in result.stdout
        assert len(pacs.received) == 1


def test_send_fails_loudly_when_something_was_not_stored(tmp_path: Path) -> None:
    (tmp_path / "no.dcm").write_bytes(b"not DICOM")
    with StandInPacs(tmp_path / "pacs") as pacs:
        result = firstread("send", "no.dcm", "--to", str(pacs.address), cwd=tmp_path)
    assert result.returncode == 1
    assert "1 of 1 objects were not stored" in result.stderr
    assert "retried" not in result.stderr + result.stdout, "nobody tries again what was sent by hand"


def test_echo_says_once_what_to_do(tmp_path: Path) -> None:
    result = firstread("echo", "NOBODY@127.0.0.1:1", cwd=tmp_path)
    assert result.returncode != 0
    said = " ".join(result.stderr.split())
    assert said.endswith("nothing listens on that port (connection refused). Check address and port, and that it runs.")


@pytest.mark.parametrize(
    ("command", "document"),
    [("conformance", "CONFORMANCE.md"), ("settings", "SETTINGS.md")],
)
def test_generated_documents_are_up_to_date(command: str, document: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    printed = firstread(command, cwd=tmp_path).stdout
    assert printed == (root / "docs" / document).read_text(encoding="utf-8"), "run `make docs`"


def test_every_command_of_the_readme_exists(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    used = {line.split()[1] for line in readme.splitlines() if line.startswith("firstread ")}
    assert used, "the README shows no command"
    assert used <= {command[0] for command in COMMANDS}
