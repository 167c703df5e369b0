"""Claims: one reader at a time, none for ever, whatever the clock does; and classes by hand that can be undone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, score

from triage.errors import StateError
from triage.findings import Urgency
from triage.priority import Targets
from triage.repositories import claims, placing, worklist
from triage.states import ReadingStatus
from triage.tables import Event, Study
from workers.housekeeping import end_silent_claims
from workers.workbench import Workbench

HALF_AN_HOUR = timedelta(minutes=30)
TOKENS = ("ada:ada-ada-ada-ada-ada-ada-ada", "bob:bob-bob-bob-bob-bob-bob-bob")


@pytest.fixture
def case(house: Any) -> str:
    with house.database.write() as session:
        study = arrive(session, "keller")
        score(session, study, [Seen("pneumothorax", 0.94)])
        return f"/api/v1/studies/{study.study_instance_uid}"


@pytest.fixture
def readers(house: Any) -> tuple[TestClient, TestClient]:
    """Ada and Bob, signed in at the same node."""
    return _readers(house)


def _readers(house: Any, **settings_of_site: Any) -> tuple[TestClient, TestClient]:
    ada, bob = (house.client(http_tokens=TOKENS, **settings_of_site) for _ in TOKENS)
    for client, token in zip((ada, bob), TOKENS, strict=True):
        client.headers["Authorization"] = f"Bearer {token.partition(':')[2]}"
    return ada, bob


def _kinds(house: Any) -> list[str]:
    with house.database.read() as session:
        return [event.kind for event in session.query(Event).order_by(Event.id)]


def _sweep(house: Any) -> int:
    with house.database.write() as session:
        return claims.end_silent(session, lasts=HALF_AN_HOUR, at=house.clock())


def _only_case(session: Session) -> Study:
    session.query(Event).delete()
    session.query(Study).delete()
    study = Study(study_instance_uid="1.2.3", opened_at=NOON, received_at=NOON, last_received_at=NOON, due_at=NOON)
    session.add(study)
    session.flush()
    return study


def test_who_claims_first_has_it_and_the_second_is_told_who(case: str, readers: Any) -> None:
    ada, bob = readers
    assert ada.post(f"{case}/claim").json()["reader"] == "ada"
    refused = bob.post(f"{case}/claim")
    assert (refused.status_code, refused.json()["detail"]) == (409, "ada has claimed this case.")


def test_a_claim_without_a_sign_runs_out_and_says_so(house: Any, case: str, readers: Any) -> None:
    ada, bob = readers
    ada.post(f"{case}/claim")
    house.clock.pass_by(minutes=29)
    assert _sweep(house) == 0
    house.clock.pass_by(minutes=1)
    assert _sweep(house) == 1
    said = bob.get(case).json()
    assert (said["reading_status"], said["reader"], said["claimed_at"]) == ("UNREAD", "", None)
    assert said["timeline"][-1]["text"] == "Claim of ada ran out: no sign for 30 min"
    assert _sweep(house) == 0


def test_a_claim_that_has_run_out_gives_way_also_without_the_sweep(house: Any, case: str, readers: Any) -> None:
    ada, bob = readers
    ada.post(f"{case}/claim")
    house.clock.pass_by(minutes=31)
    assert bob.post(f"{case}/claim").json()["reader"] == "bob"
    assert _kinds(house)[-2:] == ["claim_ran_out", "case_claimed"]
    lost = ada.post(f"{case}/claim/renew")
    assert (lost.status_code, "bob has it now" in lost.json()["detail"]) == (409, True)


@pytest.mark.parametrize("step", ["claim", "claim/renew", "priority"])
def test_every_step_of_the_reader_keeps_the_claim(house: Any, case: str, readers: Any, step: str) -> None:
    ada, bob = readers
    ada.post(f"{case}/claim")
    house.clock.pass_by(minutes=20)
    if step == "priority":
        assert ada.patch(f"{case}/priority", json={"urgency": "URGENT", "reason": "seen"}).status_code == 200
    else:
        assert ada.post(f"{case}/{step}").status_code == 200
    house.clock.pass_by(minutes=20)
    assert _sweep(house) == 0
    assert bob.post(f"{case}/claim").status_code == 409


def test_a_sign_of_life_is_no_event_and_leaves_the_version(house: Any, case: str, readers: Any) -> None:
    ada, _ = readers
    version = ada.post(f"{case}/claim").headers["ETag"]
    events = _kinds(house)
    renewed = ada.post(f"{case}/claim/renew")
    assert renewed.headers["ETag"] == version
    assert _kinds(house) == events


def test_a_reader_who_comes_back_late_still_has_what_nobody_took(house: Any, case: str, readers: Any) -> None:
    ada, _ = readers
    ada.post(f"{case}/claim")
    house.clock.pass_by(hours=3)
    assert ada.post(f"{case}/read").json()["reader"] == "ada"


def test_housekeeping_gives_back_what_ran_out(house: Any, case: str, readers: Any) -> None:
    ada, _ = readers
    ada.post(f"{case}/claim")
    bench = Workbench.open(house.settings, clock=house.clock)
    try:
        assert end_silent_claims(bench) == 0
        house.clock.pass_by(minutes=30)
        assert (end_silent_claims(bench), end_silent_claims(bench)) == (1, 0)
    finally:
        bench.decoder.close()
        bench.database.dispose()
    assert _kinds(house)[-1] == "claim_ran_out"


def test_nothing_runs_out_where_the_site_wants_none(house: Any, case: str) -> None:
    ada, bob = _readers(house, claim_minutes=0)
    ada.post(f"{case}/claim")
    house.clock.pass_by(days=30)
    assert bob.post(f"{case}/claim").status_code == 409


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jumps=st.lists(st.integers(-600, 20), max_size=8))
def test_a_clock_set_back_neither_releases_nor_holds_for_ever(house: Any, jumps: list[int]) -> None:
    with house.database.write() as session:
        study, now = _only_case(session), NOON
        worklist.claim(session, study, who="ada", at=now)
        for number, jump in enumerate(jumps, 1):
            now += timedelta(minutes=jump)
            if claims.end_silent(session, lasts=HALF_AN_HOUR, at=now):
                assert sum(step for step in jumps[:number] if step > 0) >= 30, (
                    "only time that passes lets a claim run out"
                )
                return
            session.refresh(study)
            assert study.reading_status is ReadingStatus.CLAIMED
        assert claims.end_silent(session, lasts=HALF_AN_HOUR, at=now + HALF_AN_HOUR) == 1


def test_undo_restores_the_class_by_hand_that_was_before_and_then_none(case: str, readers: Any) -> None:
    ada, bob = readers
    ada.patch(f"{case}/priority", json={"urgency": "URGENT", "reason": "stable"})
    bob.patch(f"{case}/priority", json={"urgency": "ROUTINE", "reason": "known"})
    first = ada.post(f"{case}/priority/undo").json()
    assert first["urgency"] == "URGENT"
    assert (first["classes"]["manual_by"], first["classes"]["manual_reason"]) == ("ada", "stable")
    assert first["explanation"].startswith("set by ada: stable")
    second = ada.post(f"{case}/priority/undo").json()
    assert (second["urgency"], second["classes"]["manual"]) == ("STAT", None)
    assert second["explanation"].startswith("Pneumothorax 0.94")
    refused = ada.post(f"{case}/priority/undo")
    assert (refused.status_code, "nothing to undo" in refused.json()["detail"]) == (409, True)
    told = [entry["text"] for entry in ada.get(case).json()["timeline"] if entry["kind"] == "priority_undone"]
    assert told == ["Class by hand undone: ROUTINE → URGENT", "Class by hand undone: URGENT → none"]


def test_a_withdrawal_can_be_undone_too(case: str, readers: Any) -> None:
    ada, bob = readers
    ada.patch(f"{case}/priority", json={"urgency": "URGENT", "reason": "stable"})
    bob.patch(f"{case}/priority", json={"urgency": None, "reason": "by mistake"})
    restored = bob.post(f"{case}/priority/undo").json()
    assert (restored["urgency"], restored["classes"]["manual_by"]) == ("URGENT", "ada")


def test_undo_is_for_the_version_that_was_seen(case: str, readers: Any) -> None:
    ada, bob = readers
    seen = ada.patch(f"{case}/priority", json={"urgency": "URGENT", "reason": "stable"}).headers["ETag"]
    bob.post(f"{case}/claim")
    assert ada.post(f"{case}/priority/undo", headers={"If-Match": seen}).status_code == 409


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wishes=st.lists(st.sampled_from([*Urgency, None, "undo"]), max_size=12))
def test_any_mixture_of_settings_and_undoings_is_a_stack(house: Any, wishes: list[Any]) -> None:
    with house.database.write() as session:
        study = _only_case(session)
        stack: list[Urgency | None] = [None]
        for number, wish in enumerate(wishes):
            if wish != "undo":
                placing.set_manual_urgency(session, study, wish, reason=f"{number}", by="x", targets=Targets(), at=NOON)
                stack.append(wish)
            elif len(stack) > 1:
                placing.undo_manual_urgency(session, study, by="x", targets=Targets(), at=NOON)
                stack.pop()
            else:
                with pytest.raises(StateError):
                    placing.undo_manual_urgency(session, study, by="x", targets=Targets(), at=NOON)
            session.flush()
            assert study.manual_urgency is stack[-1]
