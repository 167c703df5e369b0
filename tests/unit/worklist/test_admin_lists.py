"""The administrator's lists of analyses and deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.testclient import TestClient
from worklist_rows import NOON, PACS, Seen, arrive, deliver, score

from triage.outbox import BUDGET, Verdict
from triage.repositories.deliveries import Attempt

REFUSED = Attempt(verdict=Verdict.REFUSED, dicom_status=0xA900, error="data set does not match SOP class")
REFUSALS = BUDGET[Verdict.REFUSED]


def _scored(house: Any, number: int) -> None:
    with house.database.write() as session:
        for index in range(number):
            score(session, arrive(session, f"n{index}", at=NOON + timedelta(seconds=index)), [Seen("nodule", 0.1)])


def _refused_for_good(house: Any) -> None:
    for attempt in range(REFUSALS):
        with house.database.write() as session:
            deliver(session, at=NOON + timedelta(hours=attempt), attempt=REFUSED)


def test_analyses_newest_first_and_page_by_page(house: Any, client: TestClient) -> None:
    _scored(house, 5)
    with house.database.write() as session:
        arrive(session, "waiting", at=NOON + timedelta(minutes=5))
    seen, before = [], None
    for expected in (2, 2, 2):
        params = {"limit": 2} | ({"before": before} if before else {})
        body = client.get("/api/v1/admin/analyses", params=params).json()
        assert len(body["items"]) == expected
        seen += [(item["status"], item["id"]) for item in body["items"]]
        before = body["next_before"]
    assert client.get("/api/v1/admin/analyses", params={"before": before}).json() == {"items": [], "next_before": None}
    assert [number for _, number in seen] == sorted((number for _, number in seen), reverse=True)
    assert [status for status, _ in seen] == ["QUEUED"] + ["SUCCEEDED"] * 5
    (queued,) = client.get("/api/v1/admin/analyses?status=QUEUED").json()["items"]
    assert (queued["revision"], queued["attempts"], queued["bundle"]) == (1, 0, "")


def test_a_refused_delivery_tells_every_attempt(house: Any, client: TestClient) -> None:
    _scored(house, 1)
    _refused_for_good(house)
    (dead,) = client.get("/api/v1/admin/deliveries?status=DEAD").json()["items"]
    assert (dead["destination"], dead["kind"], dead["attempts"]) == (PACS, "SR", REFUSALS)
    assert dead["reason"] == "data set does not match SOP class"
    assert [tried["dicom_status"] for tried in dead["tried"]] == ["0xA900"] * REFUSALS
    assert client.get("/api/v1/admin/deliveries?destination=OTHER@h:1").json()["items"] == []
    assert client.get("/api/v1/admin/deliveries?status=GONE").status_code == 422


def test_a_dead_delivery_is_tried_again_by_a_person_only_once(house: Any, client: TestClient) -> None:
    _scored(house, 1)
    _refused_for_good(house)
    (dead,) = client.get("/api/v1/admin/deliveries").json()["items"]
    again = client.post(f"/api/v1/admin/deliveries/{dead['id']}/resend")
    assert (again.status_code, again.json()["status"], again.json()["attempts"]) == (200, "PENDING", 0)
    assert again.json()["sop_instance_uid"] == dead["sop_instance_uid"]
    assert client.post(f"/api/v1/admin/deliveries/{dead['id']}/resend").status_code == 409
    assert client.post("/api/v1/admin/deliveries/999/resend").status_code == 404
    timeline = client.get(f"/api/v1/studies/{dead['study_instance_uid']}").json()["timeline"]
    assert (timeline[-1]["kind"], timeline[-1]["who"]) == ("delivery_resent", "local")
