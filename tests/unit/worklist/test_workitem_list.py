"""The administrator's list of workitems."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.testclient import TestClient
from worklist_rows import NOON, arrive

from triage.repositories import workitems
from triage.repositories.workitems import Scheduled
from triage.states import WorkitemStatus

ADDRESS = "ups+http://10.0.0.5/ups"
PATH = "/api/v1/admin/workitems"


def test_workitems_newest_first_with_their_managers(house: Any, client: TestClient) -> None:
    assert client.get(PATH).json() == {"items": [], "next_before": None, "managers": []}
    with house.database.write() as session:
        study = arrive(session, "asked").study_instance_uid
        assert workitems.claim_manager(session, ADDRESS, NOON)
        listed = [
            Scheduled(uid="1.2.1", priority="HIGH", study_instance_uids=[study]),
            Scheduled(uid="1.2.2", priority="LOW", study_instance_uids=["1.9"]),
        ]
        assert workitems.record(session, ADDRESS, listed, at=NOON) == 2
        assert workitems.record(session, ADDRESS, listed, at=NOON) == 0
        item = workitems.next_due(session, ADDRESS, NOON)
        assert item is not None
        workitems.claimed(session, item.id, at=NOON)
        problem = "10.0.0.5:80 answers HTTP 503."
        workitems.answered(session, ADDRESS, at=NOON, every=timedelta(seconds=5), searched=False, problem=problem)
    body = client.get(PATH).json()
    waiting, claimed = body["items"]
    assert (waiting["workitem_uid"], waiting["status"], waiting["study_instance_uid"]) == ("1.2.2", "FOUND", None)
    assert (claimed["status"], claimed["priority"], claimed["study_instance_uid"]) == ("CLAIMED", "HIGH", study)
    assert body["managers"][0]["problem"] == "10.0.0.5:80 answers HTTP 503."
    assert "2.25." not in claimed["workitem_uid"] + claimed["reason"]  # the Transaction UID is a key: it stays here
    assert "transaction_uid" not in claimed
    with house.database.write() as session:
        workitems.finish(session, claimed["id"], WorkitemStatus.LEFT, "withdrawn", at=NOON)
    (left,) = client.get(PATH, params={"status": "LEFT"}).json()["items"]
    assert left["reason"] == "withdrawn"
    page = client.get(PATH, params={"limit": 1}).json()
    assert client.get(PATH, params={"before": page["next_before"]}).json()["items"][0]["workitem_uid"] == "1.2.1"
