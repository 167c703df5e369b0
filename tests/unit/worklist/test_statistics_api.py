"""A period in figures: what the house did, counted; the same on both databases; CSV that no sender can abuse."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from peers.postgres import postgres
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, decline, score

from triage.assessment import Opinion, OpinionReason
from triage.database import Database
from triage.findings import NotAnalysedReason, Urgency
from triage.profiles import ResultKind
from triage.repositories import analyses, missed, verdicts, worklist
from triage.settings import Settings
from triage.tables import Finding, ResultObject, Study
from worklist.app import create_app
from worklist.permissions import Need, need_of
from worklist.schemas.statistics import Table

STATS = "/api/v1/admin/stats"
MIDNIGHT = NOON + timedelta(hours=12, minutes=10)
MARCH = {"since": "2026-02-28", "until": "2026-03-02"}


def read(session: Session, study: Study, *, after: float, claimed: float | None = None) -> None:
    at = study.received_at + timedelta(minutes=after)
    if claimed is not None:
        worklist.claim(session, study, who="dr", at=study.received_at + timedelta(minutes=claimed))
    worklist.mark_read(session, study, who="dr", at=at)


def judge(session: Session, study: Study, key: str, opinion: Opinion, *, at: datetime) -> None:
    session.execute(sa.update(ResultObject).where(ResultObject.kind == "SR").values(kind=ResultKind.REPORT))
    finding = session.scalars(sa.select(Finding).where(Finding.key == key).join(Finding.image)
        .where(Finding.image.has(analysis_id=study.analyses[0].id))).first()  # fmt: skip
    assert finding is not None
    reason = OpinionReason.MISSED if opinion is Opinion.DISAGREE else None
    verdicts.give(session, study, finding.id, opinion, reason=reason, comment="", who="dr", at=at)


def a_day(session: Session) -> None:
    """Ten cases of one day, read, judged and failed in every way."""
    positive, negative = [Seen("pneumothorax", 0.9), Seen("nodule", 0.1)], [Seen("pneumothorax", 0.2)]
    for number, minutes in enumerate((4, 10, 16)):  # STAT, in time within 15
        study = arrive(session, f"stat{number}", at=NOON + timedelta(hours=number), count=2, manufacturer="ACME")
        score(session, study, positive, at=study.received_at + timedelta(minutes=5))
        read(session, study, after=minutes, claimed=minutes - 1)
        judge(session, study, "pneumothorax", Opinion.AGREE if number else Opinion.DISAGREE, at=NOON)
        judge(session, study, "nodule", Opinion.DISAGREE if number else Opinion.AGREE, at=NOON)
    judge(session, study, "pneumothorax", Opinion.CANNOT_TELL, at=NOON)  # the last word counts
    for number, minutes in enumerate((60, 120, 240)):
        study = arrive(session, f"routine{number}", at=NOON, manufacturer="=1+1")
        score(session, study, negative)
        read(session, study, after=minutes)
    study = arrive(session, "declined", modality="CT", at=NOON + timedelta(hours=11, minutes=30))
    decline(session, study, NotAnalysedReason.NO_BUNDLE, "for a head")
    study = arrive(session, "failed", at=NOON)
    analyses.fail(session, study.analyses[0], "given up after 3 attempts: the worker died", at=NOON)
    arrive(session, "fresh", at=NOON + timedelta(minutes=5))
    arrive(session, "old", at=NOON - timedelta(days=9))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes) -> Iterator[Settings]:
    """A node after that day; the tests only ask."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "firstread.sqlite").write_bytes(empty_database)
    settings = Settings(data=folder)
    database = Database(settings.database)
    with database.write() as session:
        a_day(session)
    database.dispose()
    yield settings


def asking(settings: Settings, database: Database | None = None, **changes: Any) -> TestClient:
    settings = settings.model_copy(update=changes)
    app = create_app(settings, database or Database(settings.database), clock=lambda: MIDNIGHT)
    return TestClient(app, base_url="http://127.0.0.1:8080", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def told(day: Settings) -> Any:
    answer = asking(day).get(STATS, params=MARCH)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_arrivals_by_day_and_hour_of_the_site(day: Settings, told: Any) -> None:
    assert [(row["day"], row["arrived"], row["stat"]) for row in told["days"]] == [
        ("2026-02-28", 0, 0), ("2026-03-01", 9, 3), ("2026-03-02", 0, 0),
    ]  # fmt: skip
    assert [(row["hour"], row["arrived"]) for row in told["hours"] if row["arrived"]] == [
        (12, 6), (13, 1), (14, 1), (23, 1),
    ]  # fmt: skip
    assert told["hours"][12]["per_day"] == 2.0  # three days have begun
    there = asking(day, time_zone="Europe/Berlin").get(STATS, params=MARCH).json()
    assert [row["arrived"] for row in there["days"]] == [0, 8, 1]
    assert there["period"] == {
        "since": "2026-02-28", "until": "2026-03-02", "days": 3, "time_zone": "Europe/Berlin",
        "begins_at": "2026-02-27T23:00:00Z", "ends_at": "2026-03-02T23:00:00Z",
    }  # fmt: skip


def test_turnaround_against_the_targets_and_who_still_waits(told: Any) -> None:
    stat, urgent, routine = told["turnaround"]
    assert (stat["arrived"], stat["read"], stat["target_minutes"]) == (3, 3, 15)
    assert (stat["median_minutes"], stat["p95_minutes"], stat["longest_minutes"]) == (10, 16, 16)
    assert (stat["in_time"], stat["in_time_share"]) == (2, pytest.approx(2 / 3))
    assert 0 < stat["in_time_low"] < 2 / 3 < stat["in_time_high"] < 1
    assert (urgent["read"], urgent["median_minutes"], urgent["in_time_share"]) == (0, None, None)
    assert (routine["median_minutes"], routine["in_time"], routine["unread"], routine["overdue"]) == (120, 2, 3, 2)
    by_source = {(row["modality"], row["calling_ae_title"]): row for row in told["sources"]}
    assert set(by_source) == {("CT", "CR_ROOM1"), ("DX", "CR_ROOM1")}
    dx = by_source["DX", "CR_ROOM1"]
    assert (dx["arrived"], dx["stat"], dx["read"], dx["in_time"], dx["longest_minutes"]) == (8, 3, 6, 4, 240)


def test_results_that_came_after_the_reading_are_counted(told: Any) -> None:
    stat, _, routine = told["lead_time"]
    assert (stat["begun"], stat["before"], stat["after"], stat["without"]) == (3, 2, 1, 0)
    assert (stat["median_lead_minutes"], stat["longest_after_minutes"]) == (4, 2)
    assert (stat["after_share"], routine["after"], routine["before"]) == (pytest.approx(1 / 3), 0, 3)


def test_positives_and_what_readers_say_of_them(told: Any) -> None:
    found = {row["key"]: row for row in told["models"]}
    air = found["pneumothorax"]
    assert (air["bundle"], air["version"], air["finding"], air["research"]) == (
        "chest-phantom", "1.2.0", "Pneumothorax", True,
    )  # fmt: skip
    assert (air["cases"], air["positive"], air["positive_share"]) == (6, 3, 0.5), "a case of two images counts once"
    assert (air["agreed"], air["disagreed"], air["cannot_tell"], air["unjudged"]) == (1, 1, 1, 0)
    assert (air["ppv"], air["missed"]) == (0.5, 0)
    assert 0 < air["ppv_low"] < 0.5 < air["ppv_high"] < 1
    nodule = found["nodule"]
    assert (nodule["positive"], nodule["ppv"], nodule["missed"], nodule["negatives_judged"]) == (0, None, 2, 3)
    scanners = {(row["manufacturer"], row["key"]): row for row in told["scanners"]}
    assert scanners["ACME", "pneumothorax"]["positive"] == 3
    assert scanners["=1+1", "pneumothorax"]["cases"] == 3


def mark(session: Session, study: Study, key: str, text: str = "") -> int:
    return missed.record(session, study, key, laterality=None, text=text, who="dr", at=NOON).id


def scored(session: Session, name: str, seen: Sequence[Seen], **header: Any) -> Study:
    study = arrive(session, name, **header)
    score(session, study, seen)
    return study


def test_what_readers_marked_as_missed_counts_for_model_and_scanner(house: Any) -> None:
    air, nothing = Seen("pneumothorax", 0.9), Seen("pneumothorax", 0.2)
    with house.database.write() as session:
        for number in range(3):
            judge(session, scored(session, f"hit{number}", [air]), "pneumothorax", Opinion.AGREE, at=NOON)
        both = scored(session, "both", [nothing], manufacturer="ACME")
        judge(session, both, "pneumothorax", Opinion.DISAGREE, at=NOON)
        mark(session, both, "pneumothorax")
        mark(session, both, "pneumothorax")  # a case counts once
        mark(session, scored(session, "marked", [nothing], manufacturer="ACME", count=2), "pneumothorax")
        back = scored(session, "withdrawn", [nothing], manufacturer="ACME")
        missed.withdraw(session, back, mark(session, back, "pneumothorax"), who="dr", at=NOON)
        side = scored(session, "side", [air])
        mark(session, side, "pneumothorax")  # the other side: the case is positive and not missed
        other = scored(session, "other", [air], manufacturer="ACME")
        mark(session, other, "", "rib fracture")
        mark(session, other, "", "second rib")
    answer = asking(Settings(), house.database).get(STATS, params=MARCH).json()
    found = {row["key"]: row for row in answer["models"]}
    row = found["pneumothorax"]
    assert (row["cases"], row["positive"], row["agreed"], row["unjudged"]) == (8, 5, 3, 2)
    assert (row["missed"], row["missed_marked"], row["negatives_judged"]) == (2, 2, 2)
    assert row["sensitivity"] == pytest.approx(3 / 5)
    assert 0 < row["sensitivity_low"] < 3 / 5 < row["sensitivity_high"] < 1
    elsewhere = found[""]
    assert (elsewhere["bundle"], elsewhere["finding"], elsewhere["missed"]) == ("chest-phantom", "something else", 1)
    assert (elsewhere["positive"], elsewhere["ppv"], elsewhere["sensitivity"]) == (0, None, None)
    scanners = {(row["manufacturer"], row["key"]): row for row in answer["scanners"]}
    assert scanners["ACME", "pneumothorax"]["missed"] == 2
    assert scanners["", "pneumothorax"]["missed"] == 0
    text = asking(Settings(), house.database).get("/statistics", params=MARCH).text
    assert "something else" in text
    assert "2 marked" in text


def test_a_long_period_is_asked_in_parts_and_says_the_same(house: Any) -> None:
    """Whatever the day a case came on, and a clock that is changed between two days."""
    with house.database.write() as session:
        for number in range(4):
            at = NOON + timedelta(days=20 * number, hours=11, minutes=59)
            study = arrive(session, f"day{number}", at=at)
            score(session, study, [Seen("pneumothorax", 0.9)])
    for zone in ("", "Europe/Berlin"):
        client = asking(Settings(time_zone=zone), house.database)
        told = client.get(STATS, params={"since": "2026-02-27", "until": "2026-05-30"}).json()
        assert sum(row["arrived"] for row in told["days"]) == 4
        assert [(row["cases"], row["positive"]) for row in told["models"]] == [(4, 4)]


def test_why_there_was_no_result(told: Any) -> None:
    ended = {(row["status"], row["reason"]): row["analyses"] for row in told["analyses"]}
    assert ended["NOT_ANALYSED", "no enabled bundle takes this image"] == 1
    assert ended["FAILED", "given up after 3 attempts: the worker died"] == 1
    assert (ended["SUCCEEDED", ""], ended["QUEUED", ""]) == (6, 1)
    assert told["abstentions"] == [
        {"reason": "no_bundle", "sentence": "no enabled bundle takes this image", "images": 1, "cases": 1}
    ]


@pytest.mark.parametrize(
    ("asked", "arrived"),
    [({"urgency": "STAT"}, 3), ({"modality": "ct"}, 1), ({"ae_title": "CR_ROOM1"}, 9), ({"ae_title": "X"}, 0)],
)
def test_filters(day: Settings, asked: dict[str, str], arrived: int) -> None:
    answer = asking(day).get(STATS, params=MARCH | asked).json()
    assert sum(row["arrived"] for row in answer["days"]) == arrived
    assert sum(row["arrived"] for row in answer["turnaround"]) == arrived


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "2026-03-02", "until": "2026-03-01"}, {"since": "2020-01-01"}, {"days": "401"}, {"days": "0"},
        {"since": "yesterday"}, {"urgency": "SOON"}, {"modality": "'; --"}, {"colour": "red"}, {"ae_title": "x" * 17},
        {"until": "0001-01-01"}, {"until": "9999-12-31"},
    ],
)  # fmt: skip
def test_a_question_that_means_nothing_is_a_problem_document(client: TestClient, asked: dict[str, str]) -> None:
    for path in (STATS, f"{STATS}/days.csv"):
        answer = client.get(path, params=asked)
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("table", list(Table))
def test_every_table_is_a_download_with_the_same_fields(day: Settings, told: Any, table: Table) -> None:
    answer = asking(day).get(f"{STATS}/{table}.csv", params=MARCH)
    assert answer.status_code == 200
    assert f"firstread-{table}-2026-02-28-2026-03-02.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    as_json = told[table.replace("-", "_")]
    assert len(rows) == len(as_json) > 0
    for row, expected in zip(rows, as_json, strict=True):
        assert set(row) == set(expected)
        for field, value in expected.items():
            if isinstance(value, str):
                assert row[field] in (value, f"'{value}")
            elif value is not None and not isinstance(value, bool):
                assert float(row[field]) == pytest.approx(value)


def test_a_manufacturer_is_no_formula(day: Settings) -> None:
    text = asking(day).get(f"{STATS}/scanners.csv", params=MARCH).text
    assert "'=1+1" in text
    assert ",=1+1" not in text
    assert asking(day).get(f"{STATS}/nothing.csv").status_code == 422


def test_the_questions_are_the_same_on_postgresql(day: Settings, told: Any) -> None:
    with postgres() as url:
        database = Database(url)
        database.migrate()
        with database.write() as session:
            a_day(session)
        other = asking(day, database).get(STATS, params=MARCH).json()
        database.dispose()
    for answer in (other, told):
        for table in ("analyses", "sources", "models", "scanners"):
            answer[table].sort(key=str)
    assert other == told


def test_the_class_of_nothing_is_told_too(client: TestClient) -> None:
    told = client.get(STATS).json()
    assert told["period"]["days"] == 7
    assert [row["urgency"] for row in told["turnaround"]] == list(Urgency)
    assert told["models"] == []


def test_whoever_sees_the_list_sees_its_figures() -> None:
    assert {need_of("GET", path) for path in (STATS, f"{STATS}/days.csv")} == {Need.VIEW}
    assert need_of("POST", STATS) is Need.ADMINISTER
