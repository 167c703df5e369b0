"""Site rules at work: cases are raised as they arrive, once when rules change, and in dry runs not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import worklist_rows
from starlette.testclient import TestClient
from typer.testing import CliRunner
from worklist_rows import NOON, Seen, arrive, score

from firstread.cli import app
from triage.findings import Urgency
from triage.priority import Targets
from triage.repositories import placing, worklist
from triage.rules import Rule, RuleSet
from triage.tables import Event, Study
from workers.housekeeping import apply_changed_rules
from workers.workbench import Workbench

BEDSIDE = Rule(name="ICU bedside", urgency=Urgency.STAT, study_description_words=("bedside",))
ROOM = Rule(name="Emergency room", urgency=Urgency.URGENT, calling_ae_title=("CR_ROOM1",), max_age=70)
BODY = {"rules": [rule.model_dump(mode="json", exclude_defaults=True) for rule in (BEDSIDE, ROOM)], "days": 7}


def events_of(house: Any, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
    with house.database.read() as session:
        rows = session.scalars(sa.select(Event).where(Event.kind.in_(kinds)).order_by(Event.id))
        return [(row.kind, row.detail) for row in rows]


def case(client: TestClient, study: Study) -> Any:
    return client.get(f"/api/v1/studies/{study.study_instance_uid}").json()


def test_a_case_is_raised_as_it_arrives_and_says_why(
    house: Any, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(worklist_rows.RULES, site_rules=RuleSet(rules=(ROOM, BEDSIDE)))
    monkeypatch.setattr(worklist_rows, "RULES", rules)
    with house.database.write() as session:
        study = arrive(session, "a", study_description="", patient_birth_date="")
        assert (study.urgency, study.rule_urgency) == (Urgency.ROUTINE, None)  # nothing is known that a rule asks for
        arrive(session, "a", study_description="Bedside chest", patient_birth_date="", at=NOON + timedelta(minutes=1))
    found = case(client, study)
    reason = "site rule 'ICU bedside': description with bedside"
    assert found["explanation"] == f"{reason} → STAT; due 12:15"
    assert (found["classes"]["rule"], found["classes"]["rule_reason"]) == ("STAT", reason)
    told = [(entry["who"], entry["text"]) for entry in found["timeline"] if entry["kind"] == "rule_claimed"]
    assert told == [("site rules", f"STAT asked for: {reason}")]
    assert events_of(house, "urgency_changed") == [("urgency_changed", {"before": "ROUTINE", "after": "STAT"})]
    with house.database.write() as session:  # the reason outlives what others do to the class
        row = session.get_one(Study, study.id)
        for urgency in (Urgency.ROUTINE, None):
            placing.set_manual_urgency(session, row, urgency, reason="x", by="dr", targets=Targets(), at=NOON)
        assert row.explanation.startswith(reason)


def test_open_cases_are_judged_once_when_the_rules_have_changed(house: Any) -> None:
    with house.database.write() as session:
        unread, read = arrive(session, "unread"), arrive(session, "read")
        worklist.mark_read(session, read, who="dr", at=NOON)

    def restart(*rules: Rule) -> tuple[Urgency, str, Urgency]:
        bench = Workbench.open(house.settings.model_copy(update={"rules": rules}), clock=house.clock)
        for _ in range(2):
            apply_changed_rules(bench)
        bench.decoder.close()
        bench.database.dispose()
        with house.database.read() as session:
            one, other = (session.get_one(Study, study.id) for study in (unread, read))
            return one.urgency, one.rule_reason, other.urgency

    assert restart() == (Urgency.ROUTINE, "", Urgency.ROUTINE)
    assert events_of(house, "rules_changed") == []
    reason = "site rule 'Emergency room': AE title CR_ROOM1, age 0 to 70"
    assert restart(ROOM, BEDSIDE) == restart(BEDSIDE, ROOM) == (Urgency.URGENT, reason, Urgency.ROUTINE)
    # A rule that is gone, or a process without the site's settings, lowers nobody.
    assert restart(BEDSIDE) == restart() == (Urgency.URGENT, reason, Urgency.ROUTINE)
    assert [detail for _, detail in events_of(house, "rules_changed")] == [
        {"rules": 2, "cases": 1}, {"rules": 1, "cases": 0}, {"rules": 0, "cases": 0},
    ]  # fmt: skip


def fill(house: Any) -> None:
    """Thirty cases of a week, a third of them from the ward; and one that is older."""
    with house.database.write() as session:
        for number in range(30):
            text = "Bedside chest" if number % 3 == 0 else "Chest PA"
            study = arrive(session, f"n{number}", at=NOON - timedelta(hours=number), study_description=text)
            score(session, study, [Seen("pneumothorax", 0.9 if number % 6 == 0 else 0.1)])
        arrive(session, "old", at=NOON - timedelta(days=30), study_description="Bedside chest")


def test_a_dry_run_tells_what_would_move_and_moves_nothing(house: Any, client: TestClient) -> None:
    fill(house)
    with house.database.read() as session:
        before = session.scalar(sa.select(sa.func.count(Event.id)))
    answer = client.post("/api/v1/admin/rules/test", json=BODY)
    assert answer.status_code == 200, answer.text
    trial = answer.json()
    assert (trial["cases"], trial["all_looked_at"], trial["warning"]) == (30, True, "")
    assert (trial["stat_before"], trial["stat_after"], trial["moved"]) == (5, 10, 25)  # every other bedside case is new
    assert trial["rules"] == [
        {"name": "Emergency room", "urgency": "URGENT", "matched": 30, "moved": 20},
        {"name": "ICU bedside", "urgency": "STAT", "matched": 10, "moved": 5},
    ]
    newest = trial["examples"][0]
    assert (newest["before"], newest["after"], newest["now"]) == ("ROUTINE", "URGENT", "ROUTINE")
    assert newest["reason"] == "site rule 'Emergency room': AE title CR_ROOM1, age 0 to 70"
    with house.database.read() as session:
        assert session.scalar(sa.select(sa.func.count(Event.id))) == before
        assert set(session.scalars(sa.select(Study.rule_urgency))) == {None}


def test_too_much_stat_is_warned_of(house: Any, client: TestClient) -> None:
    fill(house)
    everything = {"rules": [{"name": "all", "urgency": "STAT", "modality": ["DX"]}]}
    warning = client.post("/api/v1/admin/rules/test", json=everything).json()["warning"]
    assert warning.startswith("100% of the cases would be STAT, more than the 40%")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"rules": [{"name": "a", "urgency": "ROUTINE", "modality": ["CR"]}]}, "only raise"),
        ({"rules": [{"name": "a", "urgency": "STAT"}]}, "no condition"),
        ({"rules": [{"name": "a", "urgency": "STAT", "eval": "1"}]}, "rules.0.eval"),
        ({"rules": [{"name": "a", "urgency": "STAT", "hours": "08:00-09:00"}]}, "time_zone"),
        ({"rules": [], "days": 1000}, "days"),
        ({"rules": [BODY["rules"][0]] * 101}, "rules"),  # type: ignore[index]
        ([], "body"),
    ],
)
def test_rules_that_mean_nothing_are_a_problem_document(client: TestClient, body: Any, says: str) -> None:
    answer = client.post("/api/v1/admin/rules/test", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_the_loaded_rules_are_told(house: Any) -> None:
    client = house.client(rules=(BEDSIDE,), time_zone="Europe/Berlin")
    told = client.get("/api/v1/admin/rules").json()
    assert [(rule["name"], rule["urgency"]) for rule in told["rules"]] == [("ICU bedside", "STAT")]
    assert (told["time_zone"], told["applied"], len(told["digest"])) == ("Europe/Berlin", False, 64)
    assert house.client().get("/api/v1/admin/rules").json()["applied"] is True


def test_the_command_tries_the_rules_of_the_settings(
    house: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(house)
    with house.database.write() as session:
        now = datetime.now(UTC)
        for number in range(4):
            arrive(session, f"today{number}", at=now - timedelta(hours=1), study_description="bedside")
    monkeypatch.chdir(tmp_path)
    Path("firstread.toml").write_text(
        '[[rules]]\nname = "ICU bedside"\nurgency = "STAT"\nstudy_description_words = ["bedside"]\n'
    )
    arguments = ["rules", "test", "--days", "1", "--data", str(house.settings.data)]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "site rule 'ICU bedside': description with bedside" in shown.output
    assert "Of 4 cases in 1 days, 4 would move." in shown.output
    assert "STAT: 0.0% without rules, 100.0% with them." in shown.output
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (told["moved"], len(told["examples"])) == (4, 4)
    Path("firstread.toml").write_text("")
    assert "no rules" in CliRunner().invoke(app, arguments).output
