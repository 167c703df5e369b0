"""Disk and quarantine: over the API, on the page, in /readyz and /metrics."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from worklist_rows import NOON, Seen, arrive, score

from triage import tables
from triage.instances import Arrival, QuarantinedObject
from triage.repositories import heartbeats, quarantine
from triage.repositories import retention as rows

ARRIVAL = Arrival(
    received_at=NOON, association_uid="2.25.1", calling_ae_title="CR1", called_ae_title="FIRSTREAD",
    peer_address="10.0.0.1",
)  # fmt: skip
API = "/api/v1/admin"


def _quarantine(house: Any, number: int, content: bytes = b"bytes of a patient") -> None:
    relative = Path("quarantine", f"{number}.dcm")
    file = house.settings.archive / relative
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    kept = QuarantinedObject(
        reason=f"PatientID (0010,0020) <b>{number}</b>", dicom_status=0xC000, relative_path=relative, digest="a" * 64,
        size=len(content), transfer_syntax_uid="1.2.840.10008.1.2", arrival=replace(ARRIVAL),
    )  # fmt: skip
    with house.database.write() as session:
        quarantine.record(session, kept)


def _listener(house: Any, **detail: object) -> None:
    with house.database.write() as session:
        heartbeats.beat(session, "listen@here:1", "listen", at=house.clock(), detail=detail)
        heartbeats.beat(session, "work@here:2", "work", at=house.clock())


def test_quarantine_newest_first_page_by_page_and_dealt_with_once(house: Any, client: TestClient) -> None:
    for number in range(3):
        _quarantine(house, number)
    first = client.get(f"{API}/quarantine", params={"limit": 2}).json()
    rest = client.get(f"{API}/quarantine", params={"limit": 2, "before": first["next_before"]}).json()
    entries = first["items"] + rest["items"]
    assert [entry["reason"][-5] for entry in entries] == ["2", "1", "0"]
    assert rest["next_before"] is None
    assert entries[0] | {"id": 0, "reason": ""} == {
        "id": 0, "at": "2026-03-01T12:00:00Z", "reason": "", "dicom_status": "0xC000", "calling_ae_title": "CR1",
        "peer_address": "10.0.0.1", "transfer_syntax_uid": "1.2.840.10008.1.2", "size": 18, "digest": "a" * 64,
        "bytes_kept": True, "dismissed_at": None, "dismissed_by": "", "retried": None,
    }  # fmt: skip
    url = f"{API}/quarantine/{entries[0]['id']}/dismiss"
    assert client.post(url, json={}).json()["dismissed_by"] == "local"
    assert client.post(url, json={}).status_code == 409
    assert client.post(f"{API}/quarantine/999/dismiss", json={}).status_code == 404
    assert len(client.get(f"{API}/quarantine").json()["items"]) == 2
    (dealt_with,) = client.get(f"{API}/quarantine?dismissed=true").json()["items"]
    assert dealt_with["id"] == entries[0]["id"]


def test_the_bytes_are_a_download_that_leaves_a_trace(house: Any, client: TestClient) -> None:
    _quarantine(house, 1, b"<script>alert(1)</script>")
    (entry,) = client.get(f"{API}/quarantine").json()["items"]
    answer = client.get(f"{API}/quarantine/{entry['id']}/file")
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == f'attachment; filename="quarantined-{entry["id"]}.bin"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    with house.database.read() as session:
        trace = session.query(tables.Event).filter_by(kind="quarantine_fetched").one()
    assert trace.who == "local"


@pytest.mark.parametrize("path", ["../firstread.sqlite", "quarantine/../store/x", "/etc/hostname", "quarantine/gone"])
def test_no_row_leads_out_of_the_quarantine(house: Any, client: TestClient, path: str) -> None:
    _quarantine(house, 1)
    (house.settings.archive / "store").mkdir()
    (house.settings.archive / "store" / "x").write_bytes(b"an image")
    with house.database.write() as session:
        session.query(tables.Quarantined).one().relative_path = path
    (entry,) = client.get(f"{API}/quarantine").json()["items"]
    assert entry["bytes_kept"] is False
    assert client.get(f"{API}/quarantine/{entry['id']}/file").status_code == 404


def test_space_says_what_happens_at_which_mark(house: Any) -> None:
    house.settings.archive.mkdir(parents=True)
    client = house.client(min_free_megabytes=100, min_free_percent=0.0)
    space = client.get(f"{API}/space").json()
    assert space["refused_below_bytes"] == 100 * 1024**2
    assert space["accepted_from_bytes"] == 125 * 1024**2
    assert space["refused_below_bytes"] < space["retention_below_bytes"] < space["retention_until_bytes"]
    assert 0 < space["free_bytes"] <= space["total_bytes"]
    assert (space["refusing"], space["retention"], space["quarantined"]) == ([], "room", 0)


def test_a_refusing_listener_is_seen_everywhere(house: Any) -> None:
    house.settings.archive.mkdir(parents=True)
    client = house.client()
    _listener(house, port=104, refusing="3 MiB are free below /data, 8 must be.")
    _quarantine(house, 1)
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["refusing"] == {"listen@here:1": "3 MiB are free below /data, 8 must be."}
    metrics = client.get("/metrics").text
    assert "firstread_refusing_listeners 1.0" in metrics
    assert "firstread_free_bytes" in metrics
    page = client.get("/node").text
    assert "New data is refused." in page
    assert "3 MiB are free below /data, 8 must be." in page
    assert "&lt;b&gt;1&lt;/b&gt;" in page
    assert 'action="/api/v1/admin/quarantine/1/dismiss"' in page
    assert "PatientID" in client.get("/fragment/node").text
    _listener(house, port=104, refusing="")
    assert client.get("/readyz").json()["refusing"] == {}
    assert "New data is refused." not in client.get("/node").text
    house.clock.pass_by(seconds=60)
    _listener(house, refusing="x")
    house.clock.pass_by(seconds=60)
    assert client.get("/node").status_code == 200, "a listener that is silent refuses nothing"


def test_without_its_file_system_the_page_still_stands(house: Any, client: TestClient) -> None:
    assert not house.settings.archive.exists()
    assert client.get(f"{API}/space").status_code == 404
    assert "does not answer" in client.get("/node").text


def test_a_case_says_that_its_images_were_removed(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        study = arrive(session, "a1", at=NOON)
        score(session, study, [Seen("nodule", 0.1)])
        rows.give_up(session, study, reason="room was short", at=NOON + timedelta(days=9))
        uid, sop = study.study_instance_uid, study.instances[0].sop_instance_uid
    case = client.get(f"/api/v1/studies/{uid}").json()
    assert case["instances"][0]["removed_at"] == "2026-03-10T12:00:00Z"
    assert case["timeline"][-1]["text"] == "Files removed by retention; findings and reports stay: room was short"
    with house.database.write() as session:
        rows.leftovers(session, session.get(tables.Study, 1))
    answer = client.get(f"/api/v1/studies/{uid}/instances/{sop}/preview")
    assert answer.status_code == 404
    assert "removed by retention on 2026-03-10" in answer.json()["detail"]
    assert "removed by retention on 2026-03-10" in client.get(f"/studies/{uid}").text
