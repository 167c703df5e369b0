"""Peers over HTTP: added, changed and removed for the version that was seen, each audited before and after."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import NOON, arrive

from triage.peers import CallingPeer
from triage.repositories import errands, events
from triage.tables import Association

URL = "/api/v1/admin/peers"
EVERYTHING = ["store", "find", "worklist"]
CT1 = {"ae_title": "CT1", "network": "10.1.2.0/24", "note": "Room 3"}


def audited(client: TestClient) -> list[Any]:
    items = client.get("/api/v1/admin/audit").json()["items"]
    return [(item["action"], item["subject"], item["before"], item["after"]) for item in reversed(items)]


def test_a_peer_is_added_changed_and_removed_and_the_audit_has_it_all(client: TestClient) -> None:
    added = client.post(URL, json=CT1)
    assert (added.status_code, added.headers["etag"]) == (201, '"1"')
    peer = added.json()
    assert (peer["ae_title"], peer["network"], peer["version"], peer["changed_by"]) == (
        "CT1", "10.1.2.0/24", 1, "local",
    )  # fmt: skip
    url = f"{URL}/{peer['id']}"
    changed = client.put(url, json=CT1 | {"network": "10.1.2.3"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["network"], changed.json()["version"]) == (200, "10.1.2.3/32", 2)
    assert client.delete(url, headers={"If-Match": '"2"'}).status_code == 204
    assert client.get(URL).json()["items"] == []
    first, second = (
        {"network": net, "certificate": None, "services": EVERYTHING, "note": "Room 3"}
        for net in ("10.1.2.0/24", "10.1.2.3/32")
    )
    assert audited(client) == [
        ("peer_added", "peer:CT1", None, first),
        ("peer_changed", "peer:CT1", first, second),
        ("peer_removed", "peer:CT1", second, None),
    ]


def test_what_a_peer_may_ask_for_is_set_kept_and_audited(client: TestClient) -> None:
    added = client.post(URL, json=CT1 | {"services": ["worklist", "store", "store"]}).json()
    assert added["services"] == ["store", "worklist"]
    url = f"{URL}/{added['id']}"
    kept = client.put(url, json=CT1 | {"note": "x"}, headers={"If-Match": '"1"'}).json()
    assert kept["services"] == ["store", "worklist"]  # a program that knows nothing of services widens nothing
    echo_only = client.put(url, json=CT1 | {"services": []}, headers={"If-Match": '"2"'}).json()
    assert echo_only["services"] == []
    assert client.get(URL).json()["items"][0]["services"] == []
    changes = [(before and before["services"], after["services"]) for _, _, before, after in audited(client)]
    assert changes == [
        (None, ["store", "worklist"]), (["store", "worklist"], ["store", "worklist"]), (["store", "worklist"], []),
    ]  # fmt: skip


def test_two_administrators_do_not_overwrite_each_other(client: TestClient) -> None:
    url = f"{URL}/{client.post(URL, json=CT1).json()['id']}"
    assert client.put(url, json=CT1, headers={"If-Match": '"1"'}).status_code == 200
    late = client.put(url, json=CT1 | {"network": None}, headers={"If-Match": '"1"'})
    assert (late.status_code, late.headers["content-type"]) == (409, "application/problem+json")
    assert "Somebody else" in late.json()["detail"]
    assert client.delete(url, headers={"If-Match": '"1"'}).status_code == 409
    assert client.delete(url).status_code == 428
    assert client.delete(url, headers={"If-Match": "*"}).status_code == 422
    assert client.post(URL, json=CT1).status_code == 409
    assert client.put(url, json=CT1 | {"ae_title": "CT2"}, headers={"If-Match": '"2"'}).status_code == 409
    assert client.delete(f"{URL}/99", headers={"If-Match": '"1"'}).status_code == 404
    assert len(audited(client)) == 2


@pytest.mark.parametrize(
    "wish",
    [
        {}, {"ae_title": ""}, {"ae_title": "a\\b"}, {"ae_title": "x" * 17}, CT1 | {"network": "everywhere"},
        CT1 | {"network": "10.0.0.0/99"}, CT1 | {"certificate": "nobody"}, CT1 | {"note": "a\r\nb"},
        CT1 | {"port": 1}, CT1 | {"certificate": "DNS:ct1.example"}, CT1 | {"note": "x" * 201},
        CT1 | {"services": ["print"]}, CT1 | {"services": "store"}, CT1 | {"services": EVERYTHING + EVERYTHING},
    ],
)  # fmt: skip
def test_what_is_no_peer_is_refused(client: TestClient, wish: Any) -> None:
    answer = client.post(URL, json=wish)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert audited(client) == []


def test_in_a_network_without_tls_a_peer_says_where_it_comes_from(house: Any) -> None:
    settings = {
        "bind": "10.0.0.9",
        "calling_ae_titles": (CallingPeer(ae_title="MR1", network="10.0.0.0/8", services=("find",)),),
    }
    client = house.client(**settings, http_tokens=("anna:" + "x" * 24,))
    client.headers["Authorization"] = "Bearer " + "x" * 24
    refused = client.post(URL, json=CT1 | {"network": None})
    assert (refused.status_code, "may not come from anywhere" in refused.json()["detail"]) == (422, True)
    assert client.post(URL, json=CT1).status_code == 201
    told = client.get(URL).json()
    assert (told["admits_everybody"], told["network_needed"]) == (False, True)
    assert [(peer["ae_title"], peer["id"] is None) for peer in told["items"]] == [("MR1", True), ("CT1", False)]
    assert told["items"][0]["services"] == ["find"]  # of the settings too


def test_who_sent_and_who_was_turned_away_is_told(house: Any, client: TestClient) -> None:
    client.post(URL, json={"ae_title": "CR_ROOM1"})
    with house.database.write() as session:
        arrive(session, "a")
        for number in range(3):
            sent = Association(association_uid=f"2.25.{number}", listener="l", called_ae_title="FIRSTREAD")
            sent.calling_ae_title, sent.peer_address = "CR_ROOM1", "10.0.0.7"
            sent.opened_at, sent.closed_at = NOON + timedelta(minutes=number), NOON + timedelta(minutes=number)
            session.add(sent)
            events.record(
                session, "security_alert", at=NOON + timedelta(minutes=number), who="STRANGER",
                reason="CALLING_AE_TITLE_NOT_RECOGNISED", peer_address="10.0.0.8", count=2,
            )  # fmt: skip
    told = client.get(URL).json()
    (peer,) = told["items"]
    assert (peer["last_address"], peer["last_at"]) == ("10.0.0.7", "2026-03-01T12:02:00Z")
    assert peer["associations"] >= 3
    assert [(c["ae_title"], c["address"], c["times"], c["last_at"]) for c in told["refused"]] == [
        ("STRANGER", "10.0.0.8", 6, "2026-03-01T12:02:00Z")
    ]
    assert told["admits_everybody"] is True


def test_an_echo_is_asked_for_and_answered_by_a_worker(house: Any, client: TestClient) -> None:
    url = f"{URL}/{client.post(URL, json=CT1).json()['id']}/echo"
    asked = client.post(url, json={"host": "10.1.2.3", "port": 104})
    assert (asked.status_code, asked.json()["status"]) == (202, "ASKED")
    assert client.post(url, json={"host": "10.1.2.3"}).status_code == 409  # one at a time
    assert client.post(url, json={"host": "a b"}).status_code == 422
    assert client.post(url, json={"host": "h", "port": 0}).status_code == 422
    with house.database.write() as session:
        errand = errands.claim(session, house.clock(), holder="deliver@here:1")
        errands.conclude(session, errand.id, errand.token, ok=False, message="silent", next_step="x", at=house.clock())
    told = client.get(f"/api/v1/admin/errands/{asked.json()['id']}").json()
    assert (told["status"], told["message"], told["next_step"], told["asked_by"]) == ("FAILED", "silent", "x", "local")
    assert client.get(URL).json()["items"][0]["echo"]["message"] == "silent"
    assert client.get("/api/v1/admin/errands/999").status_code == 404


def test_a_row_does_not_widen_what_the_settings_allow(house: Any) -> None:
    client = house.client(calling_ae_titles=(CallingPeer(ae_title="CT1", network="10.1.2.3"),))
    answer = client.post(URL, json=CT1 | {"network": None})
    assert (answer.status_code, "settings name this AE title" in answer.text) == (409, True)
    assert client.post(URL, json=CT1 | {"ae_title": "CT2"}).status_code == 201
