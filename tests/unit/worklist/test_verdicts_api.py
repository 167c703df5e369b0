"""A reader's verdict through the API: taken, shown, superseded, refused."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import Seen, arrive, score


@pytest.fixture
def case(house: Any) -> str:
    with house.database.write() as session:
        study = arrive(session, "keller")
        score(session, study, [Seen("pneumothorax", 0.94), Seen("nodule", 0.1)])
        return f"/api/v1/studies/{study.study_instance_uid}"


def finding_id(client: TestClient, case: str, key: str = "pneumothorax") -> int:
    findings = client.get(case).json()["instances"][0]["findings"]
    return next(int(finding["id"]) for finding in findings if finding["key"] == key)


def test_a_verdict_is_answered_and_shown_with_its_finding(client: TestClient, case: str) -> None:
    about = finding_id(client, case)
    assert client.get(case).json()["findings"][0]["verdict"] is None
    body = {"verdict": "DISAGREE", "reason": "artefact", "comment": " skin fold "}
    answer = client.post(f"{case}/findings/{about}/verdict", json=body)
    assert answer.status_code == 200
    told = {key: answer.json()[key] for key in ("verdict", "reason", "comment", "who")}
    assert told == {"verdict": "DISAGREE", "reason": "artefact", "comment": "skin fold", "who": "local"}
    shown = client.get(case).json()
    assert shown["findings"][0]["verdict"] == shown["instances"][0]["findings"][0]["verdict"] == answer.json()
    assert shown["findings"][1]["verdict"] is None
    assert shown["timeline"][-1]["text"] == "Disagrees with Pneumothorax: an artefact, fold or superposition"
    assert "skin fold" not in str(shown["timeline"])
    assert shown["urgency"] == "STAT"  # no verdict moves a case


def test_a_later_verdict_stands_and_the_earlier_one_is_history(house: Any, client: TestClient, case: str) -> None:
    about = finding_id(client, case)
    for verdict in ("AGREE", "CANNOT_TELL"):
        house.clock.pass_by(minutes=1)
        assert client.post(f"{case}/findings/{about}/verdict", json={"verdict": verdict}).status_code == 200
    shown = client.get(case).json()
    assert shown["findings"][0]["verdict"]["verdict"] == "CANNOT_TELL"
    assert [(v["finding_id"], v["verdict"], v["key"]) for v in shown["verdicts"]] == [
        (about, "AGREE", "pneumothorax"),
        (about, "CANNOT_TELL", "pneumothorax"),
    ]


def test_a_verdict_still_stands_when_the_same_image_is_looked_at_once_more(
    house: Any, client: TestClient, case: str
) -> None:
    before = finding_id(client, case)
    client.post(f"{case}/findings/{before}/verdict", json={"verdict": "AGREE"})
    assert client.post(f"{case}/reanalyse").status_code == 202
    with house.database.write() as session:
        study = arrive(session, "keller")
        score(session, study, [Seen("pneumothorax", 0.94), Seen("nodule", 0.1)])
    shown = client.get(case).json()
    assert shown["instances"][0]["findings"][0]["id"] != before
    assert shown["instances"][0]["findings"][0]["verdict"]["verdict"] == "AGREE"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verdict": "MAYBE"},
        {"verdict": "AGREE", "reason": "artefact"},
        {"verdict": "DISAGREE", "reason": "because"},
        {"verdict": "DISAGREE", "comment": "x" * 501},
        {"verdict": "DISAGREE", "comment": "a\u0007b"},
        {"verdict": "AGREE", "who": "somebody else"},
    ],
)
def test_a_body_that_is_no_verdict_is_refused(client: TestClient, case: str, body: dict[str, str]) -> None:
    answer = client.post(f"{case}/findings/{finding_id(client, case)}/verdict", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert client.get(case).json()["verdicts"] == []


def test_what_there_is_not_and_what_is_somebody_elses_is_refused(house: Any, client: TestClient, case: str) -> None:
    body = {"verdict": "AGREE"}
    about = finding_id(client, case)
    assert client.post(f"{case}/findings/999/verdict", json=body).status_code == 404
    assert client.post(f"/api/v1/studies/1.2.3/findings/{about}/verdict", json=body).status_code == 404
    assert client.post(f"{case}/findings/0/verdict", json=body).status_code == 422
    assert client.post(f"{case}/findings/{2**70}/verdict", json=body).status_code == 422
    stale = client.post(f"{case}/findings/{about}/verdict", json=body, headers={"If-Match": '"0"'})
    assert stale.status_code == 409
    with house.database.write() as session:
        other = arrive(session, "huber")
        score(session, other, [Seen("pneumothorax", 0.9)], finish=False)
        early = f"/api/v1/studies/{other.study_instance_uid}"
    answer = client.post(f"{early}/findings/{finding_id(client, early)}/verdict", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (409, "No report has been issued that says this finding.")


def test_a_request_sent_twice_is_one_verdict(client: TestClient, case: str) -> None:
    url = f"{case}/findings/{finding_id(client, case)}/verdict"
    for _ in range(2):
        answer = client.post(url, json={"verdict": "AGREE"}, headers={"Idempotency-Key": "one"})
        assert answer.json()["verdict"] == "AGREE"
    assert len(client.get(case).json()["verdicts"]) == 1
