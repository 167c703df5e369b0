"""Where the time of a case went, and the patient's other studies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.testclient import TestClient
from worklist_rows import NOON, PACS, Seen, arrive, deliver, score

from triage.outbox import Verdict
from triage.repositories import worklist
from triage.repositories.deliveries import Attempt
from triage.tables import Delivery, ResultObject


def steps(client: TestClient, uid: str) -> list[tuple[str, float | None, str]]:
    told = client.get(f"/api/v1/studies/{uid}").json()["journey"]
    return [(step["kind"], step["seconds"], step["text"]) for step in told]


def test_every_wait_says_what_was_waited_for(house: Any, client: TestClient) -> None:
    refused = Attempt(verdict=Verdict.TRANSIENT, error=f"{PACS}: connection refused")
    with house.database.write() as session:
        study = arrive(session, "alpha")
        uid = study.study_instance_uid
        analysis = score(session, study, [Seen("pneumothorax", 0.94)], at=NOON + timedelta(seconds=7))
        analysis.queued_at, analysis.started_at = NOON + timedelta(seconds=1), NOON + timedelta(seconds=4)
        analysis.finished_at = NOON + timedelta(seconds=9)
    told = steps(client, uid)
    assert ("queue", 3.0, "waited for a free worker") in told
    assert ("analysis", 3.0, "scored by chest-phantom: its place on the list counts from here") in told
    assert ("report", 2.0, "explained, and report and pictures made") in told
    assert ("delivery", None, f"{PACS} is owed 1 of 1 result") in told
    assert ("reading", None, "waits to be read") in told
    with house.database.write() as session:
        deliver(session, at=NOON + timedelta(seconds=10), attempt=refused)
    assert ("delivery", None, f"{PACS} is owed 1 of 1 result and is tried again: connection refused") in steps(
        client, uid
    )
    with house.database.write() as session:
        deliver(session, at=NOON + timedelta(minutes=4, seconds=7))
        worklist.claim(session, worklist.study_by_uid(session, uid), who="bea", at=NOON + timedelta(minutes=5))
        worklist.mark_read(session, worklist.study_by_uid(session, uid), who="bea", at=NOON + timedelta(minutes=8))
    told = steps(client, uid)
    words = f"1 result sent to {PACS}, after 1 attempt that failed, the last: connection refused"
    assert ("delivery", 240.0, words) in told
    assert ("reading", 300.0, "waited until bea took it up") in told
    assert ("reading", 180.0, "read by bea") in told
    assert "first byte to delivered: 4 min" in client.get(f"/studies/{uid}").text


def test_an_assessment_of_later_does_not_lengthen_the_delivery_of_the_report(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        study = arrive(session, "alpha")
        uid = study.study_instance_uid
        analysis = score(session, study, [Seen("pneumothorax", 0.94)], at=NOON + timedelta(seconds=7))
        deliver(session, at=NOON + timedelta(seconds=10))
        later = NOON + timedelta(hours=2)
        assessment = ResultObject(
            analysis=analysis, kind="ASSESSMENT", created_at=later, relative_path="x/a.dcm", sha256="cd" * 32, size=10,
            sop_instance_uid="2.25.77", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
            transfer_syntax_uid="1.2.840.10008.1.2.1", series_instance_uid="2.25.78",
        )  # fmt: skip
        assessment.deliveries = [Delivery(destination=PACS, created_at=later)]
        session.add(assessment)
        session.flush()
        deliver(session, at=later + timedelta(seconds=5))
    told = [step for step in steps(client, uid) if step[0] in ("delivery", "assessment")]
    assert told == [("delivery", 3.0, f"1 result sent to {PACS}"), ("assessment", 5.0, f"1 assessment sent to {PACS}")]
    assert "first byte to delivered: 10 s" in client.get(f"/studies/{uid}").text


def test_a_study_that_is_received_says_what_it_waits_for(house: Any, client: TestClient) -> None:
    with house.database.write() as session:
        uid = arrive(session, "alpha", modality="CT", count=3).study_instance_uid
    told = steps(client, uid)
    assert told[0][2] == "3 instances received"
    assert told[1][0] == "completion"
    assert told[1][1] is None
    assert told[1][2].startswith("waits to be complete: ")


def test_priors_are_the_other_studies_under_one_number_and_issuer(house: Any, client: TestClient) -> None:
    shared = {"patient_id": "P1", "patient_name": "DOE^ANN"}
    with house.database.write() as session:
        now = arrive(session, "now", study_date="20260301", **shared).study_instance_uid
        old = arrive(session, "old", study_date="20240105", study_description="Chest old", **shared)
        score(session, old, [Seen("nodule", 0.9)])
        newer = arrive(session, "newer", study_date="20250105", **shared)
        arrive(session, "elsewhere", study_date="20250101", issuer_of_patient_id="CLINIC", **shared)
        other = arrive(session, "other", study_date="20230101", patient_id="P1", patient_name="ROE^BOB")
        wanted = [newer.study_instance_uid, old.study_instance_uid, other.study_instance_uid]
        nameless = arrive(session, "nameless", patient_id="").study_instance_uid
        arrive(session, "nameless too", patient_id="")
    items = client.get(f"/api/v1/studies/{now}/priors").json()["items"]
    assert [item["study_instance_uid"] for item in items] == wanted
    assert [finding["key"] for finding in items[1]["findings"]] == ["nodule"]
    assert [item["other_identity"] for item in items] == ["", "", "name"]
    assert client.get(f"/api/v1/studies/{nameless}/priors").json()["items"] == []
    page = client.get(f"/studies/{now}").text
    assert "Chest old" in page
    assert "other name" in page


def test_the_sites_viewers_are_links(house: Any) -> None:
    url = "https://ohif.example/viewer?StudyInstanceUIDs={study_uid}&n={accession_number}"
    client = house.client(viewers=house.settings.model_validate({"data": house.settings.data, "viewers": [
        {"name": "OHIF <b>", "url": url}]}).viewers)  # fmt: skip
    with house.database.write() as session:
        uid = arrive(session, "alpha", accession_number="A&1 #2").study_instance_uid
    page = client.get(f"/studies/{uid}").text
    assert f'href="https://ohif.example/viewer?StudyInstanceUIDs={uid}&amp;n=A%261%20%232"' in page
    assert "Open in OHIF &lt;b&gt;" in page
