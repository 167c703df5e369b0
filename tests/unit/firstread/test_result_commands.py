"""``firstread results``: what is listed, what is sent again, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from migrated import migrate
from typer.testing import CliRunner
from worklist_rows import NOON, PACS, Seen, arrive, deliver, score

from firstread.cli import app
from triage.database import Database
from triage.errors import FirstreadError
from triage.outbox import BUDGET, Verdict
from triage.repositories.deliveries import IDENTITY_DIFFERS, Attempt
from triage.settings import Settings


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose database has two deliveries that were given up, one of them for its identity."""
    database = Database(Settings(data=tmp_path).database)
    migrate(database)
    with database.write() as session:
        score(session, arrive(session, "one"), [Seen("nodule", 0.1)])
        for hour in range(BUDGET[Verdict.REFUSED]):
            refused = Attempt(verdict=Verdict.REFUSED, dicom_status=0xA900, error="refused with 0xa900")
            deliver(session, at=NOON + timedelta(hours=hour), attempt=refused)
        score(session, arrive(session, "two"), [Seen("nodule", 0.1)])
        deliver(session, at=NOON + timedelta(hours=9), attempt=Attempt(verdict=Verdict.HELD, error=IDENTITY_DIFFERS))
    yield tmp_path
    database.dispose()


def run(data: Path, *arguments: str) -> str:
    """Output of a command that ends well; its error is raised."""
    result = CliRunner().invoke(app, ["results", *arguments, "--data", str(data)], env={"COLUMNS": "240"})
    if isinstance(result.exception, FirstreadError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def statuses(data: Path) -> list[str]:
    return [item["status"] for item in json.loads(run(data, "list", "--json"))]


def test_what_was_given_up_is_listed_with_its_reason(data: Path) -> None:
    table = run(data, "list", "--status", "dead")
    assert "refused with 0xa900" in table
    assert IDENTITY_DIFFERS in table
    held, refused = json.loads(run(data, "list", "--status", "DEAD", "--json"))
    assert (held["identity_held"], refused["identity_held"]) == (True, False)
    assert [attempt["dicom_status"] for attempt in refused["tried"]] == ["0xA900"] * 3
    assert json.loads(run(data, "list", "--status", "SENT", "--json")) == []


def test_a_destination_gets_everything_again_but_what_is_held(data: Path) -> None:
    assert json.loads(run(data, "resend", "--destination", PACS, "--json")) == {"resent": 1}
    assert statuses(data) == ["DEAD", "PENDING"]


def test_what_is_held_needs_a_confirmation(data: Path) -> None:
    held = str(json.loads(run(data, "list", "--json"))[0]["id"])
    with pytest.raises(FirstreadError, match="another identity"):
        run(data, "resend", held)
    assert statuses(data) == ["DEAD", "DEAD"]
    run(data, "resend", held, "--confirm-identity")
    assert statuses(data) == ["PENDING", "DEAD"]


@pytest.mark.parametrize(
    "arguments",
    [["resend"], ["resend", "1", "--destination", PACS], ["resend", "999"], ["resend", "--destination", "X@h:1"],
     ["list", "--status", "LOST"]],
)  # fmt: skip
def test_a_wish_that_cannot_be_met_changes_nothing(data: Path, arguments: list[str]) -> None:
    with pytest.raises(FirstreadError):
        run(data, *arguments)
    assert statuses(data) == ["DEAD", "DEAD"]
