"""The list as CSV: order, filters, bounds, and names that a spreadsheet would compute."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, score

from triage.findings import Urgency
from triage.priority import Targets
from triage.repositories import placing


def table(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def test_the_table_has_the_list_in_reading_order(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        arrive(session, "late", at=NOON + timedelta(minutes=1))
        study = arrive(session, "keller", modality="CR")
        score(session, study, [Seen("pneumothorax", 0.94), Seen("nodule", 0.1)])
        arrive(session, "early", at=NOON - timedelta(minutes=1))
    answer = client.get("/api/v1/worklist.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="worklist.csv"'
    assert answer.headers["cache-control"] == "no-store"
    rows = table(answer)
    listed = client.get("/api/v1/worklist").json()["items"]
    assert [row["study_instance_uid"] for row in rows] == [item["study_instance_uid"] for item in listed]
    assert [row["place"] for row in rows] == ["1", "2", "3"]
    assert (rows[0]["urgency"], rows[0]["findings"]) == ("STAT", "Pneumothorax 0.94")
    assert rows[0]["due_at"] == "2026-03-01T12:15:00Z"
    assert [row["patient_id"] for row in table(client.get("/api/v1/worklist.csv?modality=CR"))] == ["P-keller"]


def test_a_long_list_names_its_rest(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        for number in range(5):
            arrive(session, f"case{number}", at=NOON + timedelta(minutes=number), modality="CR")
    first = client.get("/api/v1/worklist.csv?limit=3&modality=CR")
    link = first.headers["link"]
    assert link.endswith('>; rel="next"')
    rest = client.get(link[1 : link.index(">")])
    assert [row["patient_id"] for row in table(first) + table(rest)] == [f"P-case{number}" for number in range(5)]
    assert "link" not in rest.headers


def test_a_case_that_moves_meanwhile_is_neither_lost_nor_doubled(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        studies = [arrive(session, f"case{number}", at=NOON + timedelta(minutes=number)) for number in range(3)]
    from worklist.api import list_csv  # noqa: PLC0415

    with house.database.read() as session:
        places = list_csv.list_export.places(session, list_csv.CsvQuery().filters(NOON), None, 10)
    rows = list_csv._rows(house.database, places)
    with house.database.write() as session:
        study = session.get_one(type(studies[2]), studies[2].id)
        placing.set_manual_urgency(session, study, Urgency.STAT, reason="", by="a", targets=Targets(), at=NOON)
    assert [row[5] for row in rows] == ["P-case0", "P-case1", "P-case2"]


def test_the_ward_stands_in_the_table_and_narrows_it(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        arrive(session, "anna", ward="=ICU 1", referring_physician_name="Weiss^Eva")
        arrive(session, "berta", ward="Surgery 3")
    (row,) = table(client.get("/api/v1/worklist.csv?ward=icu"))
    assert (row["ward"], row["referring_physician_name"]) == ("'=ICU 1", "Weiss^Eva")
    (item,) = client.get("/api/v1/worklist?ward=Surgery").json()["items"]
    assert item["ward"] == "Surgery 3"


def test_a_name_is_no_formula(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        arrive(session, "evil", patient_name='=HYPERLINK("http://x","y")', study_description='a"b,c\nd')
    (row,) = table(client.get("/api/v1/worklist.csv"))
    assert row["patient_name"].startswith("'=HYPERLINK")
    assert row["study_description"] == 'a"b,c\nd'


def test_what_cannot_be_asked_is_a_problem(client: TestClient) -> None:
    for query in ("limit=0", "limit=60000", "cursor=abc", "status=ANY", "colour=red"):
        assert client.get(f"/api/v1/worklist.csv?{query}").status_code in (400, 422), query
