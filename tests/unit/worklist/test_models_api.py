"""Bundles over HTTP: as a worker wrote them down, changed by asking one; deliveries and analyses found and repeated."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import NOON, PACS, Seen, arrive, deliver, score

from triage.instances import Arrival, QuarantinedObject
from triage.outbox import BUDGET, Verdict
from triage.repositories import bundle_listing, errands, heartbeats, quarantine
from triage.repositories.deliveries import Attempt
from triage.states import ErrandKind
from triage.tables import Errand

URL = "/api/v1/admin/models"
POINT = {
    "finding": "nodule", "meaning": "Nodule", "threshold": 0.6, "urgency": "STAT", "bundle_threshold": 0.4,
    "bundle_urgency": "URGENT", "site_threshold": 0.6, "site_urgency": "STAT", "lapsed": False, "sensitivity": 0.9,
    "specificity": None,
}  # fmt: skip
ROW = {
    "name": "cxr", "directory": "cxr", "version": "1.0.0", "source": "shipped", "available": True, "enabled": True,
    "note": "", "problem": "", "research": False, "weights_sha256": "a" * 64, "acceptance": None, "points": [POINT],
    "of a later version": 1,
}  # fmt: skip
KEPT = QuarantinedObject(
    reason="StudyInstanceUID (0020,000D) is missing.", dicom_status=0xC000, relative_path=Path("quarantine/a.dcm"),
    digest="a" * 64, size=10, transfer_syntax_uid="1.2.840.10008.1.2.1",
    arrival=Arrival(
        received_at=NOON, association_uid="assoc-1", calling_ae_title="CR1", called_ae_title="FIRSTREAD",
        peer_address="127.0.0.1",
    ),
)  # fmt: skip
WHY = {"reason": "too many alarms"}


def publish(house: Any, revision: int = 3) -> None:
    with house.database.write() as session:
        bundle_listing.put(session, revision, [ROW], at=house.clock())
        heartbeats.beat(session, "work@here:1", "work", at=house.clock(), detail={"bundles": ["cxr"]})


def wishes(house: Any) -> list[Errand]:
    with house.database.read() as session:
        found = errands.latest(session, ["bundle:cxr"])
    return list(found.values())


def test_bundles_are_told_as_a_worker_found_them(house: Any, client: TestClient) -> None:
    assert client.get(URL).json() == {"revision": 0, "at": None, "items": [], "readers": []}
    publish(house)
    answer = client.get(URL)
    told = answer.json()
    assert (answer.headers["etag"], told["revision"]) == ('"3"', 3)
    assert told["readers"] == [{"name": "work@here:1", "bundles": ["cxr"]}]
    (bundle,) = told["items"]
    assert (bundle["name"], bundle["points"][0]["threshold"], bundle["change"]) == ("cxr", 0.6, None)


@pytest.mark.parametrize(
    ("method", "path", "body", "wish"),
    [
        ("POST", "enable", {}, {"change": "enable", "shipped": False}),
        ("POST", "enable", {"shipped": True}, {"change": "enable", "shipped": True}),
        ("POST", "disable", WHY, {"change": "disable"} | WHY),
        ("PATCH", "findings/nodule", {"threshold": 0.5} | WHY,
         {"change": "set_point", "finding": "nodule", "threshold": 0.5, "urgency": None} | WHY),
        ("POST", "findings/nodule/reset", WHY, {"change": "reset_points", "finding": "nodule"} | WHY),
    ],
)  # fmt: skip
def test_a_change_is_asked_of_a_worker(
    house: Any, client: TestClient, method: str, path: str, body: Any, wish: Any
) -> None:
    publish(house)
    url = f"{URL}/cxr/{path}"
    asked = client.request(method, url, json=body, headers={"If-Match": '"3"'})
    assert (asked.status_code, asked.json()["kind"]) == (202, ErrandKind.CHANGE_BUNDLE)
    assert [errand.wish for errand in wishes(house)] == [wish | {"bundle": "cxr", "revision": 3}]
    assert client.request(method, url, json=body, headers={"If-Match": '"3"'}).status_code == 409  # one at a time
    assert client.get(URL).json()["items"][0]["change"]["status"] == "ASKED"


def test_what_is_meant_for_another_state_or_for_nothing_is_refused(house: Any, client: TestClient) -> None:
    seen = {"If-Match": '"3"'}
    assert client.post(f"{URL}/cxr/disable", json=WHY, headers=seen).status_code == 404  # nobody has looked yet
    publish(house)
    late = client.post(f"{URL}/cxr/disable", json=WHY, headers={"If-Match": '"2"'})
    assert (late.status_code, late.headers["content-type"]) == (409, "application/problem+json")
    assert client.post(f"{URL}/cxr/disable", json=WHY).status_code == 428
    assert client.post(f"{URL}/other/disable", json=WHY, headers=seen).status_code == 404
    assert client.post(f"{URL}/cxr/findings/other/reset", json=WHY, headers=seen).status_code == 404
    for body in ({}, {"reason": " "}, {"reason": "a\nb"}, WHY | {"x": 1}, {"reason": "x" * 201}):
        assert client.post(f"{URL}/cxr/disable", json=body, headers=seen).status_code == 422
    for body in (WHY, WHY | {"threshold": 1.1}, WHY | {"urgency": "NOW"}, {"threshold": 0.5}):
        assert client.patch(f"{URL}/cxr/findings/nodule", json=body, headers=seen).status_code == 422
    assert client.post(f"{URL}/Cxr/disable", json=WHY, headers=seen).status_code == 422
    assert wishes(house) == []


def test_a_destination_of_the_settings_is_tested(house: Any) -> None:
    client = house.client(destinations=house.settings.model_validate({"destinations": PACS}).destinations)
    asked = client.post("/api/v1/admin/destinations/test", json={"address": PACS})
    assert (asked.status_code, asked.json()["subject"]) == (202, f"destination:{PACS}")
    (told,) = client.get("/api/v1/admin/destinations").json()["items"]
    assert told["test"]["status"] == "ASKED"
    assert client.post("/api/v1/admin/destinations/test", json={"address": "OTHER@h:1"}).status_code == 404
    assert client.post("/api/v1/admin/destinations/test", json={}).status_code == 422


def test_what_was_given_up_is_sent_again_by_reason(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        for index in range(2):
            score(session, arrive(session, f"n{index}", at=NOON + timedelta(seconds=index)), [Seen("nodule", 0.1)])
    refused = Attempt(verdict=Verdict.REFUSED, dicom_status=0xA900, error="too large")
    for number in range(BUDGET[Verdict.REFUSED]):
        with house.database.write() as session:
            deliver(session, at=NOON + timedelta(hours=number), attempt=refused)
    (line,) = client.get("/api/v1/admin/deliveries/given-up").json()["items"]
    assert (line["destination"], line["reason"], line["count"]) == (PACS, "too large", 2)
    listed = client.get("/api/v1/admin/deliveries", params={"reason": line["reason"], "status": "DEAD"}).json()["items"]
    assert len(listed) == line["count"]
    body = {"destination": PACS, "reason": "another"}
    assert client.post("/api/v1/admin/deliveries/resend", json=body).json()["resent"] == 0
    body["reason"] = line["reason"]
    assert client.post("/api/v1/admin/deliveries/resend", json=body).json()["resent"] == line["count"]
    assert client.post("/api/v1/admin/deliveries/resend", json=body | {"reason": "\0"}).status_code == 422


def test_analyses_are_found_by_their_reason_and_say_who_is_at_them(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        arrive(session, "a")
    (queued,) = client.get("/api/v1/admin/analyses").json()["items"]
    assert (queued["due"], queued["worker"], queued["lease_until"]) == (True, "", None)
    assert client.get("/api/v1/admin/analyses?reason=50%25").json()["items"] == []
    assert client.get("/api/v1/admin/analyses?reason=%00").status_code == 422


def test_an_entry_of_the_quarantine_is_tried_again_or_dealt_with(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        number = quarantine.record(session, KEPT).id
    url = f"/api/v1/admin/quarantine/{number}"
    assert client.post(f"{url}/retry").status_code == 409  # its bytes are not there
    path = house.settings.archive / KEPT.relative_path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert client.post(f"{url}/retry").status_code == 202
    assert client.get("/api/v1/admin/quarantine").json()["items"][0]["retried"]["status"] == "ASKED"
    assert client.post(f"{url}/dismiss").status_code == 200
    assert client.post(f"{url}/retry").status_code == 409
    (entry,) = client.get("/api/v1/admin/audit").json()["items"]
    assert (entry["action"], entry["before"], entry["after"]) == (
        "quarantine_dismissed", {"waiting": True}, {"waiting": False},
    )  # fmt: skip
