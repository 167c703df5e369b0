"""The administrator's lists of analyses and deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.testclient import TestClient
from worklist_rows import NOON, PACS, Seen, arrive, deliver, score

from triage.outbox import BUDGET, Verdict
from triage.repositories import commitments
from triage.repositories.deliveries import IDENTITY_DIFFERS, Attempt

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


def test_a_delivery_says_what_proof_it_has(house: Any, client: TestClient) -> None:
    _scored(house, 1)
    with house.database.write() as session:
        deliver(session, at=NOON + timedelta(seconds=9), provable=True)
    (sent,) = client.get("/api/v1/admin/deliveries").json()["items"]
    assert (sent["status"], sent["proof"], sent["proven_at"]) == ("SENT", "ANSWERED", "2026-03-01T12:00:09Z")
    assert (sent["commitment"]["status"], sent["commitment"]["answered_at"]) == ("REQUESTED", None)
    with house.database.write() as session:
        commitments.report(
            session, sent["commitment"]["transaction_uid"], committed=[sent["sop_instance_uid"]], failed={},
            who="PACS", at=NOON + timedelta(minutes=1), give_up_after=timedelta(hours=72),
        )  # fmt: skip
    (proven,) = client.get("/api/v1/admin/deliveries").json()["items"]
    assert (proven["status"], proven["proof"], proven["proven_at"]) == (
        "COMMITTED", "COMMITTED", "2026-03-01T12:01:00Z",
    )  # fmt: skip
    assert proven["commitment"]["status"] == "SUCCEEDED"
    (delivery,) = client.get(f"/api/v1/studies/{proven['study_instance_uid']}").json()["result_objects"][0][
        "deliveries"
    ]
    assert (delivery["proof"], delivery["commitment"]) == ("COMMITTED", proven["commitment"])
    page = client.get(f"/studies/{proven['study_instance_uid']}", headers={"Accept": "text/html"}).text
    assert f"{PACS}: committed" in page


def test_what_the_archive_lost_is_sent_again(house: Any, client: TestClient) -> None:
    _scored(house, 1)
    with house.database.write() as session:
        deliver(session, at=NOON + timedelta(seconds=9))
    (sent,) = client.get("/api/v1/admin/deliveries").json()["items"]
    again = client.post(f"/api/v1/admin/deliveries/{sent['id']}/resend")
    assert (again.status_code, again.json()["status"], again.json()["proof"]) == (200, "PENDING", None)


def test_all_that_was_given_up_for_a_destination_goes_with_one_click(house: Any, client: TestClient) -> None:
    _scored(house, 2)
    _refused_for_good(house)
    page = client.get("/deliveries", headers={"Accept": "text/html"}).text
    assert page.count("data set does not match SOP class") == 2
    assert "2 given up" in page
    assert page.count('action="/api/v1/admin/deliveries/resend"') == 1
    other = client.post("/api/v1/admin/deliveries/resend", json={"destination": "OTHER@h:1"})
    assert other.json() == {"destination": "OTHER@h:1", "resent": 0}
    answer = client.post("/api/v1/admin/deliveries/resend", json={"destination": PACS})
    assert answer.json() == {"destination": PACS, "resent": 2}
    fragment = client.get("/fragment/deliveries", headers={"Accept": "text/html"}).text
    assert ("2 waiting" in fragment, "Send again" in fragment, "Send all again" in fragment) == (True, False, False)
    assert client.post("/api/v1/admin/deliveries/resend", json={}).status_code == 422


def test_a_result_that_is_held_because_of_its_identity_needs_a_confirmation(house: Any, client: TestClient) -> None:
    _scored(house, 1)
    held = Attempt(verdict=Verdict.HELD, error=f"{IDENTITY_DIFFERS}: patient_id")
    with house.database.write() as session:
        deliver(session, at=NOON + timedelta(seconds=9), attempt=held)
    (dead,) = client.get("/api/v1/admin/deliveries?status=DEAD").json()["items"]
    assert (dead["identity_held"], dead["attempts"], dead["tried"]) == (True, 0, [])
    url = f"/api/v1/admin/deliveries/{dead['id']}/resend"
    assert "confirm_identity" in client.get("/deliveries", headers={"Accept": "text/html"}).text
    refused = client.post(url)
    assert (refused.status_code, "confirm" in refused.json()["next_step"]) == (409, True)
    assert client.post("/api/v1/admin/deliveries/resend", json={"destination": PACS}).json()["resent"] == 0
    assert client.post(url, json={"confirm_identity": True}).json()["status"] == "PENDING"
