"""The audit over HTTP: read, filtered, paged, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import NOON

from triage.repositories import audit

URL = "/api/v1/admin/audit"


def fill(house: Any, number: int = 5) -> None:
    with house.database.write() as session:
        for index in range(number):
            audit.record(
                session, at=NOON + timedelta(minutes=index), who="anna", action="peer_added",
                subject=f"peer:CT{index}", before=None, after={"network": "10.0.0.0/8"},
            )  # fmt: skip


def test_pages_hold_every_entry_once(house: Any, client: TestClient) -> None:
    fill(house)
    seen, before = [], None
    while before is not None or not seen:
        page = client.get(URL, params={"limit": 2} | ({"before": before} if before else {})).json()
        seen += [item["subject"] for item in page["items"]]
        before = page["next_before"]
    assert seen == [f"peer:CT{index}" for index in (4, 3, 2, 1, 0)]
    newest = client.get(URL, params={"limit": 1}).json()["items"][0]
    assert (newest["at"], newest["who"], newest["before"], newest["after"]) == (
        "2026-03-01T12:04:00Z", "anna", None, {"network": "10.0.0.0/8"},
    )  # fmt: skip


def test_filters_are_joined(house: Any, client: TestClient) -> None:
    fill(house)
    since = {"since": "2026-03-01T13:03:00+01:00", "subject": "peer:", "who": "anna", "action": "peer_added"}
    assert len(client.get(URL, params=since).json()["items"]) == 2
    assert client.get(URL, params=since | {"who": "bert"}).json()["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"}, {"since": "2026-03-01T12:00:00"}, {"until": "0001-01-01T00:00:00+14:00"},
        {"who": "a\0"}, {"limit": 0}, {"limit": 201}, {"before": 2**63}, {"whom": "anna"}, {"subject": "x" * 301},
    ],
)  # fmt: skip
def test_other_questions_are_a_problem_document(client: TestClient, query: Any) -> None:
    answer = client.get(URL, params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_route_changes_it(client: TestClient, method: str) -> None:
    assert client.request(method, URL).status_code == 405
    assert client.request(method, f"{URL}/1").status_code == 404
